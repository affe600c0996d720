"""What ``--check`` and ``--call`` print: tables for people, BuildKit's shapes for tools."""

from __future__ import annotations

import base64

import pytest

from builder.cli.calls import (
    Call,
    check_text,
    check_value,
    outline_text,
    outline_value,
    parse_call,
    targets_text,
    targets_value,
)
from builder.dockerfile.instructions import Dockerfile
from builder.dockerfile.lint import lint
from builder.dockerfile.parser import parse
from builder.dockerfile.source import DockerfileError
from builder.errors import UsageError
from builder.image.platform import Platform
from builder.plan.outline import Outline, outline
from builder.plan.references import PlanOptions

TEXT = """\
# GO is its version
ARG GO=1.2
# build compiles
FROM go:$GO AS build
ARG WHAT=all
RUN --mount=type=secret,id=npm,required --mount=type=ssh --mount=type=cache,target=/c x
FROM scratch
MAINTAINER me
"""


def parsed(text: str = TEXT) -> Dockerfile:
    return parse(text.encode(), "some/Dockerfile")


def outlined(target: str | None = None) -> Outline:
    here = Platform.parse("linux/amd64")
    return outline(parsed(), PlanOptions(platform=here, build_platform=here, target=target))


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("build", Call("build")),
        ("check", Call("check")),
        ("lint", Call("check")),
        ("outline,format=json", Call("outline", json=True)),
        ("targets,format=text", Call("targets")),
        ("check,format=json,ignorestatus=true", Call("check", json=True, ignore_status=True)),
        ("check,ignorestatus", Call("check", ignore_status=True)),
    ],
)
def test_calls(text: str, call: Call) -> None:
    assert parse_call(text) == call


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chekc", "did you mean check"),
        ("", "unknown method"),
        ("check,fromat=json", "did you mean format"),
        ("check,format=yaml", "format is text or json"),
        ("check,ignorestatus=maybe", "ignorestatus is true or false"),
    ],
)
def test_wrong_calls(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_call(text)


def test_findings_for_people() -> None:
    dockerfile = parsed()
    text = check_text(lint(dockerfile), dockerfile.source)
    assert "WARNING: MaintainerDeprecated - https://" in text
    assert "some/Dockerfile:8\n" in text
    assert "   7 |     FROM scratch\n   8 | >>> MAINTAINER me\n----" in text
    assert text.endswith("Check complete, 1 warning has been found!")
    assert check_text((), dockerfile.source) == "Check complete, no warnings found."


def test_a_finding_cannot_control_the_terminal() -> None:
    dockerfile = parsed("FROM scratch\nMAINTAINER \x1b[2Jme\n")
    assert "\x1b" not in check_text(lint(dockerfile), dockerfile.source)


def test_findings_for_tools() -> None:
    dockerfile = parsed()
    value = check_value(lint(dockerfile), dockerfile.source)
    (warning,) = value["warnings"]
    assert warning["ruleName"] == "MaintainerDeprecated"
    assert warning["location"] == {"ranges": [{"start": {"line": 8}, "end": {"line": 8}}]}
    (source,) = value["sources"]
    assert (source["filename"], base64.b64decode(source["data"])) == ("some/Dockerfile", TEXT.encode())
    assert "buildError" not in value


def test_an_error_for_tools() -> None:
    with pytest.raises(DockerfileError) as caught:
        parsed("FROM scratch\nCOPPY a b\n")
    value = check_value((), None, caught.value)
    error = value["buildError"]
    assert isinstance(error, dict)
    assert "COPPY" in error["message"]
    assert error["location"]["ranges"][0]["start"] == {"line": 2}


def test_targets() -> None:
    assert targets_text(parsed()) == "TARGET      DESCRIPTION\nbuild       compiles\n(default)"
    first, last = targets_value(parsed())["targets"]
    assert first == {
        "name": "build",
        "description": "compiles",
        "base": "go:$GO",
        "location": {"ranges": [{"start": {"line": 4}, "end": {"line": 4}}]},
    }
    assert (last["default"], "name" in last) == (True, False)


def test_outlines() -> None:
    assert outline_text(outlined("build")) == (
        "TARGET:      build\nDESCRIPTION: compiles\n\n"
        "BUILD ARG   VALUE   DESCRIPTION\nGO          1.2     is its version\nWHAT        all\n\n"
        "SECRET   REQUIRED\nnpm      true\n\nSSH       REQUIRED\ndefault   false\n\nCACHE MOUNT\n/c"
    )
    assert outline_text(outlined()) == "nothing can be given to this target"
    value = outline_value(outlined("build"), parsed().source)
    assert [one["name"] for one in value["args"]] == ["GO", "WHAT"]
    assert value["secrets"] == [
        {"name": "npm", "required": True, "location": {"ranges": [{"start": {"line": 6}, "end": {"line": 6}}]}}
    ]
    assert outline_value(outlined(), parsed().source).keys() == {"sources"}

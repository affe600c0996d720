"""Targets and outlines: what ``--call`` shows, from the text alone."""

from __future__ import annotations

import pytest

from builder.dockerfile.parser import parse
from builder.dockerfile.source import DockerfileError
from builder.image.platform import Platform
from builder.plan.outline import Outline, description, outline, targets
from builder.plan.references import PlanOptions

HERE = Platform.parse("linux/amd64")


def outlined(text: str, target: str | None = None, **build_args: str) -> Outline:
    options = PlanOptions(platform=HERE, build_platform=HERE, target=target, build_args=build_args)
    return outline(parse(text.encode(), "Dockerfile"), options)


def values(text: str, target: str | None = None, **build_args: str) -> dict[str, str]:
    return {one.name: one.value for one in outlined(text, target, **build_args).args}


def test_targets_are_as_written_and_the_last_is_the_default() -> None:
    text = "ARG V=1\n# Build compiles it\nFROM base:$V AS Build\n# other\nFROM --platform=$BUILDPLATFORM build\n"
    first, last = targets(parse(text.encode(), "Dockerfile"))
    assert (first.name, first.base, first.platform, first.default) == ("build", "base:$V", "", False)
    assert (last.name, last.base, last.platform, last.default) == ("", "build", "$BUILDPLATFORM", True)
    assert (first.span.start_line, last.span.start_line) == (3, 5)
    assert last.description == ""


def test_a_description_begins_with_the_name() -> None:
    (only,) = targets(parse(b"# api serves\n# and waits\nFROM scratch AS api\n", "Dockerfile"))
    assert only.description == "serves"
    shown = outlined("# api serves\nFROM scratch AS api\n# PORT to listen on\nARG PORT\n")
    assert (shown.name, shown.description, shown.args[0].description) == ("api", "serves", "to listen on")


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ("FROM scratch\nARG A=1\nARG B=$A.2 C\n", {"A": "1", "B": "1.2", "C": ""}),
        ("FROM scratch\nENV E=x\nARG A=$E\n", {"A": "x"}),
        ("ARG V=1\nARG W=2\nFROM a:$V\n", {"V": "1"}),  # W is declared and never used
        ("ARG V=1\nARG W=$V\nFROM a:$W\n", {"V": "1", "W": "1"}),
        ("ARG V=1\nFROM scratch\nARG V\n", {"V": "1"}),  # once, where its default is
        ("ARG P=linux/amd64\nFROM --platform=$P scratch\n", {"P": "linux/amd64"}),
        ("FROM scratch AS a\nARG A=1\nFROM scratch\nARG B=2\n", {"B": "2"}),
        ("FROM scratch AS a\nARG A=1\nFROM a\nARG B=$A\n", {"A": "1", "B": "1"}),
        ("FROM scratch AS a\nARG A=1\nFROM scratch\nCOPY --from=a / /\n", {"A": "1"}),
        ("FROM scratch AS a\nARG A=1\nFROM scratch\nRUN --mount=from=a,target=/x y\n", {"A": "1"}),
        ("FROM scratch\nARG TARGETARCH\n", {"TARGETARCH": "amd64"}),
    ],
)
def test_the_arguments_that_count(text: str, args: dict[str, str]) -> None:
    assert values(text) == args


def test_build_arguments_are_shown_as_given() -> None:
    assert values("ARG V=1\nFROM a:$V\nARG W=$V\n", V="2", W="3") == {"V": "2", "W": "3"}


def test_only_what_the_target_needs() -> None:
    text = "FROM scratch AS a\nARG A=1\nFROM scratch AS b\nARG B=2\n"
    assert values(text, "a") == {"A": "1"}
    with pytest.raises(DockerfileError, match="could not be found"):
        outlined(text, "nope")


def test_mounts() -> None:
    shown = outlined(
        "FROM scratch\nARG ID=npm\nRUN --mount=type=secret,id=$ID x\nRUN --mount=type=secret,id=npm,required y\n"
        "RUN --mount=type=cache,target=/c --mount=type=cache,id=go,target=/d --mount=type=ssh z\n"
    )
    assert [(one.name, one.required, one.span.start_line) for one in shown.secrets] == [("npm", True, 3)]
    assert [one.name for one in shown.caches] == ["/c", "go"]
    assert [one.name for one in shown.ssh] == ["default"]


def test_descriptions() -> None:
    comments = ("check=skip=all", "other text", "base is the base ", "base again", "baseline x", "empty")
    assert description(comments, "base") == "is the base"
    assert description(comments, "empty") == ""
    assert description(comments, "nothing") == ""

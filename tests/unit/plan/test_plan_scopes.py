"""ARG, ENV, platforms and proxies: which value an instruction sees (semantics 25 to 30, dockerfile.md 1.5)."""

from __future__ import annotations

from typing import Any

import pytest

from builder.dockerfile.source import DockerfileError
from builder.image.config import ContainerConfig
from builder.image.platform import Platform
from builder.plan.graph import BaseImage
from builder.plan.scope import DEFAULT_PATH
from tests.support.plans import plan

PATH = f"PATH={DEFAULT_PATH}"


def env(config: ContainerConfig) -> list[str]:
    return [one for one in config.env if one != PATH]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["ENV atomic=one", "ENV atomic=two newatomic=$atomic"], ["atomic=two", "newatomic=one"]),
        (["ENV a b c  d"], ["a=b c  d"]),
        (["ENV A=1 B=2", "ENV A=3"], ["A=3", "B=2"]),
        (["ENV A=1", "ENV B=${A}x", "ENV C=${D:-d}$$%$"], ["A=1", "B=1x", "C=d%$"]),
        (["ENV A=", "ENV B=${A-unset}${A:-empty}"], ["A=", "B=empty"]),
        (["ARG X=1", "ENV A=$X"], ["A=1"]),
        (["ARG X", "ENV A=${X-unset}"], ["A=unset"]),
        (["ARG X=", "ENV A=${X-unset}"], ["A="]),
        (["ARG X=1 Y=$X", "ENV A=$Y"], ["A=1"]),
        (["ARG X=1", "ARG X=2", "ENV A=$X"], ["A=2"]),
        (["ENV F=e", "ARG F=a", "ENV G=$F"], ["F=e", "G=a"]),
        (["ARG F=a", "ENV F=e", "ENV G=$F"], ["F=e", "G=e"]),
        (["ENV A=$later", "ENV later=1"], ["A=", "later=1"]),
        (["ENV A='$x' B=\"$x\" C=\\$x"], ["A=$x", "B=", "C=$x"]),
        (["ENV PATH=/mine:$PATH"], [f"PATH=/mine:{DEFAULT_PATH}"]),
    ],
)
def test_variables_of_a_stage(lines: list[str], expected: list[str]) -> None:
    assert env(plan("\n".join(["FROM scratch", *lines])).config) == expected


@pytest.mark.parametrize(
    ("text", "args", "expected"),
    [
        ("ARG G=1\nFROM scratch\nENV A=${G-unset}", {}, "unset"),
        ("ARG G=1\nFROM scratch\nARG G\nENV A=$G", {}, "1"),
        ("ARG G=1\nFROM scratch\nARG G=2\nENV A=$G", {}, "2"),
        ("ARG G=1\nFROM scratch\nARG G\nENV A=$G", {"G": "3"}, "3"),
        ("ARG G=1\nFROM scratch\nARG G=2\nENV A=$G", {"G": "3"}, "3"),
        ("ARG G=1\nFROM scratch\nARG G=2\nENV A=${G:-none}", {"G": ""}, "none"),
        ("ARG G=1\nARG H=${G}x\nFROM scratch\nARG H\nENV A=$H", {}, "1x"),
        ("ARG G=1\nARG H=${G}x\nFROM scratch\nARG H\nENV A=$H", {"G": "9"}, "9x"),
        ("ARG G\nFROM scratch\nARG G\nENV A=${G-unset}", {}, "unset"),
        ("FROM scratch\nENV A=${G-unset}", {"G": "3"}, "unset"),
        ("FROM scratch AS a\nARG G=1\nFROM scratch\nENV A=${G-unset}", {}, "unset"),
        ("FROM scratch AS a\nARG G=1\nFROM a\nENV A=${G-unset}", {}, "1"),
        ("FROM scratch AS a\nENV E=1\nFROM a\nENV A=$E", {}, "1"),
        ("FROM scratch AS a\nARG G=1\nFROM a\nARG G=2\nENV A=$G", {}, "2"),
        # A given build argument keeps the default from being evaluated.
        ("FROM scratch\nARG G=${NO:?must}\nENV A=$G", {"G": "ok"}, "ok"),
        ("ARG G=${NO:?must}\nFROM scratch\nARG G\nENV A=$G", {"G": "ok"}, "ok"),
        # Never expanded again.
        ("FROM scratch\nENV X=1\nARG G\nENV A=$G", {"G": "$X"}, "$X"),
    ],
)
def test_build_arguments_and_scopes(text: str, args: dict[str, str], expected: str) -> None:
    assert f"A={expected}" in plan(text, build_args=args).config.env


@pytest.mark.parametrize("text", ["FROM scratch\nARG G=${NO:?must}", "ARG G=${NO:?must}\nFROM scratch"])
def test_an_error_in_a_default_has_its_place(text: str) -> None:
    with pytest.raises(DockerfileError, match="NO: must") as caught:
        plan(text)
    assert caught.value.span is not None


def test_arg_after_env_wins_in_run_but_never_reaches_the_config() -> None:
    made = plan("FROM i\nENV F=e\nARG F=a\nRUN x", {"i": ContainerConfig()})
    assert dict(made.run.env)["F"] == "a"
    assert env(made.config) == ["F=e"]


def test_an_argument_without_a_value_is_no_variable_of_run() -> None:
    made = plan("FROM i\nARG A\nARG B=\nARG C=1\nRUN x", {"i": ContainerConfig()})
    assert dict(made.run.env) == {"PATH": DEFAULT_PATH, "B": "", "C": "1"}
    assert made.history[-1] == "RUN |3 A= B= C=1 /bin/sh -c x # buildkit"


def test_history_has_the_value_that_run_sees() -> None:
    made = plan("FROM i\nARG F=a\nENV F=e\nRUN x\nARG G=1\nARG G", {"i": ContainerConfig()}, build_args={"F": "given"})
    assert [one for one in made.history if one.startswith("RUN")] == ["RUN |1 F=e /bin/sh -c x # buildkit"]
    made = plan("FROM i\nARG G=1\nARG G\nRUN x", {"i": ContainerConfig()})
    assert dict(made.run.env)["G"] == "1"
    assert made.history[-1] == "RUN |1 G=1 /bin/sh -c x # buildkit"


def test_the_bases_environment_is_seen_and_kept() -> None:
    images = {"i": ContainerConfig(env=("PATH=/bin", "NOEQUALS", "B=1"))}
    made = plan("FROM i\nENV C=$B$NOEQUALS D=$PATH B=2\nRUN x", images)
    assert made.config.env == ("PATH=/bin", "NOEQUALS", "B=2", "C=1", "D=/bin")
    assert dict(made.run.env) == {"PATH": "/bin", "NOEQUALS": "", "B": "2", "C": "1", "D": "/bin"}


@pytest.mark.parametrize(
    ("platform", "expected"), [("linux/amd64", [PATH]), ("windows/amd64", [])], ids=["linux", "windows"]
)
def test_a_missing_path_is_added_but_not_for_windows(platform: str, expected: list[str]) -> None:
    made = plan("FROM scratch\nLABEL a=b", platform=Platform.parse(platform))
    assert list(made.config.env) == expected


# --- automatic arguments


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TARGETPLATFORM", "linux/arm/v6"),
        ("TARGETOS", "linux"),
        ("TARGETARCH", "arm"),
        ("TARGETVARIANT", "v6"),
        ("BUILDPLATFORM", "linux/amd64"),
        ("BUILDOS", "linux"),
        ("BUILDARCH", "amd64"),
        ("BUILDVARIANT", ""),
        ("TARGETOSVERSION", ""),
        ("TARGETSTAGE", "last"),
    ],
)
def test_platform_arguments_are_there_once_declared(name: str, value: str) -> None:
    options: dict[str, Any] = {"platform": Platform.parse("linux/arm/v6")}
    text = f"FROM scratch AS last\nENV BEFORE=${{{name}-unset}}\nARG {name}\nENV AFTER=${name}"
    made = plan(text, **options)
    assert made.config.env[1:] == ("BEFORE=unset", f"AFTER={value}")
    overridden = plan(text, **options, build_args={name: "mine"})
    assert overridden.config.env[2] == "AFTER=mine"
    own = plan(text.replace(f"ARG {name}", f"ARG {name}=own"), **options)
    assert own.config.env[2] == "AFTER=own"


def test_platform_arguments_are_there_for_from() -> None:
    text = "FROM scratch AS build-linux\nLABEL a=linux\nFROM scratch AS build-x\nFROM build-${TARGETOS}"
    assert plan(text).config.labels == {"a": "linux"}


@pytest.mark.parametrize(
    ("text", "target", "expected"),
    [
        ("FROM scratch AS a\nARG TARGETSTAGE\nENV S=$TARGETSTAGE\nFROM a AS b", None, "b"),
        ("FROM scratch AS a\nARG TARGETSTAGE\nENV S=$TARGETSTAGE\nFROM a AS b", "a", "a"),
        ("FROM scratch\nARG TARGETSTAGE\nENV S=$TARGETSTAGE", None, "default"),
    ],
)
def test_the_target_stages_name(text: str, target: str | None, expected: str) -> None:
    assert f"S={expected}" in plan(text, target=target).config.env


def test_from_platform_decides_the_stages_platform() -> None:
    arm = Platform.parse("linux/arm64")
    text = "FROM --platform=$BUILDPLATFORM i AS b\nFROM i\nCOPY --from=b /x /"
    made = plan(text, {"i": ContainerConfig()}, platform=arm)
    assert {str(one.source.platform) for one in made.operations(BaseImage)} == {"linux/amd64", "linux/arm64"}
    assert made.plan.platform == arm


# --- proxies


def test_proxies_reach_run_undeclared_and_leave_no_trace() -> None:
    images = {"i": ContainerConfig()}
    made = plan("FROM i\nRUN x", images, build_args={"http_proxy": "http://p", "NO_PROXY": "n"})
    assert dict(made.run.proxies) == {
        "HTTP_PROXY": "http://p",
        "http_proxy": "http://p",
        "NO_PROXY": "n",
        "no_proxy": "n",
    }
    assert "http_proxy" not in dict(made.run.env)
    assert made.history == ["RUN /bin/sh -c x # buildkit"]


def test_a_declared_proxy_is_an_argument_like_others() -> None:
    made = plan("FROM i\nARG HTTP_PROXY\nRUN x", {"i": ContainerConfig()}, build_args={"HTTP_PROXY": "p"})
    assert dict(made.run.env)["HTTP_PROXY"] == "p"
    assert made.run.proxies == (("http_proxy", "p"),)
    assert made.history[-1] == "RUN |1 HTTP_PROXY=p /bin/sh -c x # buildkit"

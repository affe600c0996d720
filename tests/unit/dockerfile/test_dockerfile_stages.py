"""Rules of dockerfile.md 1.5 and 1.6 and semantics.md 17, 26, 36, 40: names and scopes."""

from __future__ import annotations

import pytest

from builder.dockerfile.instructions import Dockerfile
from builder.dockerfile.parser import parse
from builder.dockerfile.source import DockerfileError
from builder.dockerfile.stages import (
    GlobalScope,
    base_name,
    find_target,
    global_scope,
    platform_name,
    resolve_base,
    resolve_from,
    target_stage_name,
)

NOTHING = GlobalScope({}, ())


def read(text: str) -> Dockerfile:
    return parse(text.encode())


def test_targets_are_names_without_case() -> None:
    dockerfile = read("FROM a AS One\nFROM b AS two\nFROM c\n")
    assert find_target(dockerfile, None).index == 2
    assert find_target(dockerfile, "").index == 2
    assert find_target(dockerfile, "ONE").index == 0
    for name in ("0", "stage-2", "three"):
        with pytest.raises(DockerfileError, match=f'target stage "{name}" could not be found'):
            find_target(dockerfile, name)


def test_a_mistyped_target_gets_a_suggestion() -> None:
    with pytest.raises(DockerfileError) as caught:
        find_target(read("FROM a AS build"), "bulid")
    assert caught.value.message == 'target stage "bulid" could not be found (did you mean build?)'


def test_the_name_of_the_target_stage() -> None:
    assert target_stage_name(read("FROM a AS x"), "X") == "X"
    assert target_stage_name(read("FROM a AS x"), None) == "x"
    assert target_stage_name(read("FROM a"), None) == "default"


def test_a_base_is_the_latest_earlier_stage_of_that_name() -> None:
    dockerfile = read("FROM a AS x\nFROM b AS x\nFROM X\nFROM c AS x\nFROM y AS y\n")
    third = resolve_base(dockerfile, dockerfile.stages[2], "X")
    assert third is not None
    assert third.index == 1
    assert resolve_base(dockerfile, dockerfile.stages[4], "y") is None
    assert resolve_base(dockerfile, dockerfile.stages[2], "0") is None


def test_copy_from_by_name_and_index() -> None:
    dockerfile = read("FROM a AS x\nFROM b\nFROM c AS z\n")
    last = dockerfile.stages[2]
    found = [resolve_from(dockerfile, last, name) for name in ("X", "0", "1", "busybox", "7", "-1", "\u0661")]
    assert [stage.index if stage else None for stage in found] == [0, 0, 1, None, None, None, None]


@pytest.mark.parametrize("name", ["z", "Z", "2", "1"])
def test_a_stage_must_be_defined_before_it_is_used(name: str) -> None:
    dockerfile = read("FROM a AS x\nFROM b\nFROM c AS z\n")
    with pytest.raises(DockerfileError, match="needs to be defined before current stage") as caught:
        resolve_from(dockerfile, dockerfile.stages[1], name)
    assert caught.value.span is not None


# 1.5 the global scope


def scope(text: str, automatic: dict[str, str] | None = None, **given: str) -> dict[str, str | None]:
    return dict(global_scope(read(text + "\nFROM a"), automatic or {}, given).env)


def test_global_arguments() -> None:
    assert scope("ARG a=1\nARG b=$a-2 c\nARG d=$b") == {"a": "1", "b": "1-2", "c": None, "d": "1-2"}
    assert scope("ARG a=1\nARG b=$a", a="9", unknown="x") == {"a": "9", "b": "9"}
    assert scope("ARG a=1\nARG a") == {"a": "1"}
    assert scope("ARG a=\nARG b=${a:-x}") == {"a": "", "b": "x"}
    assert scope("ARG a='x y'") == {"a": "x y"}


def test_automatic_arguments_come_first_and_can_be_overridden() -> None:
    automatic = {"TARGETOS": "linux", "TARGETARCH": "amd64"}
    assert scope("ARG p=$TARGETOS/$TARGETARCH", automatic)["p"] == "linux/amd64"
    assert scope("ARG TARGETARCH", automatic)["TARGETARCH"] == "amd64"
    assert scope("ARG TARGETARCH=x", automatic)["TARGETARCH"] == "x"
    assert scope("", automatic, TARGETOS="plan9")["TARGETOS"] == "plan9"


def test_a_given_argument_suppresses_its_default() -> None:
    with pytest.raises(DockerfileError, match="FOO: say_it") as caught:
        scope("ARG x=${FOO:?say_it}")
    assert caught.value.span is not None
    assert scope("ARG x=${FOO:?say_it}", x="1") == {"x": "1"}


def test_from_is_expanded_from_global_arguments_only() -> None:
    dockerfile = read(
        "ARG V=1\nARG E\nFROM a:$V\nARG V=2\nFROM --platform=$P b:$V\nFROM $E\nFROM 'q'\nFROM --platform=$E c"
    )
    env = global_scope(dockerfile, {"P": "linux/arm64"}, {})
    assert [base_name(dockerfile, stage, env) for stage in dockerfile.stages[:2]] == ["a:1", "b:1"]
    assert platform_name(dockerfile, dockerfile.stages[0], env) is None
    assert platform_name(dockerfile, dockerfile.stages[1], env) == "linux/arm64"
    with pytest.raises(DockerfileError, match="should not be blank"):
        base_name(dockerfile, dockerfile.stages[2], env)
    assert base_name(dockerfile, dockerfile.stages[3], env) == "q"
    with pytest.raises(DockerfileError, match="empty platform value"):
        platform_name(dockerfile, dockerfile.stages[4], env)


def test_a_bad_base_has_a_place() -> None:
    dockerfile = read("FROM ${A:?no}\n")
    with pytest.raises(DockerfileError, match="A: no") as caught:
        base_name(dockerfile, dockerfile.stages[0], NOTHING)
    assert caught.value.span == dockerfile.stages[0].from_.span

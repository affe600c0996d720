"""Stages, targets, named contexts, base images and ONBUILD: what a name means and what is never looked at."""

from __future__ import annotations

from typing import Any

import pytest

from builder.dockerfile.source import DockerfileError
from builder.errors import BuilderError
from builder.image.config import ContainerConfig, History, ImageConfig
from builder.image.digest import DiffID, Digest
from builder.image.platform import Platform
from builder.plan.graph import BaseImage, ContextOrigin, CopyFiles, NothingOrigin, RunCommand, StageOrigin
from tests.support.plans import plan

EMPTY = ContainerConfig()


def labels(text: str, images: Any = None, **options: Any) -> dict[str, str]:
    return dict(plan(text, images, **options).config.labels)


# --- stages and targets


@pytest.mark.parametrize(
    ("target", "expected"),
    [(None, "c"), ("a", "a"), ("A", "a"), ("b", "b"), ("c", "c")],
)
def test_the_target_is_a_name_in_any_case_or_the_last_stage(target: str | None, expected: str) -> None:
    text = "FROM scratch AS A\nLABEL l=a\nFROM scratch AS b\nLABEL l=b\nFROM scratch AS c\nLABEL l=c"
    assert labels(text, target=target) == {"l": expected}


@pytest.mark.parametrize("target", ["0", "bulid", "nope"])
def test_a_target_that_is_no_name_is_refused(target: str) -> None:
    with pytest.raises(BuilderError, match=f'target stage "{target}" could not be found') as caught:
        plan("FROM scratch AS build", target=target)
    assert ("did you mean build" in f"{caught.value} {caught.value.hint}") == (target == "bulid")


@pytest.mark.parametrize("name", ["base", "BASE", "Base"])
def test_from_finds_stages_in_any_case(name: str) -> None:
    assert labels(f"FROM scratch AS Base\nLABEL a=b\nFROM {name}") == {"a": "b"}


def test_from_takes_the_latest_earlier_stage_of_a_name() -> None:
    text = "FROM scratch AS x\nLABEL n=1\nFROM x AS x\nLABEL m=2\nFROM x"
    assert labels(text) == {"n": "1", "m": "2"}


def test_from_of_a_later_stage_is_an_image() -> None:
    made = plan("FROM later\nFROM scratch AS later", {"later": EMPTY}, target=None)
    assert made.asked == ()
    made = plan("FROM later AS a\nFROM scratch AS later\nFROM a", {"later": EMPTY})
    assert made.asked == ("docker-image://docker.io/library/later:latest",)


def test_scratch_is_always_nothing() -> None:
    assert plan("FROM scratch AS scratch2\nCOPY --from=scratch / /").copy.origin == NothingOrigin()


@pytest.mark.parametrize("source", ["a", "A", "0"])
def test_copy_from_a_stage(source: str) -> None:
    made = plan(f"FROM scratch AS a\nCOPY x /\nFROM scratch\nCOPY --from={source} /x /")
    last = made.plan.vertices[made.plan.target] if made.plan.target else None
    assert last is not None
    assert isinstance(last.operation, CopyFiles)
    assert last.operation.origin == StageOrigin(0)
    assert len(last.sources) == 1
    assert last.parent is None


def test_copy_from_an_index_survives_pruning() -> None:
    text = "FROM nope AS unused\nFROM scratch\nCOPY x /\nFROM scratch\nCOPY --from=1 /x /"
    assert plan(text).asked == ()


def test_copy_from_an_image() -> None:
    made = plan("FROM scratch\nCOPY --from=img:1 /x /", {"img:1": EMPTY})
    assert made.asked == ("docker-image://docker.io/library/img:1",)
    assert made.copy.origin == StageOrigin(0)
    assert [one.source.location for one in made.operations(BaseImage)] == list(made.asked)


def test_copy_from_an_empty_stage_finds_nothing_and_asks_nobody() -> None:
    assert plan("FROM scratch AS e\nFROM scratch\nCOPY --from=e / /").copy.origin == NothingOrigin()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM scratch\nCOPY --from=0 /x /", "needs to be defined before"),
        ("FROM scratch\nCOPY --from=7 /x /", "index 7"),
        ("FROM scratch\nCOPY --from=" + "9" * 5000 + " /x /", "index 99"),
        ("FROM scratch\nCOPY --from=1 /x /\nFROM scratch AS b\nFROM scratch", "needs to be defined before"),
        ("FROM scratch AS a\nCOPY --from=b /x /\nFROM scratch AS b\nFROM a", "needs to be defined before"),
        ("FROM scratch AS a\nCOPY --from=a /x /", "(?i)before|itself|current"),
        ("FROM scratch\nCOPY --from=No_Such:x! /x /", "invalid reference"),
        ("FROM scratch\nRUN --mount=from=b,target=/b x\nFROM scratch AS b\nFROM scratch", None),
        ("FROM not/Valid", "invalid reference"),
        ("FROM $NO", "blank"),
        ("FROM --platform=$NO scratch", "(?i)platform"),
        ("FROM --platform=a/b/c/d scratch", "invalid platform"),
    ],
)
def test_names_that_cannot_be_are_errors_with_a_place(text: str, message: str | None) -> None:
    target = "a" if " AS a\n" in text else None
    if message is None:
        plan(text)  # the stage with the mistake is not needed
        return
    if "FROM scratch AS b" in text and target is None:
        text = text.replace("FROM scratch\n", "FROM scratch AS t\n", 1)
        target = "t"
    with pytest.raises(DockerfileError, match=message) as caught:
        plan(text, target=target)
    assert caught.value.span is not None


def test_a_misspelt_stage_gets_a_suggestion() -> None:
    with pytest.raises(DockerfileError) as caught:
        plan("FROM scratch AS builder\nFROM scratch\nCOPY --from=Bulider /x /")
    assert "builder" in (caught.value.hint or "") + str(caught.value)


def test_unreachable_stages_are_never_resolved() -> None:
    text = """
    FROM nope-1 AS a
    COPY --from=nope-2 /x /
    FROM real AS b
    RUN --mount=from=helper,target=/m x
    FROM a
    RUN x
    """
    made = plan(text, {"real": EMPTY, "helper": EMPTY}, target="b")
    assert sorted(made.asked) == [
        "docker-image://docker.io/library/helper:latest",
        "docker-image://docker.io/library/real:latest",
    ]
    assert len(made.operations(RunCommand)) == 1


def test_equal_work_is_one_vertex() -> None:
    text = "FROM i AS a\nCOPY x /\nFROM i AS b\nCOPY x /\nFROM a\nCOPY --from=b /x /y"
    made = plan(text, {"i": EMPTY})
    assert len(made.operations(CopyFiles)) == 2
    assert len(made.plan.vertices) == 3


def test_vertices_come_after_their_inputs() -> None:
    text = "FROM i AS a\nCOPY x /\nRUN a\nFROM i AS b\nCOPY --from=a /x /\nFROM b\nCOPY --from=a /y /\n"
    text += "RUN --mount=from=b,target=/b z"
    made = plan(text, {"i": EMPTY})
    seen: set[str] = set()
    for key, vertex in made.plan.vertices.items():
        assert set(vertex.inputs) <= seen
        seen.add(key)
    assert made.plan.target == key


def test_three_hundred_stages_are_no_recursion() -> None:
    stages = ["FROM scratch AS s0\nCOPY a /"] + [f"FROM s{n} AS s{n + 1}\nCOPY --from=s{n} /a /{n}" for n in range(300)]
    assert len(plan("\n".join(stages)).plan.vertices) == 301


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("FROM i\nCOPY a /\nRUN b", ["[1/3] FROM i", "[2/3] COPY a /", "[3/3] RUN b"]),
        ("FROM i AS Build\nENV a=b\nWORKDIR /w", ["[build 1/2] FROM i AS Build", "[build 2/2] WORKDIR /w"]),
        (
            "FROM i\nRUN a\nFROM i\nCOPY --from=0 /x /",
            ["[stage-0 1/2] FROM i", "[stage-0 2/2] RUN a", "[stage-1 2/2] COPY --from=0 /x /"],
        ),
        ("FROM i\nRUN a \\\n  b", ["[1/2] FROM i", "[2/2] RUN a   b"]),
    ],
)
def test_steps_are_numbered_within_their_stage(text: str, names: list[str]) -> None:
    assert plan(text, {"i": EMPTY}).names == names


# --- named contexts


@pytest.mark.parametrize("context", ["base", "BASE", "docker.io/library/base", "base:latest"])
def test_a_named_context_replaces_an_image(context: str) -> None:
    made = plan("FROM base\nRUN x", {"oci-layout://d": EMPTY}, contexts={context: "oci-layout://d"})
    assert made.asked == ("oci-layout://d",)


def test_a_named_context_replaces_a_stage_with_all_its_instructions() -> None:
    text = "FROM nope AS build\nRUN make\nLABEL no=no\nFROM scratch\nCOPY --from=build /out /"
    made = plan(text, {"oci-layout://d": EMPTY}, contexts={"build": "oci-layout://d"})
    assert made.asked == ("oci-layout://d",)
    assert made.operations(RunCommand) == []
    text = "FROM nope AS build\nRUN make\nLABEL no=no\nFROM build\nLABEL a=b"
    made = plan(text, {"oci-layout://d": EMPTY}, contexts={"build": "oci-layout://d"})
    assert made.operations(RunCommand) == []
    assert dict(made.config.labels) == {"a": "b"}


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("FROM nope AS build\nRUN make", None),
        ("FROM nope AS build\nRUN make\nFROM scratch AS copy\nCOPY --from=0 / /", None),
    ],
)
def test_a_replaced_stage_stays_replaced_as_the_target_and_by_index(text: str, target: str | None) -> None:
    image = ContainerConfig(onbuild=("RUN trigger",))
    made = plan(text, {"oci-layout://d": image}, contexts={"build": "oci-layout://d"}, target=target)
    assert made.asked == ("oci-layout://d",)
    assert made.operations(RunCommand) == []


def test_a_replaced_stage_runs_no_triggers_and_needs_none_of_its_bases() -> None:
    text = "FROM nope AS build\nCOPY --from=nope2 / /\nFROM build\nLABEL a=b"
    images = {"docker-image://docker.io/library/mine:latest": ContainerConfig(labels={"m": "1"})}
    made = plan(text, images, contexts={"build": "docker-image://mine"})
    assert made.asked == ("docker-image://docker.io/library/mine:latest",)
    assert dict(made.config.labels) == {"m": "1", "a": "b"}


def test_copy_from_a_directory_context() -> None:
    made = plan("FROM scratch\nCOPY --from=Data x /", contexts={"data": "some/dir"})
    assert made.copy.origin == ContextOrigin("data")


def test_from_a_directory_context() -> None:
    made = plan("FROM data\nLABEL a=b", contexts={"data": "some/dir"})
    assert made.copy.origin == ContextOrigin("data")
    assert (made.copy.dest, made.config.working_dir) == ("/", "/")
    assert made.history == ["FROM data", "LABEL a=b"]


def test_a_context_may_be_scratch() -> None:
    made = plan("FROM base\nLABEL a=b", contexts={"base": "docker-image://scratch"})
    assert (made.asked, made.plan.target) == ((), None)


def test_contexts_nobody_uses_are_nobodys_business() -> None:
    assert plan("FROM scratch", contexts={"x": "docker-image://INVALID", "y": "/nope"}).asked == ()


def test_an_invalid_image_behind_a_context_is_an_error_with_a_place() -> None:
    with pytest.raises(DockerfileError, match="invalid reference"):
        plan("FROM x", contexts={"x": "docker-image://IN VALID"})


# --- base images


def test_the_history_of_the_base_comes_first_and_is_made_to_fit() -> None:
    diff_ids = tuple(DiffID(Digest.of(one)) for one in (b"a", b"b"))
    history = (History(created_by="one"), History(created_by="env", empty_layer=True))
    image = ImageConfig(platform=Platform("linux", "amd64"), diff_ids=diff_ids, history=history, author="them")
    made = plan("FROM i\nRUN x", {"i": image})
    assert [(step.template.created_by, step.template.empty_layer, step.inherited) for step in made.plan.steps] == [
        ("one", False, True),
        ("env", True, True),
        ("", False, True),
        ("RUN /bin/sh -c x # buildkit", False, False),
    ]
    assert made.plan.author == "them"


def test_a_base_that_names_no_platform_has_the_one_that_was_asked_for() -> None:
    image = ImageConfig(platform=Platform("", ""), diff_ids=(DiffID(Digest.of(b"a")),))
    assert plan("FROM i", {"i": image}).plan.platform == Platform("linux", "amd64")


def test_a_base_without_layers_gives_its_config() -> None:
    image = ImageConfig(platform=Platform("linux", "amd64"), config=ContainerConfig(labels={"a": "b"}))
    made = plan("FROM i\nCOPY x /", {"i": image})
    assert dict(made.config.labels) == {"a": "b"}
    assert len(made.plan.vertices) == 1


def test_a_digest_in_from_is_kept() -> None:
    name = f"img:1@{Digest.of(b'x')}"
    assert plan(f"FROM {name}", {name: EMPTY}).asked == (f"docker-image://docker.io/library/{name}",)


# --- ONBUILD

TRIGGERS = ContainerConfig(onbuild=("ENV A=1", "COPY x /x", "RUN one $A"))


def test_triggers_of_an_image_run_first_and_are_gone() -> None:
    made = plan("FROM i AS s\nENV A=2 B=$A\nRUN two", {"i": TRIGGERS})
    assert made.config.onbuild == ()
    assert "B=1" in made.config.env
    assert [one.args[-1] for one in made.operations(RunCommand)] == ["one $A", "two"]
    assert made.names == [
        "[s 1/4] FROM i AS s",
        "[s 2/4] ONBUILD COPY x /x",
        "[s 3/4] ONBUILD RUN one $A",
        "[s 4/4] RUN two",
    ]


def test_triggers_of_a_stage_of_the_same_file() -> None:
    text = "FROM scratch AS p\nONBUILD LABEL a=1\nLABEL b=2\nFROM p AS c\nLABEL c=$NO\nFROM c"
    assert labels(text, target="p") == {"b": "2"}
    assert plan(text, target="p").config.onbuild == ("LABEL a=1",)
    assert labels(text, target="c") == {"b": "2", "a": "1", "c": ""}
    # Only once, not for grandchildren.
    assert plan(text).config.onbuild == ()
    assert [one.template.created_by for one in plan(text).plan.steps].count("LABEL a=1") == 1


def test_triggers_may_copy_from_stages_of_the_child_and_from_new_images() -> None:
    image = ContainerConfig(
        onbuild=("COPY --from=builder /x /", "COPY --from=other /y /", "RUN --mount=from=third,target=/t x")
    )
    text = "FROM scratch AS builder\nCOPY x /\nFROM i"
    made = plan(text, {"i": image, "other": EMPTY, "third": EMPTY})
    assert made.asked[0] == "docker-image://docker.io/library/i:latest"
    assert set(made.asked[1:]) == {f"docker-image://docker.io/library/{one}:latest" for one in ("other", "third")}


def test_triggers_of_a_base_in_an_unneeded_stage_do_not_run() -> None:
    image = ContainerConfig(onbuild=("COPY --from=nope /x /",))
    assert plan("FROM i AS no\nFROM scratch", {"i": image}).asked == ()


@pytest.mark.parametrize("trigger", ["FROM x", "ONBUILD RUN x", "MAINTAINER x", "NOPE", "", "COPY --from=later / /"])
def test_bad_triggers_are_errors(trigger: str) -> None:
    with pytest.raises(DockerfileError):
        plan("FROM i AS t\nFROM scratch AS later", {"i": ContainerConfig(onbuild=(trigger,))}, target="t")


def test_escape_directives_do_not_change_an_images_triggers_expansion() -> None:
    image = ContainerConfig(onbuild=("ENV A=\\$x",))
    assert "A=$x" in plan("FROM i", {"i": image}).config.env

"""Builds for several platforms: what they share, what each sees of TARGET* and BUILD*, how their steps are named."""

from __future__ import annotations

from typing import Any

import pytest

from builder.image.config import ContainerConfig
from builder.image.platform import Platform
from builder.plan.graph import RunCommand, merged
from tests.support.plans import LINUX, Planned, plan

EMPTY = ContainerConfig()
ARM = Platform.parse("linux/arm64")


def both(text: str, **options: Any) -> tuple[Planned, Planned]:
    """Plan for amd64, which is here, and for arm64."""
    amd64, arm64 = (plan(text, {"base": EMPTY}, platform=one, several=True, **options) for one in (LINUX, ARM))
    return amd64, arm64


def test_a_stage_for_the_build_platform_is_made_once() -> None:
    text = (
        "FROM --platform=$BUILDPLATFORM base AS build\nRUN make\nFROM base\nCOPY --from=build /out /out\nRUN install\n"
    )
    plans = both(text)
    together = merged(one.plan for one in plans)
    assert [vertex.name for vertex in together.values()] == [
        "[linux/amd64 build 1/2] FROM --platform=$BUILDPLATFORM base AS build",
        "[linux/amd64 build 2/2] RUN make",
        "[linux/amd64 stage-1 2/3] COPY --from=build /out /out",
        "[linux/amd64 stage-1 3/3] RUN install",
        "[linux/arm64 stage-1 1/3] FROM base",
        "[linux/arm64 stage-1 2/3] COPY --from=build /out /out",
        "[linux/arm64 stage-1 3/3] RUN install",
    ]
    places = {key: number for number, key in enumerate(together)}
    assert all(places[one] < places[key] for key, vertex in together.items() for one in vertex.inputs)


def test_what_depends_on_the_target_is_made_for_each() -> None:
    text = (
        "FROM --platform=$BUILDPLATFORM base AS build\nRUN fetch\nARG TARGETARCH\nRUN make\n"
        "FROM scratch\nCOPY --from=build /out /out\n"
    )
    plans = both(text)
    assert [vertex.name for vertex in merged(one.plan for one in plans).values()] == [
        "[linux/amd64 build 1/3] FROM --platform=$BUILDPLATFORM base AS build",
        "[linux/amd64 build 2/3] RUN fetch",
        "[linux/amd64 build 3/3] RUN make",
        "[linux/amd64 stage-1 2/2] COPY --from=build /out /out",
        "[linux/amd64->arm64 build 3/3] RUN make",
        "[linux/arm64 stage-1 2/2] COPY --from=build /out /out",
    ]


def test_files_are_copied_onto_nothing_once_for_all_platforms() -> None:
    amd64, arm64 = both("FROM scratch\nCOPY a /\n")
    assert amd64.plan.target == arm64.plan.target
    assert (amd64.plan.platform, arm64.plan.platform) == (LINUX, ARM)


def test_commands_are_run_for_the_platform_of_their_stage() -> None:
    amd64, arm64 = both("FROM scratch\nCOPY static /\nRUN ['/static']\nRUN --network=none x\n")
    assert amd64.plan.target != arm64.plan.target
    assert {one.platform for one in arm64.operations(RunCommand)} == {ARM}
    built = plan("FROM --platform=$BUILDPLATFORM base\nRUN x\n", {"base": EMPTY}, platform=ARM)
    assert (built.run.platform, built.plan.asked) == (LINUX, ARM)


@pytest.mark.parametrize(
    ("declared", "prefix"),
    [
        ("ARG TARGETPLATFORM", "linux/amd64->arm/v7"),
        ("ARG TARGETARCH TARGETVARIANT", "linux/amd64->arm/v7"),
        ("ARG TARGETARCH", "linux/amd64->arm/v7"),
        ("ARG TARGETOS", "linux/amd64"),
        ("ARG TARGETVARIANT", "linux/amd64"),
        ("ARG BUILDPLATFORM", "linux/amd64"),
        ("ENV TARGETPLATFORM=what/ever/it/is", "linux/amd64"),
        ("ENV TARGETOS=windows TARGETARCH=arm64", "linux/amd64->windows/arm64"),
    ],
)
def test_steps_of_cross_compilations_say_what_for(declared: str, prefix: str) -> None:
    text = f"FROM --platform=$BUILDPLATFORM base\n{declared}\nRUN x\n"
    made = plan(text, {"base": EMPTY}, platform=Platform.parse("linux/arm/v7"), several=True)
    assert made.names[-1] == f"[{prefix} 2/2] RUN x"


def test_a_build_for_one_platform_does_not_name_it() -> None:
    assert plan("FROM base\nRUN x\n", {"base": EMPTY}, platform=ARM).names[-1] == "[2/2] RUN x"


def test_an_os_version_is_an_argument() -> None:
    windows = Platform.parse("windows(10.0.17763.1)/amd64")
    text = "FROM scratch\nARG TARGETPLATFORM TARGETOSVERSION\nLABEL a=$TARGETPLATFORM b=$TARGETOSVERSION\n"
    assert plan(text, platform=windows).config.labels == {"a": "windows(10.0.17763.1)/amd64", "b": "10.0.17763.1"}

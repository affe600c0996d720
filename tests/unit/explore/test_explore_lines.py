"""Which line of a Dockerfile is behind which step."""

from __future__ import annotations

import pytest

from builder.dockerfile.parser import parse
from builder.dockerfile.source import DockerfileError
from builder.explore.lines import match
from builder.image.config import History

TEXT = b"""\
FROM scratch AS base
ARG A=1
RUN apt-get update \\
 && apt-get install -y make
ENV B=2
ONBUILD RUN never
FROM base
COPY . /app
# a comment
RUN ["make", "-C", "/app"]
CMD ["/app/run"]
"""

DOCKER = (
    "/bin/sh -c #(nop) ADD file:12 in / ",
    '/bin/sh -c #(nop)  CMD ["bash"]',
)
BUILDKIT = (
    "ARG A=1",
    "RUN |1 A=1 /bin/sh -c apt-get update  && apt-get install -y make # buildkit",
    "ENV B=2",
    "COPY . /app # buildkit",
    "RUN |1 A=1 make -C /app # buildkit",
    'CMD ["/app/run"]',
)
CLASSIC = (
    "/bin/sh -c #(nop)  ARG A=1",
    "|1 A=1 /bin/sh -c apt-get update  && apt-get install -y make",
    "/bin/sh -c #(nop)  ENV B=2",
    "/bin/sh -c #(nop) COPY dir:ab in /app ",
    "make -C /app",
    '/bin/sh -c #(nop)  CMD ["/app/run"]',
)


def _lines(*created_by: str, target: str | None = None) -> list[tuple[int, int] | None]:
    found = match([History(created_by=one) for one in created_by], parse(TEXT), target)
    return [None if one is None else (one.first, one.last) for one in found]


def test_every_step_of_the_dockerfile_has_its_lines() -> None:
    expected = [(2, 2), (3, 4), (5, 5), (8, 8), (10, 10), (11, 11)]
    assert _lines(*BUILDKIT) == expected
    assert _lines(*DOCKER, *BUILDKIT) == [None, None, *expected]


def test_steps_of_the_classic_builder_are_understood() -> None:
    assert _lines(*CLASSIC[:4], target="base") == [None] * 4
    assert _lines(*CLASSIC[:3], target="base") == [(2, 2), (3, 4), (5, 5)]
    assert _lines(*DOCKER, *CLASSIC) == [None, None, (2, 2), (3, 4), (5, 5), (8, 8), (10, 10), (11, 11)]


def test_here_documents() -> None:
    text = b"FROM scratch\nRUN <<E\napt-get update\nE\nRUN <<E\n#!/bin/awk -f\nE\nCOPY <<E /f\nbody\nE\n"
    steps = [
        "RUN /bin/sh -c <<E (apt-get update...) # buildkit",
        "RUN /dev/pipes/E # buildkit",
        "COPY <<E /f # buildkit",
    ]
    found = match([History(created_by=one) for one in steps], parse(text))
    assert [one and (one.first, one.last) for one in found] == [(2, 4), (5, 7), (8, 10)]


def test_another_command_ends_what_is_known() -> None:
    changed = [one.replace("apt-get update", "apk update") for one in BUILDKIT]
    assert _lines(*changed) == [None, None, (5, 5), (8, 8), (10, 10), (11, 11)]


def test_the_text_is_that_of_the_dockerfile() -> None:
    found = match([History(created_by=BUILDKIT[1])], parse(TEXT.replace(b"ENV B=2\n", b"")), "base")
    assert found[0] is not None
    assert found[0].text == "RUN apt-get update \\\n && apt-get install -y make"


@pytest.mark.parametrize("history", [(), ("",), ("#(nop)",), ("/bin/sh -c #(nop) ",), ("|", "|1 ")])
def test_steps_that_say_nothing(history: tuple[str, ...]) -> None:
    assert _lines(*history) == [None] * len(history)


def test_a_target_that_is_not_there() -> None:
    with pytest.raises(DockerfileError, match="could not be found"):
        _lines(target="nothing")

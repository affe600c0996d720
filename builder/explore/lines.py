"""Which line of a Dockerfile is behind which step of an image's history, as far as the two agree.

Every instruction but FROM and ONBUILD leaves one step, in order, so both are read backwards side by side: the keyword
must be the same, and of RUN also how the command begins. At the first step that is another, what is before it is not
known: that is the base, or the Dockerfile has been changed since.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import assert_never

from builder.dockerfile.instructions import (
    Dockerfile,
    ExecForm,
    Onbuild,
    Run,
    Script,
    ShellForm,
    Stage,
    StageInstruction,
)
from builder.dockerfile.source import Span
from builder.dockerfile.stages import find_target, resolve_base
from builder.image.config import History
from builder.patterns import pattern
from builder.values import dataclass

_NOP = "#(nop)"
_SPACE = pattern(r"[\s\\]+")
_SHELL = "/bin/sh -c "
"""What the classic builder puts before it, for every instruction."""
_COMPARED = 12
"""Characters of a RUN that must be in its step: later ones may be written otherwise there."""

TEXT_LIMIT = 4000
"""Characters of an instruction that are shown."""


@dataclass(frozen=True, slots=True)
class Line:
    """An instruction's place in its Dockerfile, and its text."""

    first: int
    last: int
    text: str


def match(history: Sequence[History], dockerfile: Dockerfile, target: str | None = None) -> tuple[Line | None, ...]:
    """Return the instruction behind each step, None where it is not known. Raises DockerfileError for the target."""
    found: list[Line | None] = [None] * len(history)
    number = len(history)
    for instruction in _backwards(dockerfile, find_target(dockerfile, target)):
        text = _text(dockerfile, instruction.span)
        if not number or not _agree(history[number - 1].created_by, instruction, text):
            break
        number -= 1
        found[number] = Line(instruction.span.start_line, instruction.span.end_line, text[:TEXT_LIMIT])
    return tuple(found)


def _backwards(dockerfile: Dockerfile, stage: Stage) -> Iterator[StageInstruction]:
    """Yield the instructions of a stage and of those it stands on, the last first."""
    below: Stage | None = stage
    while below is not None:
        for one in reversed(below.instructions):
            if not isinstance(one, Onbuild):
                yield one
        below = resolve_base(dockerfile, below, below.from_.image.text)


def _text(dockerfile: Dockerfile, span: Span) -> str:
    return "\n".join(dockerfile.source.lines[span.start_line - 1 : span.end_line])


def _agree(created_by: str, instruction: StageInstruction, text: str) -> bool:
    if not isinstance(instruction, Run):
        return _keyword(created_by) == text.split(maxsplit=1)[0].upper()
    said = _squeezed(created_by)
    match instruction.command:
        case ExecForm(args):
            return _squeezed("".join(args)) in said
        case ShellForm(command):
            return said.startswith(("RUN", "|", "/bin/sh-c")) and _squeezed(command)[:_COMPARED] in said
        case Script():
            return said.startswith("RUN")
        case _:
            assert_never(instruction.command)


def _squeezed(text: str) -> str:
    """Return text without what is written otherwise in a history."""
    return "".join(_SPACE.split(text))


def _keyword(created_by: str) -> str:
    """Return a step's keyword, as the builders of all ages write it."""
    head, nop, rest = created_by.strip().partition(_NOP)
    words = (rest if nop and head == _SHELL else created_by).split(maxsplit=1)
    return words[0].upper() if words else ""

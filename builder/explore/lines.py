"""Which line of a Dockerfile is behind which step of an image's history, as far as the two agree.

Every instruction but FROM and ONBUILD leaves one step, in order, so both are read backwards side by side: the keyword
must be the same, and of RUN also how the command begins. At the first step that is another, what is before it is not
known: that is the base, or the Dockerfile has been changed since.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from builder.dockerfile.instructions import Dockerfile, From, Onbuild, Stage, StageInstruction
from builder.dockerfile.source import Span
from builder.dockerfile.stages import find_target, resolve_base
from builder.image.config import History
from builder.patterns import pattern
from builder.values import dataclass

_NOP = "#(nop)"
_SPACE = pattern(r"[\s\\]+")
_SHELL = pattern(r"(?:\|\d+ .*? )?/bin/sh -c ")
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
        if not number or not _agree(history[number - 1].created_by, text):
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
        below = resolve_base(dockerfile, below, _base(below.from_))


def _base(instruction: From) -> str:
    return instruction.image.text


def _text(dockerfile: Dockerfile, span: Span) -> str:
    return "\n".join(dockerfile.source.lines[span.start_line - 1 : span.end_line])


def _agree(created_by: str, text: str) -> bool:
    said, _, rest = _step(created_by)
    keyword, _, written = text.strip().partition(" ")
    if said != keyword.upper():
        return False
    if said != "RUN" or written.lstrip().startswith(("-", "[", "<")):
        return True
    begin = "".join(_SPACE.split(written))[:_COMPARED]
    return begin in "".join(_SPACE.split(rest))


def _step(created_by: str) -> tuple[str, str, str]:
    """Return a step's keyword and the rest, as the builders of all ages write it."""
    text = created_by.strip()
    head, nop, rest = text.partition(_NOP)
    if nop and _SHELL.fullmatch(head):
        return rest.split(maxsplit=1)[0].upper() if rest.split() else "", " ", rest
    if text.startswith(("/bin/sh -c ", "|")):
        return "RUN", " ", text
    keyword, space, rest = text.partition(" ")
    return keyword.upper(), space, rest

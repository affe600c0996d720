"""Log groups of CI services: the lines of a step together, folded, whatever other steps say meanwhile.

Groups cannot be within each other. One step's lines appear at once; those of others that run at the same time are kept
back until its end. Memory is bounded because what is shown of a step is.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable

from builder.cli.reporters import printable
from builder.events import Event, Output, VertexCompleted, VertexFailed, VertexStarted
from builder.values import dataclass, field

_REPEATED = 30
"""Lines of a step that failed which stand below its folded group again."""


@dataclass(slots=True)
class _Group:
    title: str
    lines: list[str] = field(default_factory=list)
    last: deque[str] = field(default_factory=lambda: deque(maxlen=_REPEATED))
    ended: bool = False


class Groups:
    """Places lines into the groups of a service: ``github`` or ``gitlab``. Not thread-safe.

    ``prefix`` begins the names of sections, which one job must not have twice, however many builds it has.
    """

    def __init__(self, service: str, clock: Callable[[], float] = time.time, prefix: str = "") -> None:
        self._github = service == "github"
        self._prefix = prefix or f"pybuild_{os.getpid()}"
        self._clock = clock
        self._groups: dict[str, _Group] = {}
        """Those that have not been printed whole, in the order of their steps; the first is open."""
        self._after: list[str] = []
        self._count = 0

    def place(self, event: Event, lines: list[str]) -> str:
        """Return the text to print now for an event that has these lines."""
        if isinstance(event, VertexStarted):
            return self._begin(event.vertex, lines)
        group = self._groups.get(event.vertex) if isinstance(event, Output | VertexCompleted | VertexFailed) else None
        if group is None or isinstance(event, VertexStarted):
            if self._groups and isinstance(event, VertexCompleted):
                self._after += lines
                return ""
            return _text(lines)
        first = next(iter(self._groups.values())) is group
        group.last.extend(lines)
        if first and not isinstance(event, VertexCompleted | VertexFailed):
            return _text(lines)
        group.lines += lines
        if isinstance(event, VertexFailed):
            return self._failed(event, group)
        group.ended = isinstance(event, VertexCompleted)
        return self._go_on() if first and group.ended else ""

    def end(self) -> str:
        """Return the text that was kept back, when there will be no more."""
        printed = []
        for number, group in enumerate(self._groups.values()):
            printed += [*([] if number == 0 else [self._open(group)]), *group.lines, self._close()]
        self._groups.clear()
        printed += self._after
        self._after = []
        return _text(printed)

    def _begin(self, vertex: str, lines: list[str]) -> str:
        group = self._groups[vertex] = _Group(lines[0])
        return _text([self._open(group)]) if len(self._groups) == 1 else ""

    def _go_on(self) -> str:
        """Print the rest of the first group and those after it that have ended; open the next."""
        printed: list[str] = []
        for number, (vertex, group) in enumerate(list(self._groups.items())):
            if number:
                printed.append(self._open(group))
            printed += group.lines
            group.lines = []
            if not group.ended:
                return _text(printed)
            printed.append(self._close())
            del self._groups[vertex]
            printed += self._after
            self._after = []
        return _text(printed)

    def _failed(self, event: VertexFailed, group: _Group) -> str:
        """Fold what is there, and repeat the end of what failed where everybody sees it."""
        group.ended = True
        rest = self.end()
        shown = [f"what {printable(event.name)} wrote last:", *group.last] if len(group.last) > 1 else list(group.last)
        return rest + _text([*shown, *self._annotation(event)])

    def _annotation(self, event: VertexFailed) -> list[str]:
        """Return what marks the line of the Dockerfile in a review."""
        place = event.message.partition("\n")[0]
        file, colon, rest = place.partition(":")
        if not self._github or not event.lines[0] or not colon:
            return []
        message = rest.partition(": ")[2] or rest
        where = f"file={_escaped(file, property_=True)},line={event.lines[0]},endLine={event.lines[1]}"
        return [f"::error {where}::{_escaped(printable(message))}"]

    def _open(self, group: _Group) -> str:
        self._count += 1
        if self._github:
            return f"::group::{_escaped(group.title)}"
        return f"\x1b[0Ksection_start:{int(self._clock())}:{self._name()}[collapsed=true]\r\x1b[0K{group.title}"

    def _close(self) -> str:
        if self._github:
            return "::endgroup::"
        return f"\x1b[0Ksection_end:{int(self._clock())}:{self._name()}\r\x1b[0K"

    def _name(self) -> str:
        return f"{self._prefix}_{self._count}"


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _escaped(text: str, *, property_: bool = False) -> str:
    """Return text as workflow commands want it."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if property_ else text

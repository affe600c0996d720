"""``--progress plain``: numbered lines in the order things happen, whole ones, for logs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO, assert_never

from builder.cli.reporters import INTERRUPTED, message_lines, print_line, print_text, printable
from builder.events import (
    BuildFinished,
    BuildStarted,
    Event,
    Failed,
    Notice,
    Output,
    Stopping,
    Transfer,
    VertexCompleted,
    VertexFailed,
    VertexStarted,
    Warned,
    WorkCompleted,
    WorkStarted,
)

if TYPE_CHECKING:
    from builder.cli.progress.steplog import Lines, Logs, StepLog


class Grouping(Protocol):
    """Puts the lines of each step together."""

    def place(self, event: Event, lines: list[str]) -> str:
        """Return the text to print now for an event that has these lines."""
        ...

    def end(self) -> str:
        """Return the text that was kept back."""
        ...


class PlainReporter:
    """Numbered lines in the order things happen. Thread-safe."""

    def __init__(self, stream: TextIO, grouping: Grouping | None = None) -> None:
        self._stream = stream
        self._grouping = grouping
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}
        self._partial: dict[str, dict[str, Lines]] = {}
        self._folder: Path | None = None
        self._logs: Logs | None = None
        self._steps: dict[str, StepLog] = {}
        self._transfers: set[tuple[str, str]] = set()

    def emit(self, event: Event) -> None:
        """Print one event."""
        with self._lock:
            lines = self._lines(event)
            if self._grouping is not None:
                if text := self._grouping.place(event, lines):
                    print_text(self._stream, text)
            elif lines:
                print_line(self._stream, "\n".join(lines))

    def keep_logs(self, folder: Path) -> None:
        """Put there what is too much to be shown."""
        self._folder = folder

    def close(self) -> None:
        """Print what a group has kept back."""
        with self._lock:
            if self._grouping is not None and (text := self._grouping.end()):
                print_text(self._stream, text)

    def abandon(self) -> bytes:
        """Leave nothing: lines are printed at once."""
        return INTERRUPTED

    def _lines(self, event: Event) -> list[str]:
        match event:
            case VertexStarted(vertex, name):
                return [f"#{self._number(vertex)} {printable(name)}"]
            case VertexCompleted(vertex, name, seconds, cached, reason):
                rest = self._rest(vertex)
                if cached:
                    return [*rest, f"#{self._number(vertex)} {printable(name)}", f"#{self._number(vertex)} CACHED"]
                why = [f"#{self._number(vertex)} MISS: {printable(reason)}"] if reason else []
                return [*rest, f"#{self._number(vertex)} DONE {seconds:.1f}s", *why]
            case VertexFailed(vertex, name, seconds, _):
                head = [] if vertex in self._numbers else [f"#{self._number(vertex)} {printable(name)}"]
                return [*head, *self._rest(vertex, failed=True), f"#{self._number(vertex)} FAILED {seconds:.1f}s"]
            case Output(vertex, stream, data):
                return self._output(vertex, stream, data)
            case Transfer(direction, what, current, total, given_up):
                return [] if given_up else self._transfer(direction, what, current, total)
            case Notice() | Warned() | Failed():
                return message_lines(event)
            case Stopping():
                return ["stopping; asked again, it ends at once"]
            case BuildStarted() | BuildFinished() | WorkStarted() | WorkCompleted():
                return []
            case _:
                assert_never(event)

    def _number(self, vertex: str) -> int:
        return self._numbers.setdefault(vertex, len(self._numbers) + 1)

    def _output(self, vertex: str, stream: str, data: bytes) -> list[str]:
        from builder.cli.progress.steplog import Lines, Logs

        if self._logs is None:
            self._logs = Logs()
        self._logs.folder = self._folder
        step = self._steps.get(vertex)
        if step is None:
            step = self._steps[vertex] = self._logs.step()
        lines = self._partial.setdefault(vertex, {}).setdefault(stream, Lines())
        head = f"#{self._number(vertex)} | "
        return [head + line for line in lines.take(step.take(data))]

    def _rest(self, vertex: str, *, failed: bool = False) -> list[str]:
        partial = self._partial.pop(vertex, {})
        rests = [line for stream in sorted(partial, reverse=True) for line in partial[stream].end()]
        step = self._steps.pop(vertex, None)
        left_out = step.end() if step is not None else ""
        rests += step.last_hidden() if step is not None and failed else []
        said = [*(f"| {line}" for line in rests), *([f"({left_out})"] if left_out else [])]
        return [f"#{self._number(vertex)} {line}" for line in said]

    def _transfer(self, direction: str, what: str, current: int, total: int) -> list[str]:
        if current < total or not total or (direction, what) in self._transfers:
            return []
        self._transfers.add((direction, what))
        return [f"{direction}ed {printable(what)} ({total} bytes)"]

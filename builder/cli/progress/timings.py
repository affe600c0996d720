"""``--timings``: where the time went, as the trace events that Perfetto and chrome://tracing open.

One row for each thing that happened at a time: steps, lookups, transfers, the rest. Nothing in a row overlaps: the
format has no meaning for that, and Perfetto drops what does. Times are microseconds since the command began.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import assert_never

from builder.events import (
    BuildFinished,
    BuildStarted,
    Event,
    Reporter,
    Transfer,
    VertexCompleted,
    VertexFailed,
    VertexStarted,
    WorkCompleted,
    WorkStarted,
)
from builder.values import dataclass

_ROWS = {"build": 0, "steps": 1_000, "lookups": 2_000, "transfers": 1_000_000}
"""The number of the first row of each kind."""


@dataclass(slots=True)
class _Span:
    kind: str
    name: str
    row: int
    began: float
    details: dict[str, object]


class Timings:
    """Passes events on and notes when they came. Thread-safe."""

    def __init__(self, reporter: Reporter, clock: Callable[[], float] = time.monotonic) -> None:
        self._reporter = reporter
        self._clock = clock
        self._began = clock()
        self._lock = threading.Lock()
        self._open: dict[str, _Span] = {}
        self._trace: list[dict[str, object]] = []
        self._names: dict[int, str] = {}
        self._ends: dict[int, int] = {}
        """When the last thing in each row ended, in microseconds."""

    def emit(self, event: Event) -> None:
        """Take one event."""
        with self._lock:
            self._take(event, self._clock())
        self._reporter.emit(event)

    def text(self) -> str:
        """Return the trace of what has happened so far; what has not ended ends now."""
        with self._lock:
            for key in list(self._open):
                self._end(key, self._clock(), {"ended": False})
            rows = [
                {"name": "thread_name", "ph": "M", "pid": 1, "tid": row, "args": {"name": name}}
                for row, name in sorted(self._names.items())
            ]
            process = {"name": "process_name", "ph": "M", "pid": 1, "tid": 0, "args": {"name": "pybuild"}}
            trace = {"traceEvents": [process, *rows, *self._trace], "displayTimeUnit": "ms"}
            return json.dumps(trace, indent=1) + "\n"

    def _take(self, event: Event, now: float) -> None:
        match event:
            case VertexStarted() | VertexCompleted() | VertexFailed():
                self._step(event, now)
            case Transfer():
                self._transfer(event, now)
            case WorkStarted(name):
                self._begin(f"work {name}", "build", name, now, {})
            case WorkCompleted(name, _):
                self._end(f"work {name}", now, {})
            case BuildStarted(total):
                self._instant(f"{total} steps are known", now)
            case BuildFinished(digest, _):
                self._instant(f"finished {digest}", now)
            case _:
                pass

    def _step(self, event: VertexStarted | VertexCompleted | VertexFailed, now: float) -> None:
        match event:
            case VertexStarted(vertex, name, stage, lines, looked):
                if looked:
                    self._looked_up(name, now - looked, now, {"stage": stage})
                self._begin(f"step {vertex}", "steps", name, now, {"stage": stage, "lines": list(lines)})
            case VertexCompleted(vertex, name, seconds, cached):
                if cached:
                    self._looked_up(name, now - seconds, now, {"stage": event.stage, "cached": True})
                details = {"cached": cached, "reason": event.reason, "layer": event.layer, "size": event.size}
                self._end(f"step {vertex}", now, details)
            case VertexFailed(vertex, _, _, message):
                self._end(f"step {vertex}", now, {"failed": message})
            case _:
                assert_never(event)

    def _transfer(self, event: Transfer, now: float) -> None:
        key = f"{event.direction} {event.what}"
        if event.given_up:
            self._end(key, now, {"given up": True})
            return
        if key not in self._open:
            self._begin(key, "transfers", key, now, {})
        self._open[key].details = {"bytes": event.current, "total": event.total}
        if event.current >= event.total > 0:
            self._end(key, now, {})

    def _looked_up(self, name: str, began: float, now: float, details: dict[str, object]) -> None:
        self._add("lookups", f"look up {name}", self._row("lookups", began), began, now, details)

    def _begin(self, key: str, kind: str, name: str, now: float, details: dict[str, object]) -> None:
        # A build that begins anew starts steps again of which it did not say that they ended.
        self._end(key, now, {"ended": False})
        self._open[key] = _Span(kind, name, self._row(kind, now), now, details)

    def _row(self, kind: str, began: float) -> int:
        """Return the first row of a kind in which nothing is from ``began`` on."""
        taken = {span.row for span in self._open.values()}
        row, start = _ROWS[kind], self._micro(began)
        while row in taken or self._ends.get(row, 0) > start:
            row += 1
        return row

    def _micro(self, when: float) -> int:
        return max(0, round((when - self._began) * 1e6))

    def _end(self, key: str, now: float, details: dict[str, object]) -> None:
        span = self._open.pop(key, None)
        if span is not None:
            self._add(span.kind, span.name, span.row, span.began, now, {**span.details, **details})

    def _add(self, kind: str, name: str, row: int, began: float, now: float, details: dict[str, object]) -> None:
        self._names.setdefault(row, kind if row == _ROWS[kind] else f"{kind} {row - _ROWS[kind] + 1}")
        start, end = self._micro(began), self._micro(now)
        self._ends[row] = end
        self._trace.append(
            {
                "name": name,
                "cat": kind,
                "ph": "X",
                "ts": start,
                "dur": end - start,
                "pid": 1,
                "tid": row,
                "args": details,
            }
        )

    def _instant(self, name: str, now: float) -> None:
        when = self._micro(now)
        self._trace.append({"name": name, "cat": "build", "ph": "i", "s": "p", "ts": when, "pid": 1, "tid": 0})

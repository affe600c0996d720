"""What a live view knows: steps that run, bytes on their way, and what has ended since it was looked at last.

No terminal here and no threads: events go in, values come out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal, assert_never

from builder.cli.human import counted, human_size
from builder.cli.progress.steplog import Lines, Logs, StepLog
from builder.cli.reporters import message_lines, printable
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
from builder.values import dataclass, field

_TAIL = 12
"""Last lines of a step that are kept for being shown."""

_WINDOW = 5.0
"""Seconds over which a rate is measured."""

_STILL = 10.0
"""Seconds without news after which nothing is on its way, as a layer that was sent ahead and waits for the push."""

_SAMPLE = 0.25
_FEW = 3
"""So many cached steps in a row get a line each; more get one together."""

Mark = Literal["done", "cached", "failed", "wrote", "note", "warning", "output"]


@dataclass(frozen=True, slots=True)
class Line:
    """A line that stays: ``right`` stands at the right end, ``more`` behind the text where there is room."""

    mark: Mark
    text: str
    right: str = ""
    more: str = ""


@dataclass(slots=True)
class Step:
    """A step that runs."""

    name: str
    stage: str
    started: float
    log: StepLog | None = None
    streams: dict[str, Lines] = field(default_factory=dict)
    last: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL))

    def tail(self, number: int) -> list[str]:
        """Return its last lines, those that have not ended too."""
        partial = [lines.partial for lines in self.streams.values() if lines.partial]
        return [*self.last, *partial][-number:] if number > 0 else []


@dataclass(slots=True)
class Moving:
    """All blobs that go in one direction."""

    current: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    samples: deque[tuple[float, int]] = field(default_factory=deque)
    began: float | None = None
    until: float = 0.0

    @property
    def bytes(self) -> int:
        """Bytes that have arrived."""
        return sum(self.current.values())

    @property
    def total(self) -> int:
        """Bytes that are to arrive, 0 while that is not known."""
        return (
            0
            if not all(self.totals.values())
            else sum(max(total, self.current[what]) for what, total in self.totals.items())
        )

    @property
    def ended(self) -> int:
        """Blobs that have arrived."""
        return sum(self.current[what] >= total > 0 for what, total in self.totals.items())

    @property
    def complete(self) -> bool:
        """Whether nothing is on its way."""
        return self.ended == len(self.totals)

    def take(self, what: str, current: int, total: int, now: float) -> None:
        """Note where a blob is."""
        self.began = now if self.began is None else self.began
        self.until = now
        self.current[what], self.totals[what] = current, total
        if not self.samples or now - self.samples[-1][0] >= _SAMPLE:
            self.samples.append((now, self.bytes))
            while self.samples[0][0] < now - _WINDOW and len(self.samples) > 2:
                self.samples.popleft()

    def drop(self, what: str) -> None:
        """Forget a blob that does not come."""
        lost = self.current.pop(what, 0)
        self.totals.pop(what, None)
        self.samples = deque((when, max(0, before - lost)) for when, before in self.samples)

    def rate(self, now: float) -> float:
        """Return bytes a second, lately: nothing of one that waits."""
        if not self.samples or now - self.until > _STILL:
            return 0.0
        began, before = self.samples[0]
        return max(0, self.bytes - before) / (now - began) if now - began >= _SAMPLE else 0.0


class State:
    """Takes events. Not thread-safe."""

    def __init__(self, logs: Logs, clock: Callable[[], float]) -> None:
        self.logs = logs
        self.clock = clock
        self.started = clock()
        self.steps: dict[str, Step] = {}
        self.works: dict[str, float] = {}
        self.moving: dict[str, Moving] = {}
        self.total = 0
        self.done = 0
        self.cached = 0
        self.stages: dict[str, int] = {}
        self.stages_done: dict[str, int] = {}
        self.stopping = False
        self._ended: list[Line] = []
        self._cached: list[Line] = []

    @property
    def busy(self) -> bool:
        """Whether there is something to watch."""
        return bool(self.steps or self.works or any(not one.complete for one in self.moving.values()))

    def ended(self, *, all_of_it: bool = False) -> list[Line]:
        """Return the lines that stay since the last call; cached steps wait for what follows, or for ``all_of_it``."""
        if all_of_it:
            self._settle()
            self._ended += self._moved()
        lines, self._ended = self._ended, []
        return lines

    def take(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, VertexStarted | VertexCompleted | VertexFailed | Output):
            self._step(event)
            return
        match event:
            case BuildStarted(total, stages):
                self.total, self.done, self.cached = total, 0, 0
                self.stages, self.stages_done = dict(stages), {}
                self.steps.clear()
            case Transfer():
                self._transfer(event)
            case WorkStarted(name):
                self.works[printable(name)] = self.clock()
            case WorkCompleted(name, _):
                self.works.pop(printable(name), None)
            case Stopping():
                self.stopping = True
            case Notice() | Warned() | Failed():
                self._settle()
                mark: Mark = "note" if isinstance(event, Notice) else "warning"
                self._ended += [Line(mark, line) for line in message_lines(event)]
            case BuildFinished():
                pass
            case _:
                assert_never(event)

    def _step(self, event: VertexStarted | VertexCompleted | VertexFailed | Output) -> None:
        match event:
            case VertexStarted(vertex, name, stage):
                self.steps[vertex] = Step(printable(name), stage, self.clock())
            case Output(vertex, stream, data):
                self._output(vertex, stream, data)
            case VertexCompleted():
                self._completed(event)
            case VertexFailed():
                self._failed(event)
            case _:
                assert_never(event)

    def _transfer(self, event: Transfer) -> None:
        moving = self.moving.setdefault(event.direction, Moving())
        if event.given_up:
            moving.drop(event.what)
        else:
            moving.take(event.what, event.current, event.total, self.clock())

    def say(self, text: str) -> None:
        """Keep a line that somebody printed."""
        self._settle()
        self._ended.append(Line("note", printable(text)))

    def _output(self, vertex: str, stream: str, data: bytes) -> None:
        step = self.steps.get(vertex)
        if step is None:
            return
        if step.log is None:
            step.log = self.logs.step()
        lines = step.streams.setdefault(stream, Lines())
        step.last.extend(lines.take(step.log.take(data)))

    def _moved(self) -> list[Line]:
        """Return what has arrived altogether."""
        found = []
        for direction, moving in self.moving.items():
            if moving.ended and moving.began is not None:
                blobs = counted(moving.ended, "blob", "blobs")
                text = f"{direction}ed {blobs}, {human_size(moving.bytes)}"
                found.append(Line("done", text, f"{moving.until - moving.began:.1f}s"))
        self.moving.clear()
        return found

    def _count(self, stage: str) -> None:
        self.done += 1
        self.stages_done[stage] = self.stages_done.get(stage, 0) + 1

    def _completed(self, event: VertexCompleted) -> None:
        self._count(event.stage)
        step = self.steps.pop(event.vertex, None)
        left_out = step.log.end() if step is not None and step.log is not None else ""
        if event.cached:
            self.cached += 1
            self._cached.append(Line("cached", printable(event.name), "cached"))
            return
        self._settle()
        self._ended.append(Line("done", printable(event.name), f"{event.seconds:.1f}s", printable(event.reason)))
        if left_out:
            self._ended.append(Line("note", left_out))

    def _failed(self, event: VertexFailed) -> None:
        self._settle()
        step = self.steps.pop(event.vertex, None)
        name = printable(event.name)
        if self.stopping:
            return  # it did not fail
        if step is not None and step.log is not None:
            self._ended.append(Line("wrote", name, "wrote:"))
            left_out = step.log.end()
            text = step.log.text()
            whole = Lines()
            self._ended += [Line("output", f"| {line}") for line in (*whole.take(text), *whole.end())]
            if left_out:
                self._ended += [Line("note", "..."), *(Line("output", f"| {line}") for line in step.log.last())]
                self._ended.append(Line("note", left_out))
        self._ended.append(Line("failed", name, f"failed after {event.seconds:.1f}s"))

    def _settle(self) -> None:
        found, self._cached = self._cached, []
        if len(found) <= _FEW:
            self._ended += found
        elif found:
            text = f"{counted(len(found), 'step', 'steps')} up to {found[-1].text}"
            self._ended.append(Line("cached", text, "cached"))

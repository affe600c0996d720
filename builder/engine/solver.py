"""Run the graph: results looked up in this thread, what is missing executed on others, as parallel as inputs allow.

The first failure, and an interruption, cancel what runs; its threads are waited for, so that nothing is left behind.
"""

from __future__ import annotations

import heapq
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping

from builder.dockerfile.source import locate
from builder.engine.handlers import Result, Task
from builder.engine.layers import LostLayersError, SharedCacheError, StoreLayer
from builder.engine.services import Services
from builder.errors import BuilderError, InterruptedBuildError, SandboxError
from builder.events import BuildStarted, VertexCompleted, VertexFailed, VertexStarted
from builder.plan.graph import RunCommand, Vertex, VertexID, image_below
from builder.rootfs.coding import USUAL
from builder.values import dataclass, field, replace

_TICK = 0.2
"""Seconds after which a waiting main thread looks for signals."""

_NOBODYS_MISTAKE = (SharedCacheError, LostLayersError)
"""After which it is all done again, without what was lost."""


@dataclass(slots=True)
class _Done:
    vertex: Vertex
    result: Result | None
    error: BaseException | None
    seconds: float
    reason: str


@dataclass(slots=True)
class Solver:
    """One run of a graph with up to ``jobs`` vertices executing at a time.

    Layers of ``exported`` vertices are written as the outputs want them, and sent ahead; others nobody sees, and they
    cost less.
    """

    vertices: Mapping[VertexID, Vertex]
    services: Services
    jobs: int
    exported: Collection[VertexID] = ()
    before: Callable[[], object] = lambda: None
    """Called before a result or a failure counts; what it raises ends the run instead."""
    meanwhile: Callable[[], object] = lambda: None
    """Called whenever something is executed, and while it is; what it raises ends the run."""
    results: dict[VertexID, Result] = field(default_factory=dict)
    _finished: queue.SimpleQueue[_Done] = field(default_factory=queue.SimpleQueue)
    _ready: list[tuple[int, VertexID]] = field(default_factory=list)
    """Vertices whose inputs are there, the first of the graph on top of the heap."""
    _missing: dict[VertexID, set[VertexID]] = field(default_factory=dict)
    _followers: dict[VertexID, list[tuple[int, VertexID]]] = field(default_factory=dict)
    _running: int = 0
    _sandbox_started: bool = False
    _failure: BaseException | None = None

    def solve(self) -> Mapping[VertexID, Result]:
        """Return every vertex's result. Raises the first failure, InterruptedBuildError when cancelled."""
        self.services.reporter.emit(BuildStarted(len(self.vertices), self._stages()))
        self._arrange()
        try:
            while self._ready or self._running:
                if self.services.cancel.is_set() and self._failure is None:
                    raise InterruptedBuildError("the build was interrupted")
                self._start_some()
                if self._running and self._failure is None:
                    self._collect()
                if self._failure is not None:
                    raise self._failure
            self.before()
        finally:
            self._drain()
        return self.results

    def _stages(self) -> tuple[tuple[str, int], ...]:
        counts: dict[str, int] = {}
        for vertex in self.vertices.values():
            counts[vertex.stage] = counts.get(vertex.stage, 0) + 1
        return tuple(counts.items())

    def _arrange(self) -> None:
        """Note who waits for whom, so that a result is not looked for in all of the graph."""
        for place in enumerate(self.vertices):
            missing = self._missing[place[1]] = set(self.vertices[place[1]].inputs) - self.results.keys()
            for one in missing:
                self._followers.setdefault(one, []).append(place)
            if not missing:
                self._ready.append(place)

    def _add(self, key: VertexID, result: Result) -> None:
        self.results[key] = result
        for place in self._followers.pop(key, ()):
            missing = self._missing[place[1]]
            missing.discard(key)
            if not missing:
                heapq.heappush(self._ready, place)

    def layers(self) -> Iterator[StoreLayer]:
        """Yield the layers of all results, most of them several times."""
        for result in self.results.values():
            yield from result.stack

    def settle(self) -> None:
        """Take results for this store's own that depended on what was only claimed when they were made."""
        for key, result in list(self.results.items()):
            self.results[key] = self.task(self.vertices[key]).settle(result)

    def _start_some(self) -> None:
        """Take every vertex whose inputs are there: hits are done at once, misses get a thread."""
        while self._ready and self._running < self.jobs:
            _, key = heapq.heappop(self._ready)
            vertex = self.vertices[key]
            task = self.task(vertex)
            started = time.monotonic()
            try:
                found = task.find()
            except BuilderError as error:
                self.before()
                self._fail(vertex, error, time.monotonic() - started)
                return
            if found is not None:
                self._add(key, found)
                self._emit_completed(vertex, time.monotonic() - started, cached=True)
                continue
            if not self._sandbox_started and self._leads_to_run(vertex):
                self._sandbox_started = True
                self.services.sandbox.start_early()
            self.meanwhile()
            try:
                looked = time.monotonic() - started
                threading.Thread(target=self._execute, args=(task, looked), name=vertex.name, daemon=True).start()
            except RuntimeError as error:
                raise SandboxError(f"no thread can be started for {vertex.name}: {error}") from error
            self._running += 1

    def _leads_to_run(self, vertex: Vertex) -> bool:
        """Say whether a RUN is executed now, or very likely later: a sandbox takes its time."""
        pending, seen = [vertex.id], {vertex.id}
        while pending:
            key = pending.pop()
            if isinstance(self.vertices[key].operation, RunCommand):
                return True
            following = {one for _, one in self._followers.get(key, ())} - seen
            seen |= following
            pending += following
        return False

    def task(self, vertex: Vertex) -> Task:
        """Return the work of a vertex whose inputs are complete."""
        parent = () if vertex.parent is None else self.results[vertex.parent].stack
        services = self.services
        if vertex.id not in self.exported and (services.coding != USUAL or services.ahead is not None):
            services = replace(services, coding=USUAL, ahead=None)
        sources = [self.results[one].stack for one in vertex.sources]
        return Task(vertex, parent, sources, services, image_below(vertex, self.vertices))

    def _execute(self, task: Task, looked: float) -> None:
        started, vertex = time.monotonic(), task.vertex
        result: Result | None = None
        error: BaseException | None = None
        try:
            self.services.reporter.emit(VertexStarted(vertex.id, vertex.name, vertex.stage, _lines(vertex), looked))
            result = task.execute()
        except BaseException as caught:  # noqa: BLE001  # carried to the main thread, whatever it is
            error = caught
        self._finished.put(_Done(vertex, result, error, time.monotonic() - started, task.reason))

    def _collect(self) -> None:
        try:
            done = self._finished.get(timeout=_TICK)
        except queue.Empty:
            self.meanwhile()
            return
        self._running -= 1
        if done.result is not None:
            self._add(done.vertex.id, done.result)
            self._emit_completed(done.vertex, done.seconds, cached=False, reason=done.reason)
        elif done.error is not None:
            self._fail(done.vertex, done.error, done.seconds)

    def _fail(self, vertex: Vertex, error: BaseException, seconds: float) -> None:
        if self._failure is None:
            self.meanwhile()
            if isinstance(error, _NOBODYS_MISTAKE) and not self.services.cancel.is_set():
                self._failure = error
                return
            if self.services.cancel.is_set():
                error = InterruptedBuildError("the build was interrupted")
            elif isinstance(error, BuilderError) and vertex.span is not None:
                locate(error, self.services.checks.dockerfile.source, vertex.span)
            self._failure = error
            self.services.reporter.emit(
                VertexFailed(vertex.id, vertex.name, seconds, str(error), vertex.stage, _lines(vertex))
            )

    def _emit_completed(self, vertex: Vertex, seconds: float, *, cached: bool, reason: str = "") -> None:
        result = self.results[vertex.id]
        added = result.stack[-1:] if result.added else () if vertex.inputs else result.stack
        self.services.reporter.emit(
            VertexCompleted(
                vertex=vertex.id,
                name=vertex.name,
                seconds=seconds,
                cached=cached,
                reason=reason,
                stage=vertex.stage,
                lines=_lines(vertex),
                layer=added[-1].descriptor.digest if result.added else "",
                size=sum(layer.descriptor.size for layer in added),
            )
        )

    def _drain(self) -> None:
        if self._running and not isinstance(self._failure, _NOBODYS_MISTAKE):
            self.services.cancel.set()
        while self._running:
            self._finished.get()
            self._running -= 1


def _lines(vertex: Vertex) -> tuple[int, int]:
    return (0, 0) if vertex.span is None else (vertex.span.start_line, vertex.span.end_line)

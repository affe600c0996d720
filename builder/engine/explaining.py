"""``pybuild explain``: which steps of a build would be found, and of those that would not, which part of them changed.

Plans and looks up as a build does, executes nothing and records no result. A step below one that is missing is
compared without what it is made on, which nobody knows yet.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Literal

from builder.cache.record import grouped, mark_of
from builder.dockerfile.source import Source, locate
from builder.engine import components
from builder.engine.build import Environment, prepare
from builder.engine.comparing import GONE, Change, base_of, named, nearest, place_of, telling
from builder.engine.handlers import Result, Task
from builder.engine.layers import SharedCacheError, stack_id
from builder.engine.request import BuildRequest
from builder.engine.services import Services
from builder.errors import BuilderError
from builder.plan.graph import CopyFiles, RunCommand, StageOrigin, Vertex, VertexID, image_below, merged
from builder.values import dataclass, replace

Cause = Literal["hit", "asked", "gone", "never", "changed", "parent"]
"""Why a step is found or not: it is there; it is to be executed anyway; its result was removed; nothing like it was
ever built; parts of it changed; only what it is made on changed."""

_CANDIDATES = 32

_SHOWN = 12
"""Changes of a step that people are shown."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would become of one step, which stands on that called ``below``.

    ``missing`` are steps it is made of that are not there themselves, ``changes`` are what differs from the nearest
    earlier step, without what follows from ``missing``.
    """

    vertex: Vertex
    cause: Cause
    below: str = ""
    changes: tuple[Change, ...] = ()
    missing: tuple[Vertex, ...] = ()


def explain(request: BuildRequest, env: Environment) -> tuple[Explanation, ...]:
    """Return an explanation of every step of a build, inputs before users. Raises what planning and looking raise."""
    env.store.begin()
    with contextlib.ExitStack() as closing:
        prepared = prepare(request, env, closing, int(time.time()))
        services = replace(prepared.services, recording=False)
        while True:
            looking = _Looking(merged(prepared.plans), services, services.checks.dockerfile.source)
            try:
                return tuple(looking.at(vertex) for vertex in looking.vertices.values())
            except SharedCacheError as error:
                if services.imports is None:
                    raise
                services.imports.drop(error)


class _Looking:
    def __init__(self, vertices: dict[VertexID, Vertex], services: Services, source: Source) -> None:
        self.vertices = vertices
        self._services = services
        self._source = source
        self._found: dict[VertexID, Result] = {}
        self._asked = services.imports is None
        self._marks = {mark_of(components.first_of(one.operation).items()) for one in vertices.values()}

    def at(self, vertex: Vertex) -> Explanation:
        """Look one vertex up; those before it have been looked at."""
        missing = tuple(self.vertices[one] for one in dict.fromkeys(vertex.inputs) if one not in self._found)
        try:
            if missing:
                return self._below_missing(vertex, missing)
            task = self._task(vertex)
            found = task.find()
            if found is not None:
                self._found[vertex.id] = found
                return Explanation(vertex, "hit")
            return self._missed(task)
        except BuilderError as error:
            if vertex.span is not None:
                locate(error, self._source, vertex.span)
            raise

    def _task(self, vertex: Vertex) -> Task:
        """Return a task that reads nothing of inputs nobody knows."""
        stacks = {one: self._found[one].stack if one in self._found else () for one in vertex.inputs}
        parent = () if vertex.parent is None else stacks[vertex.parent]
        return Task(
            vertex, parent, [stacks[one] for one in vertex.sources], self._services, image_below(vertex, self.vertices)
        )

    def _missed(self, task: Task) -> Explanation:
        vertex, store = task.vertex, self._services.store
        if task.fresh:
            return Explanation(vertex, "asked")
        identity = telling(task.identities())
        if store.records.has(identity.key) or store.selectors.find(identity.key) is not None:
            return Explanation(vertex, "gone")
        base = base_of(task.below, self._services)
        found = self._compare(vertex, grouped(identity.components()), base, ())
        below = "" if vertex.parent is None else self.vertices[vertex.parent].name
        return Explanation(vertex, "never" if found is None else "changed", below, found or ())

    def _below_missing(self, vertex: Vertex, missing: tuple[Vertex, ...]) -> Explanation:
        if self._services.no_cache or vertex.fresh:
            return Explanation(vertex, "asked", missing=missing)
        unknown = {one.id for one in missing}
        known, hidden = self._known_components(vertex, unknown)
        base = "" if vertex.parent in unknown else base_of(image_below(vertex, self.vertices), self._services)
        found = self._compare(vertex, known, base, hidden)
        if found is None:
            return Explanation(vertex, "never", missing=missing)
        return Explanation(vertex, "changed" if found else "parent", changes=found, missing=missing)

    def _known_components(self, vertex: Vertex, unknown: set[VertexID]) -> tuple[dict[str, str], tuple[str, ...]]:
        """Return the components that do not depend on ``unknown`` vertices, and how the others' names begin."""
        operation, times = vertex.operation, self._services.times
        hidden: tuple[str, ...] = (components.PARENT,) if vertex.parent in unknown else ()
        if isinstance(operation, CopyFiles) and not unknown.isdisjoint(vertex.sources):
            # No file of it is known.
            parent = () if hidden or vertex.parent is None else self._found[vertex.parent].stack
            found = components.of_copy(operation, stack_id(parent), times, (), None)
            return grouped(found), (*hidden, *components.FILES)
        if isinstance(operation, RunCommand):
            hidden += tuple(
                components.shown(mount)
                for mount in operation.mounts
                if isinstance(mount.origin, StageOrigin) and vertex.sources[mount.origin.source] in unknown
            )
        return grouped(telling(self._task(vertex).identities()).components()), hidden

    def _compare(
        self, vertex: Vertex, known: dict[str, str], base: str, hidden: tuple[str, ...]
    ) -> tuple[Change, ...] | None:
        if not self._asked and self._services.imports is not None:
            from builder.engine.abouts import receive

            self._asked = True
            receive(self._services.imports, self._services.store, self._services.reporter, self._services.project)
        place = place_of(vertex, self._services.project)
        records = self._services.store.records
        return nearest(records, place, known.items(), base, most=_CANDIDATES, unknown=hidden, taken=self._marks)


def _said(explanation: Explanation) -> str:
    """Return the explanation of a miss as one line, without the changes."""
    match explanation.cause:
        case "asked":
            return "it is to be executed whatever is there (--no-cache, --no-cache-filter)"
        case "gone":
            return GONE
        case "never":
            return "never built here"
        case "parent":
            return "what it is made of changed; nothing else"
        case _:
            return ""


def reasons(one: Explanation) -> Iterator[str]:
    """Yield why a step is not found, a line each; of many changes the first."""
    if text := _said(one):
        yield text
    yield from (named(change, one.below) for change in one.changes[:_SHOWN])
    if len(one.changes) > _SHOWN:
        yield f"and {len(one.changes) - _SHOWN} more"
    if one.missing:
        also = "also " if one.cause == "changed" else ""
        yield f"{also}made of what is missing: {'; '.join(each.name for each in one.missing)}"

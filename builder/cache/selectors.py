"""Selectors: a cache key that points to a result, one small immutable file per key (design, idea 3).

The first writer wins; whoever comes second takes over the winner's result, so that all builds go on from the same
layer. A result found under one key is recorded under the other by the engine. A selector says nothing about whether
the layer's bytes are still in the store: ``blobs`` and ``variants`` do.
"""

from __future__ import annotations

from collections.abc import Mapping

from builder.cache.keys import Key
from builder.cache.table import Table
from builder.errors import ImageError, OutputError
from builder.image.digest import DiffID, Digest
from builder.values import dataclass


@dataclass(frozen=True, slots=True)
class Selector:
    """The result of an operation: the layer it added, or None for none, and when it was made (unix seconds)."""

    diff_id: DiffID | None
    created: int


class Selectors:
    """All selectors of a store."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def find(self, key: Key) -> Selector | None:
        """Return what ``key`` points to; missing and damaged are both a miss, the latter with a warning."""
        name = _name(key)
        record = self._table.get(name)
        if record is None:
            return None
        selector = _parse(record)
        if selector is None:
            self._table.damaged(name, "not a selector")
        return selector

    def record(self, key: Key, selector: Selector) -> Selector:
        """Let ``key`` point to ``selector`` unless it points somewhere; return what it points to.

        A store that refuses is a warning: the build has its result, the next one makes it again.
        """
        record: Mapping[str, object] = {"diff_id": selector.diff_id, "created": selector.created}
        try:
            winner = self._table.add(_name(key), record, lambda other: _parse(other) is not None)
        except OutputError as error:
            self._table.warn(error.message)
            return selector
        return _parse(winner) or selector

    def forget(self, key: Key) -> None:
        """Remove a selector whose result turned out to be gone or wrong."""
        self._table.remove(_name(key))


def _name(key: Key) -> str:
    return f"{key[:2]}/{key}"


def _parse(record: Mapping[str, object]) -> Selector | None:
    match record:
        case {"diff_id": str() | None as diff_id, "created": int(created)} if not isinstance(created, bool):
            try:
                return Selector(None if diff_id is None else DiffID(Digest.parse(diff_id)), created)
            except ImageError:
                return None
        case _:
            return None

"""Records: the components a key was made of, kept for ``explain`` to compare; never consulted for a hit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from builder.cache.keys import Key
from builder.cache.table import Table
from builder.errors import OutputError


class Records:
    """The components behind the keys of a store, as JSON values."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def put(self, key: Key, components: Mapping[str, object]) -> None:
        """Keep what ``key`` was made of, as far as the store lets us: an explanation is worth no failed build."""
        try:
            self._table.put(f"{key[:2]}/{key}", components)
        except OutputError as error:
            self._table.warn(error.message)

    def get(self, key: Key) -> Mapping[str, object] | None:
        """Return the components of ``key`` if they are known."""
        return self._table.get(f"{key[:2]}/{key}")

    def keys(self) -> Iterator[Key]:
        """Yield the keys that have a record."""
        for name in self._table.names():
            yield Key(name.rpartition("/")[2])

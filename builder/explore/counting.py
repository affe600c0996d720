"""What the layers of an image cost: changes and bytes by layer, files that later layers hide, contents that come twice.

Sizes are those of contents, uncompressed. Hidden files are counted in full: they are in a layer and nobody sees them.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from builder.explore.changes import Change, Version, final
from builder.explore.reading import Stack
from builder.rootfs.entry import Kind
from builder.rootfs.tocformat import to_key
from builder.values import dataclass, field

WASTE_LIMIT = 500
"""Hidden files, and again groups of equal files, that are listed; all are counted."""

COPIES_LIMIT = 20
"""Names listed of one group of equal files."""


@dataclass(slots=True)
class LayerCount:
    """What one layer does. ``size`` is of all its files, ``hidden`` of those that later layers replace or remove."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    rewritten: int = 0
    size: int = 0
    hidden: int = 0


@dataclass(slots=True)
class Equal:
    """Files with equal contents of ``size`` bytes each; ``places`` are (layer, key) of some of them."""

    size: int
    count: int = 1
    places: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def wasted(self) -> int:
        """Bytes that all but one of them take."""
        return self.size * (self.count - 1)

    @property
    def paths(self) -> list[str]:
        """The paths of some of them."""
        return [key.replace(b"\0", b"/").decode("utf-8", "surrogateescape") for _, key in self.places]


@dataclass(frozen=True, slots=True)
class Hidden:
    """A file that later layers hide: how many bytes that costs, in which layers it was and which hid it last."""

    bytes: int
    path: str
    layers: tuple[int, ...]
    by: int
    removed: bool


class Counts:
    """Adds up the nodes of one image."""

    def __init__(self, stack: Stack) -> None:
        self.layers = tuple(LayerCount() for _ in stack.sizes)
        self.paths = self.files = self.size = self.hidden = self.hidden_files = 0
        """Paths and files there in the end, the bytes of those, the bytes and number of those that are hidden."""
        self._hidden: list[tuple[int, str, Hidden]] = []
        self._equal: dict[bytes, int | Equal] = {}
        self._stack = stack

    def add(self, path: str, versions: Sequence[Version]) -> None:
        """Count one path."""
        if not versions:
            return
        self._count(versions)
        self._hide(path, versions)
        last = final(versions)
        if last is None or last.entry is None:
            return
        self.paths += 1
        if last.entry.kind is Kind.FILE:
            self.files += 1
            self.size += last.entry.size
            if last.entry.size:
                self._same(last, path)

    @property
    def total(self) -> int:
        """Bytes of all files in all layers."""
        return self.size + self.hidden

    @property
    def efficiency(self) -> float:
        """The part of all bytes that is there in the end."""
        return self.size / self.total if self.total else 1.0

    def most_hidden(self) -> list[Hidden]:
        """Return the hidden files that cost most."""
        return [one for _, _, one in sorted(self._hidden, key=lambda found: (-found[0], found[1]))]

    def equal(self) -> list[Equal]:
        """Return groups of equal files, those that cost most first."""
        groups = (one for one in self._equal.values() if isinstance(one, Equal))
        return heapq.nsmallest(WASTE_LIMIT, groups, key=lambda one: (-one.wasted, one.places))

    @property
    def equal_bytes(self) -> int:
        """Bytes that copies of other files take."""
        return sum(one.wasted for one in self._equal.values() if isinstance(one, Equal))

    def _count(self, versions: Sequence[Version]) -> None:
        for one in versions:
            layer = self.layers[one.layer]
            match one.change:
                case Change.ADDED:
                    layer.added += 1
                case Change.REMOVED:
                    layer.removed += 1
                case Change.REWRITTEN:
                    layer.rewritten += 1
                case _:
                    layer.changed += 1
            layer.size += _size(one)

    def _hide(self, path: str, versions: Sequence[Version]) -> None:
        gone = [one for one in versions[:-1] if _size(one)]
        if not gone:
            return
        for one in gone:
            self.layers[one.layer].hidden += _size(one)
        cost = sum(_size(one) for one in gone)
        self.hidden += cost
        self.hidden_files += 1
        last = versions[-1]
        found = Hidden(cost, path, tuple(one.layer for one in gone), last.layer, last.entry is None)
        # The path decides between equals, so that the list does not depend on chance.
        item = (cost, path, found)
        if len(self._hidden) < WASTE_LIMIT:
            heapq.heappush(self._hidden, item)
        elif item[0] > self._hidden[0][0]:
            heapq.heapreplace(self._hidden, item)

    def _same(self, last: Version, path: str) -> None:
        """Remember a file's contents: of those seen once only where, not under which name."""
        entry = last.entry
        known = self._equal.get(last.digest)
        if entry is None:
            return
        if known is None:
            slot = self._stack.tables[last.layer].find(to_key(path))
            self._equal[last.digest] = last.layer << 32 | slot
            return
        if not isinstance(known, Equal):
            layer, slot = known >> 32, known & 0xFFFFFFFF
            known = Equal(entry.size, 1, [(layer, self._stack.tables[layer].key(slot))])
            self._equal[last.digest] = known
        known.count += 1
        if len(known.places) < COPIES_LIMIT:
            known.places.append((last.layer, to_key(path)))


def _size(version: Version) -> int:
    entry = version.entry
    return entry.size if entry is not None and entry.kind is Kind.FILE else 0

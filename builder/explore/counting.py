"""What the layers of an image cost: changes and bytes by layer, files that later layers hide, contents that come twice.

Sizes are those of contents, uncompressed. Hidden files are counted in full: they are in a layer and nobody sees them.
A file with several names is counted once, and is hidden when none of them shows it any more. What a layer itself writes
over is not met: only the last counts.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from builder.explore.changes import Change, Version, final
from builder.explore.reading import Stack
from builder.rootfs.entry import Kind, LayerFormatError
from builder.rootfs.tocformat import HARDLINK, to_key, to_path
from builder.rootfs.view import Located
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
        self._linked = _only_linked(stack)
        self._met: set[tuple[int, int]] = set()

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
        if last.entry.kind is Kind.FILE or (last.linked is not None and self._first(last.linked)):
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
        gone = [one for one in versions[:-1] if _size(one) and not self._still_shown(path, one)]
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

    def _still_shown(self, path: str, version: Version) -> bool:
        """Say whether a hard link shows the file that has lost this name."""
        if not self._linked:
            return False
        toc = self._stack.tables[version.layer]
        return (version.layer, toc.member(toc.find(to_key(path))).offset) in self._linked

    def _first(self, file: Located) -> bool:
        """Say whether a hard link is the first met of a file that only such links show."""
        place = (file.layer, file.offset)
        if place not in self._linked or place in self._met:
            return False
        self._met.add(place)
        if self._stack.own_name(file) is None:
            # What the layer itself put there is all that was met under that name.
            self.layers[file.layer].size += file.entry.size
        return True

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


def _only_linked(stack: Stack) -> frozenset[tuple[int, int]]:
    """Return layer and offset of the files that have lost the name they came with, and are there by a hard link."""
    found = set()
    for toc in stack.tables:
        for slot in range(toc.slots):
            if toc.kind(slot) != HARDLINK:
                continue
            try:
                file = stack.view.lookup(to_path(toc.key(slot)))
            except LayerFormatError:  # a link to nothing
                continue
            if file is not None and file.entry.kind is Kind.FILE and "\0" in file.group:
                found.add((file.layer, file.offset))
    return frozenset(found)

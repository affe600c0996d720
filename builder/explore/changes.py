"""Every path of a stack of layers, with what each layer did to it, read off the tables of contents in one pass.

Paths come sorted, parents before what is in them, so nothing is held but the directories above the current one. The
meaning is that of extracting the layers in order, as in rootfs/view.py, which tests compare with; here it is told layer
by layer: what a path was before, and what it is then.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import groupby
from operator import itemgetter

from builder.explore.reading import Stack
from builder.rootfs.entry import Entry, Kind, LayerFormatError
from builder.rootfs.tarreader import Member
from builder.rootfs.toc import Toc
from builder.rootfs.tocformat import DIRECTORY, GHOST, HARDLINK, IMPLIED, OPAQUE, WHITEOUT, to_path
from builder.rootfs.view import Located
from builder.values import dataclass, replace


class Change(IntEnum):
    """What a layer did to a path; the numbers are those in a page."""

    ADDED = 0
    CHANGED = 1
    """Other contents, another kind or another target."""
    METADATA = 2
    """Only mode, owner or extended attributes."""
    REMOVED = 3
    REWRITTEN = 4
    """Written again, with nothing but perhaps the time changed: it costs space and gives nothing."""


class Difference(IntEnum):
    """What became of a path from one image to another; the numbers are those in a page."""

    NONE = 0
    ADDED = 1
    CHANGED = 2
    METADATA = 3
    REMOVED = 4


@dataclass(frozen=True, slots=True)
class Version:
    """What a path is from a layer on. ``entry`` is None once it is removed; ``digest`` is that of a file's contents.

    A hard link's entry says what its file is, and its target is the name that the layer calls the file by.
    """

    layer: int
    change: Change
    entry: Entry | None
    digest: bytes = b""
    linked: Located | None = None
    """The file that a hard link means; None for all else, and for a link to nothing."""


@dataclass(frozen=True, slots=True)
class Node:
    """A path that some layer has, and its versions by layer. Those of a second image follow those of the first."""

    path: str
    depth: int
    """How many directories lie above; 0 for the root."""
    stacks: tuple[tuple[Version, ...], ...]
    """The versions in each image."""
    difference: Difference = Difference.NONE


class _Place:
    """A directory above the current path, and the layers of each image that hide what earlier ones have in it."""

    __slots__ = ("hides", "key")

    def __init__(self, key: bytes, hides: tuple[frozenset[int], ...]) -> None:
        self.key = key
        self.hides = hides


def walk(stacks: Sequence[Stack]) -> Iterator[Node]:
    """Yield every path that the layers of one image or two have, sorted, each directory before what is in it.

    Raises CacheError for a broken table, which are our own.
    """
    above: list[_Place] = []
    for key, slots in groupby(heapq.merge(*_keys(stacks)), key=itemgetter(0)):
        while above and not _inside(key, above[-1].key):
            above.pop()
        hidden = above[-1].hides if above else tuple(frozenset() for _ in stacks)
        found: list[tuple[Version, ...]] = []
        hides: list[frozenset[int]] = []
        own = [(image, layer, slot) for _, image, layer, slot in slots]
        name = to_path(key)
        for image, stack in enumerate(stacks):
            history = _History(name, stack, hidden[image])
            history.run({layer: slot for number, layer, slot in own if number == image})
            found.append(tuple(history.versions))
            hides.append(frozenset(history.hides))
        depth = len(above)
        above.append(_Place(key, tuple(hides)))
        if any(found):
            yield Node(name, depth, tuple(found), _difference(found) if len(found) > 1 else Difference.NONE)


def _inside(key: bytes, directory: bytes) -> bool:
    return not directory or key.startswith(directory + b"\0")


def _keys(stacks: Sequence[Stack]) -> Iterator[Iterator[tuple[bytes, int, int, int]]]:
    for image, stack in enumerate(stacks):
        for layer, toc in enumerate(stack.tables):
            yield _slots(toc, image, layer)


def _slots(toc: Toc, image: int, layer: int) -> Iterator[tuple[bytes, int, int, int]]:
    for slot in range(toc.slots):
        yield toc.key(slot), image, layer, slot


class _History:
    """One path through the layers of one image."""

    def __init__(self, path: str, stack: Stack, hidden: frozenset[int]) -> None:
        self._path = path
        self._stack = stack
        self._hidden = hidden
        self._now: Version | None = None
        self.versions: list[Version] = []
        self.hides = set(hidden)

    def run(self, slots: dict[int, int]) -> None:
        for layer in sorted({*slots, *self._hidden}) if self._hidden else sorted(slots):
            before = self._now
            if layer in self._hidden:
                self._now = None
            if layer in slots:
                self._apply(layer, self._stack.tables[layer], slots[layer])
            if self._now is None and before is not None:
                self.versions.append(Version(layer, Change.REMOVED, None))
            elif self._now is not None and self._now is not before:
                change = _change(before, self._now)
                now = self._now
                if change is not now.change:
                    self._now = now = Version(layer, change, now.entry, now.digest, now.linked)
                self.versions.append(now)

    def _apply(self, layer: int, toc: Toc, slot: int) -> None:
        kind, flags = toc.state(slot)
        if flags & WHITEOUT:
            self._now = None
        if flags & (WHITEOUT | OPAQUE):
            self.hides.add(layer)
        if kind == GHOST:
            return
        now = self._now.entry if self._now is not None else None
        if kind == IMPLIED:
            if now is None or now.kind is not Kind.DIRECTORY:
                self._now = Version(layer, Change.ADDED, Entry(path=self._path, kind=Kind.DIRECTORY, mode=0o755))
            return
        member = toc.member(slot, self._path)
        if kind != DIRECTORY:
            self.hides.add(layer)
        if kind == HARDLINK:
            self._now = self._link(layer, slot, member)
        else:
            self._now = Version(layer, Change.ADDED, member.entry, self._digest(layer, member))

    def _link(self, layer: int, slot: int, member: Member) -> Version:
        try:
            file = self._stack.view.linked(self._path, layer, slot)
        except LayerFormatError:  # to nothing: it is shown as it is
            return Version(layer, Change.ADDED, member.entry)
        entry = replace(file.entry, kind=Kind.HARDLINK, target=member.entry.target)
        return Version(layer, Change.ADDED, entry, self._digest(file.layer, file), file)

    def _digest(self, layer: int, file: Member | Located) -> bytes:
        there = file.entry.kind is Kind.FILE and file.entry.size
        return self._stack.contents[layer].at(file.offset) if there else b""


def _change(before: Version | None, after: Version) -> Change:
    if before is None or before.entry is None or after.entry is None:
        return Change.ADDED
    return _compare(before, after)


def _compare(before: Version, after: Version) -> Change:
    a, b = (one.entry if one.linked is None else one.linked.entry for one in (before, after))
    if a is None or b is None:
        return Change.CHANGED
    if (a.kind, a.size, a.target, a.major, a.minor) != (b.kind, b.size, b.target, b.major, b.minor):
        return Change.CHANGED
    if before.digest != after.digest:
        return Change.CHANGED
    if (a.mode, a.uid, a.gid, a.xattrs) != (b.mode, b.uid, b.gid, b.xattrs):
        return Change.METADATA
    return Change.REWRITTEN


_DIFFERENCES = {
    Change.CHANGED: Difference.CHANGED,
    Change.METADATA: Difference.METADATA,
    Change.REWRITTEN: Difference.NONE,
}


def final(versions: Sequence[Version]) -> Version | None:
    """Return what is there in the end, None for nothing."""
    return versions[-1] if versions and versions[-1].entry is not None else None


def _difference(found: Sequence[tuple[Version, ...]]) -> Difference:
    a, b = (final(one) for one in found)
    if a is None:
        return Difference.NONE if b is None else Difference.ADDED
    if b is None:
        return Difference.REMOVED
    return _DIFFERENCES[_compare(a, b)]

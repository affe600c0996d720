"""The tree that a stack of layers gives, read off their tables of contents without unpacking anything.

The meaning is that of extracting the layers in order (OCI image-spec layer.md, "Applying Changesets"; semantics.md
48-52, 60): whiteouts and opaque directories hide lower layers, a directory over a directory merges, anything else
replaces, directories that no entry makes are implied, and the parents of an entry follow lower symlinks. Nothing is
merged ahead of time: a directory knows which layers take part in it, as in overlayfs, and lookups search those.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from builder.rootfs.entry import Entry, Kind, LayerFormatError
from builder.rootfs.replay import resolve
from builder.rootfs.tarreader import Member
from builder.rootfs.toc import Toc
from builder.rootfs.tocformat import (
    DIRECTORY,
    GHOST,
    HARDLINK,
    IMPLIED,
    KIND_OF,
    LINK_MASK,
    LINK_PATH,
    LINK_RECORD,
    OPAQUE,
    SYMLINK,
    WHITEOUT,
    broken,
    to_key,
    to_path,
)
from builder.values import dataclass, replace

_MAX_CACHED = 1 << 16
_MAX_CHAIN = 64

_Stack = tuple[tuple[int, int], ...]
"""(layer, slot) of a directory in each layer that takes part in it, top first."""


@dataclass(frozen=True, slots=True)
class Located:
    """An entry of the merged tree. Where hard links are concerned, every name shows the file itself."""

    entry: Entry
    layer: int
    """Which layer of the stack holds the entry and its contents, -1 for an implied directory."""
    offset: int
    """Where the contents start in that layer's uncompressed tar."""
    group: str
    """Equal for the names of one file, and only for those. The path of the file's own entry if that still is the same
    file; otherwise a text with a NUL, which is no path."""


class _Found(NamedTuple):
    kind: int
    layer: int
    slot: int
    stack: _Stack


class View:
    """The merged tree of ``tocs``, bottom first. Paths are an entry's (entry.py); lookups follow no symlink.

    Not for several threads at once. Methods raise CacheError for a broken table of contents, LayerFormatError for a
    hard link to nothing.
    """

    def __init__(self, tocs: Sequence[Toc]) -> None:
        """Stack ``tocs``. Raises UnsafePathError for entries behind a loop of symlinks."""
        self._tocs: list[Toc] = []
        self._stacks: dict[str, _Stack] = {}
        self._lowers: dict[int, View] = {}
        self._restack()
        for toc in tocs:
            moved = self._tocs and (toc.irregular or any(self._is_symlink(path) for path in toc.anchors))
            self._tocs.append(toc.over(self) if moved else toc)
            self._restack()

    def lookup(self, path: str) -> Located | None:
        """Return what is at ``path``, None for nothing."""
        found = self._find(path)
        return None if found is None else self._located(path, found)

    def kind_of(self, path: str) -> tuple[Kind, str] | None:
        """Return kind and symlink target at ``path``; cheaper than ``lookup``. A hard link is what it links to."""
        found = self._find(path)
        if found is None:
            return None
        if found.kind == SYMLINK:
            return Kind.SYMLINK, self._tocs[found.layer].member(found.slot).entry.target
        if found.kind == HARDLINK:
            entry = self._located(path, found).entry
            return entry.kind, entry.target
        return (Kind.DIRECTORY if found.kind == IMPLIED else KIND_OF[found.kind]), ""

    def resolve(self, path: str) -> str:
        """Return ``path`` with symlinks followed inside the root; missing components stay as they are.

        Raises UnsafePathError after limits.MAX_LINKS links.
        """
        return resolve(path, self.kind_of)

    def children(self, path: str) -> Iterator[Located]:
        """Yield what is directly in the directory ``path``, sorted; nothing if there is no such directory."""
        for child, found in self._inside(self._stack(path)):
            yield self._located(child, found)

    def walk(self, path: str = "") -> Iterator[Located]:
        """Yield ``path`` and all under it, parents first, each directory sorted."""
        start = self._find(path)
        if start is None:
            return
        yield self._located(path, start)
        todo = [self._inside(start.stack)]
        while todo:
            following = next(todo[-1], None)
            if following is None:
                todo.pop()
                continue
            inner, found = following
            yield self._located(inner, found)
            if found.stack:
                todo.append(self._inside(found.stack))

    def small_file(self, path: str) -> bytes | None:
        """Return the contents of a file that tables of contents keep, found through symlinks.

        None says that they are not kept: ``lookup`` tells whether the file exists.
        """
        located = self.lookup(self.resolve(path))
        if located is None or located.layer < 0 or located.entry.kind is not Kind.FILE:
            return None
        return self._tocs[located.layer].small_at(located.offset)

    # Directories as stacks of slots.

    def _restack(self) -> None:
        self._stacks.clear()
        roots = ((layer, 0) for layer in reversed(range(len(self._tocs))))
        found = self._merge(roots)
        self._root = found if found is not None else _Found(IMPLIED, -1, -1, ())
        self._stacks[""] = self._root.stack

    def _merge(self, slots: Iterable[tuple[int, int]]) -> _Found | None:
        """Return what one path is, given its slots in the layers that take part in its parent, top first."""
        stack: list[tuple[int, int]] = []
        found: tuple[int, int, int] | None = None
        cut = False
        for layer, slot in slots:
            toc = self._tocs[layer]
            kind, flags = toc.kind(slot), toc.flags(slot)
            if kind in (DIRECTORY, IMPLIED):
                if found is None or (found[0] == IMPLIED and kind == DIRECTORY):
                    found = (kind, layer if kind == DIRECTORY else -1, slot)
            elif kind != GHOST:
                return _Found(kind, layer, slot, ()) if found is None else _Found(*found, tuple(stack))
            if not cut:
                stack.append((layer, slot))
            cut = cut or bool(flags & OPAQUE)
            if flags & WHITEOUT or (cut and found is not None and found[0] == DIRECTORY):
                break
        return None if found is None else _Found(*found, tuple(stack))

    def _find(self, path: str) -> _Found | None:
        if not path:
            return self._root
        return self._child(self._stack(path.rpartition("/")[0]), to_key(path))

    def _child(self, stack: _Stack, key: bytes) -> _Found | None:
        tocs = self._tocs
        slots = ((layer, tocs[layer].find(key, slot + 1, tocs[layer].end(slot))) for layer, slot in stack)
        return self._merge(pair for pair in slots if pair[1] >= 0)

    def _stack(self, path: str) -> _Stack:
        """Return the layers of the directory ``path``, none if it is no directory."""
        known = self._stacks.get(path)
        if known is not None:
            return known
        if len(self._stacks) > _MAX_CACHED:
            self._stacks = {"": self._root.stack}
        stack = self._root.stack
        at = 0
        while at >= 0:
            at = path.find("/", at + 1)
            prefix = path if at < 0 else path[:at]
            following = self._stacks.get(prefix)
            if following is None:
                found = self._child(stack, to_key(prefix)) if stack else None
                following = () if found is None else found.stack
                self._stacks[prefix] = following
            stack = following
        return stack

    def _inside(self, stack: _Stack) -> Iterator[tuple[str, _Found]]:
        """Yield the paths directly in a directory, and what each is."""
        slots: list[tuple[int, int]] = []
        current: bytes | None = None
        for key, _, layer, slot in heapq.merge(*(self._keys(rank, *pair) for rank, pair in enumerate(stack))):
            if key != current:
                yield from self._one(current, slots)
                current, slots = key, []
            slots.append((layer, slot))
        yield from self._one(current, slots)

    def _one(self, key: bytes | None, slots: list[tuple[int, int]]) -> Iterator[tuple[str, _Found]]:
        found = self._merge(slots) if key is not None else None
        if key is not None and found is not None:
            yield to_path(key), found

    def _keys(self, rank: int, layer: int, slot: int) -> Iterator[tuple[bytes, int, int, int]]:
        toc = self._tocs[layer]
        for child in toc.inside(slot):
            yield toc.key(child), rank, layer, child

    # Entries.

    def _is_symlink(self, path: str) -> bool:
        found = self._find(path)
        if found is None or found.kind not in (SYMLINK, HARDLINK):
            return False
        kind = self.kind_of(path)
        return kind is not None and kind[0] is Kind.SYMLINK

    def _located(self, path: str, found: _Found) -> Located:
        if found.layer < 0:
            return Located(Entry(path=path, kind=Kind.DIRECTORY, mode=0o755), -1, -1, path)
        if found.kind == HARDLINK:
            return self._linked(path, found.layer, found.slot)
        member = self._tocs[found.layer].member(found.slot)
        return Located(member.entry, found.layer, member.offset, path)

    def _linked(self, path: str, layer: int, slot: int) -> Located:
        """Follow a hard link to its file, as it was when the link was made."""
        toc = self._tocs[layer]
        for _ in range(_MAX_CHAIN):
            link = toc.link(slot)
            value = link & LINK_MASK
            if link >= LINK_PATH:
                return self._linked_below(path, layer, toc.link_path(value))
            if link >= LINK_RECORD:
                member = toc.record(value)
                return self._shared(path, member, layer, member.entry.path)
            slot = value
            if toc.kind(slot) != HARDLINK:
                return self._shared(path, toc.member(slot), layer, to_path(toc.key(slot)))
        raise broken("hard links in a circle")

    def _linked_below(self, path: str, layer: int, target: str) -> Located:
        below = self._below(layer).lookup(target)
        if below is None or below.entry.kind is Kind.DIRECTORY:
            raise LayerFormatError(f"{path!r} is a hard link to {target!r}, which is no file of the layers before it")
        name = below.group.partition("\0")[0]
        return self._shared(path, Member(below.entry, below.offset), below.layer, name)

    def _shared(self, path: str, member: Member, layer: int, name: str) -> Located:
        """Return a file under another name; ``name`` is that of its own entry."""
        own = self._find(name)
        same = own is not None and own.layer == layer and own.kind != HARDLINK
        if own is None or not same or self._tocs[layer].member(own.slot).offset != member.offset:
            name = f"{name}\0{layer}:{member.offset}"
        return Located(replace(member.entry, path=path), layer, member.offset, name)

    def _below(self, layer: int) -> View:
        """Return the view of the layers under ``layer``."""
        view = self._lowers.get(layer)
        if view is None:
            view = View(())
            view._tocs = self._tocs[:layer]
            view._restack()
            self._lowers[layer] = view
        return view

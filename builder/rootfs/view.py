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
_TRANSPARENT = frozenset((DIRECTORY, IMPLIED, GHOST))

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


_NOTHING = _Found(IMPLIED, -1, -1, ())
"""The root of a tree without an entry."""


class View:
    """The merged tree of ``tocs``, bottom first. Paths are an entry's (entry.py); lookups follow no symlink.

    Threads may share one: what they remember is the same for all. Methods raise CacheError for a broken table of
    contents, LayerFormatError for a hard link to nothing.
    """

    def __init__(self, tocs: Sequence[Toc], lower: View | None = None) -> None:
        """Stack ``tocs``, on what ``lower`` shows if it is given: of that nothing is looked at again.

        Raises UnsafePathError for entries behind a loop of symlinks.
        """
        self._given: tuple[Toc, ...] = tuple(tocs)
        self._tocs: list[Toc] = []
        self._root = self._below_root = _NOTHING
        self._known: dict[str, _Found | None] = {}
        self._inherited: dict[str, _Found | None] = {}
        self._last: tuple[str, _Found | None] = "", None
        self._lowers: dict[int, View] = {}
        if lower is not None:
            self._given = (*lower._given, *tocs)
            self._tocs, self._root, self._lowers = lower._tocs.copy(), lower._root, lower._lowers
            # It is rarely asked again, and a chain of views must not remember everything at each of its links.
            self._known, lower._known, lower._inherited = lower._known, {}, {}
        for toc in tocs:
            moved = self._tocs and (toc.irregular or any(self._is_symlink(path) for path in toc.anchors))
            self._push(toc.over(self) if moved else toc)

    @property
    def tables(self) -> tuple[Toc, ...]:
        """The tables of contents, bottom first, with all paths as they come out when they are extracted in order."""
        return tuple(self._tocs)

    def shows(self, tocs: Sequence[Toc]) -> bool:
        """Say whether this is the tree of just these tables."""
        return self._given == tuple(tocs)

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

    def linked(self, path: str, layer: int, slot: int) -> Located:
        """Return the file that a layer's hard link at ``path`` means, as it was when the link was made.

        Raises LayerFormatError for a link to nothing.
        """
        return self._linked(path, layer, slot)

    def small_file(self, path: str) -> bytes | None:
        """Return the contents of a file that tables of contents keep, found through symlinks.

        None says that they are not kept: ``lookup`` tells whether the file exists.
        """
        located = self.lookup(self.resolve(path))
        if located is None or located.layer < 0 or located.entry.kind is not Kind.FILE:
            return None
        return self._tocs[located.layer].small_at(located.offset)

    # Directories as stacks of slots.

    def _push(self, toc: Toc) -> None:
        """Put one more layer on top. What was known of the others counts where that layer says nothing else."""
        self._tocs.append(toc)
        self._inherited, self._known = self._known, {}
        self._last = "", None
        self._below_root = self._root
        self._root = self._over(self._root, len(self._tocs) - 1, 0) or _NOTHING

    def _over(self, below: _Found | None, layer: int, slot: int) -> _Found | None:
        """Return what one path is that is ``below`` without the layer, and has this slot there; as ``_merge`` does."""
        kind, flags = self._tocs[layer].state(slot)
        if kind not in _TRANSPARENT:
            return _Found(kind, layer, slot, ())
        if below is None or flags & WHITEOUT:
            below = None
        elif kind == GHOST and not below.stack and below.kind not in _TRANSPARENT:
            return below
        stack: _Stack = ((layer, slot),)
        if below is not None and not flags & OPAQUE:
            stack += below.stack
        if kind == DIRECTORY or below is None or below.kind not in _TRANSPARENT:
            return None if kind == GHOST else _Found(kind, layer if kind == DIRECTORY else -1, slot, stack)
        return _Found(below.kind, below.layer, below.slot, stack)

    def _merge(self, slots: Iterable[tuple[int, int]]) -> _Found | None:
        """Return what one path is, given its slots in the layers that take part in its parent, top first."""
        stack: list[tuple[int, int]] = []
        found: tuple[int, int, int] | None = None
        cut = False
        for layer, slot in slots:
            kind, flags = self._tocs[layer].state(slot)
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
        known, last = self._known, self._last
        if path in known:
            return known[path]
        if last[0] == path:
            return last[1]
        parent = path.rpartition("/")[0]
        found = self._search(path, parent, self._stack(parent))
        if found is not None and found.stack:
            self._keep(path, found)
        else:
            self._last = path, found
        return found

    def _stack(self, path: str) -> _Stack:
        """Return the layers of the directory ``path``, none if it is no directory."""
        if not path:
            return self._root.stack
        known = self._known
        if path in known:
            found = known[path]
            return () if found is None else found.stack
        stack, parent, at = self._root.stack, "", 0
        while at >= 0:
            at = path.find("/", at + 1)
            prefix = path if at < 0 else path[:at]
            if prefix in known:
                found = known[prefix]
            else:
                found = self._search(prefix, parent, stack)
                self._keep(prefix, found)
            stack, parent = () if found is None else found.stack, prefix
        return stack

    def _keep(self, path: str, found: _Found | None) -> None:
        if len(self._known) > _MAX_CACHED:
            self._known = {}
        self._known[path] = found

    def _search(self, path: str, parent: str, stack: _Stack) -> _Found | None:
        """Return what ``path`` is in the directory ``parent``, which has that stack."""
        if not stack:
            return None
        before = self._inherited
        key = to_key(path)
        if path in before:
            top, above = len(self._tocs) - 1, before.get(parent) if parent else self._below_root
            own = stack[0][0] == top
            if above is not None and (stack[1:] if own else stack) == above.stack:
                # The layer on top hides nothing of what the others have there.
                slot = self._tocs[top].find_in(stack[0][1], key) if own else -1
                return before[path] if slot < 0 else self._over(before[path], top, slot)
        return self._child(stack, key)

    def _child(self, stack: _Stack, key: bytes) -> _Found | None:
        tocs = self._tocs
        return self._merge((layer, at) for layer, slot in stack if (at := tocs[layer].find_in(slot, key)) >= 0)

    def _inside(self, stack: _Stack) -> Iterator[tuple[str, _Found]]:
        """Yield the paths directly in a directory, and what each is."""
        if len(stack) == 1:
            layer, slot = stack[0]
            for child, key in self._tocs[layer].listed(slot):
                if (alone := self._over(None, layer, child)) is not None:
                    yield to_path(key), alone
            return
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
        for child, key in self._tocs[layer].listed(slot):
            yield key, rank, layer, child

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
        member = self._tocs[found.layer].member(found.slot, path)
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
            for toc in self._tocs[:layer]:
                view._push(toc)
            self._lowers[layer] = view
        return view

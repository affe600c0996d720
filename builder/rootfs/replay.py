"""What a layer means when its order matters: its log is played into a tree, as an extractor in order would.

Needed for a layer with a path twice, with entries under something that is no directory, or with directories that a
lower layer has as symlinks (``var/run/x`` over ``var/run -> /run``). Later entries win; the parents of an entry follow
symlinks, never out of the root; a directory stays when a directory entry comes, everything else is replaced; whiteouts
hide only what is below the layer, and follow nothing (semantics.md 50, 60).
"""

from __future__ import annotations

from collections.abc import Callable

from builder.rootfs.entry import Kind
from builder.rootfs.rooted import resolve_links
from builder.rootfs.tocformat import (
    DELETION,
    DIRECTORY,
    GHOST,
    HARDLINK,
    IMPLIED,
    KIND_OF,
    LINK_RECORD,
    LINK_SLOT,
    OPAQUE,
    WHITEOUT,
    Log,
    Lower,
    Slots,
    to_key,
    to_path,
)

_OPAQUE_KIND = ord(Kind.OPAQUE)
_DIRECTORIES = (DIRECTORY, IMPLIED)


def resolve(path: str, look: Callable[[str], tuple[Kind, str] | None]) -> str:
    """Return ``path`` with its symlinks followed inside the root; ``look`` gives kind and target without following.

    ``..`` stops at the root; components that do not exist are kept as text. Raises UnsafePathError for a loop.
    """

    def read_link(candidate: str) -> str | None:
        found = look(candidate)
        return found[1] if found is not None and found[0] is Kind.SYMLINK else None

    return resolve_links(path, read_link)


def replay(log: Log, base: int, lower: Lower | None) -> Slots:
    """Return the index of ``log`` over ``lower``.

    Raises UnsafePathError for an entry behind a loop of symlinks, LayerFormatError beyond our limits.
    """
    player = _Player(log, lower)
    player.run()
    return player.index(base)


class _Node:
    """A path of the layer's own tree."""

    __slots__ = ("children", "file", "flags", "kind", "number")

    def __init__(self) -> None:
        self.kind = GHOST
        self.number = -1
        """The entry this path has, -1 for none."""
        self.file: int | str = -1
        """For a hard link: the entry that made the file, or the path a lower layer has it at."""
        self.flags = 0
        self.children: dict[str, _Node] = {}

    @property
    def is_dir(self) -> bool:
        return self.kind in _DIRECTORIES

    @property
    def is_other(self) -> bool:
        return self.kind != GHOST and not self.is_dir


class _Player:
    def __init__(self, log: Log, lower: Lower | None) -> None:
        self._log = log
        self._lower = lower
        self._root = _Node()
        self._root.kind = IMPLIED

    def run(self) -> None:
        """Play the log in order. A deletion hides what is below the layer, also if entries for its path came first."""
        for number, key in enumerate(self._log.keys):
            path, kind = to_path(key), self._log.kinds[number]
            if kind in DELETION:
                self._touch(path).flags |= OPAQUE if kind == _OPAQUE_KIND else WHITEOUT
            else:
                self._put(number, path, kind)

    def _touch(self, path: str) -> _Node:
        """Return the node at ``path`` as written, made where it is missing, following nothing."""
        node = self._root
        for part in path.split("/") if path else ():
            node = node.children.setdefault(part, _Node())
        return node

    def look(self, path: str) -> tuple[Kind, str] | None:
        """Return what is at ``path`` now, in this layer or below it."""
        node: _Node | None = self._root
        visible = self._lower is not None and not self._root.flags & OPAQUE
        parts = path.split("/") if path else []
        for at, part in enumerate(parts):
            node = node.children.get(part) if node is not None else None
            if node is None:
                break
            visible = visible and not node.flags & WHITEOUT
            last = at == len(parts) - 1
            if node.is_other:
                return self._other(node) if last else None
            if last and node.is_dir:
                return Kind.DIRECTORY, ""
            if not last:
                visible = visible and not node.flags & OPAQUE
        return self._lower.kind_of(path) if visible and self._lower is not None else None

    def _other(self, node: _Node) -> tuple[Kind, str] | None:
        """Return what a node that is no directory is; a hard link is what it links to, perhaps a symlink."""
        number: int | str = node.file if node.kind == HARDLINK else node.number
        if isinstance(number, str):
            return self._lower.kind_of(number) if self._lower is not None else None
        return KIND_OF[self._log.kinds[number]], self._log.targets.get(number, "")

    def _put(self, number: int, path: str, kind: int) -> None:
        parent, _, name = path.rpartition("/")
        if not path:
            self._root.kind, self._root.number = DIRECTORY, number
            return
        file = self._file(number) if kind == HARDLINK else -1
        node = self._directory(resolve(parent, self.look)).children.setdefault(name, _Node())
        if node.is_other and kind == DIRECTORY:
            node.flags |= WHITEOUT  # what replaced the lower directory is gone, and so is that directory
        if kind != DIRECTORY:
            node.children = {}
        node.kind, node.number, node.file = kind, number, file

    def _directory(self, path: str) -> _Node:
        """Return the directory at ``path``, which has no symlinks left; it replaces what is none."""
        node = self._root
        for part in path.split("/") if path else ():
            node = node.children.setdefault(part, _Node())
            if node.is_dir:
                continue
            if node.is_other:
                node.flags |= WHITEOUT
            node.kind, node.number = IMPLIED, -1
        return node

    def _file(self, number: int) -> int | str:
        """Return which file a hard link gives another name to."""
        parent, slash, name = self._log.targets[number].rpartition("/")
        path = resolve(parent, self.look) + slash + name
        path = path.removeprefix("/")
        node = self._find(path)
        if node is None or not node.is_other:  # a directory is wrong, but only known to be when all layers are
            return path
        return node.file if node.kind == HARDLINK else node.number

    def _find(self, path: str) -> _Node | None:
        node: _Node | None = self._root
        for part in path.split("/"):
            if node is None or node.is_other:
                return None
            node = node.children.get(part)
        return node

    def index(self, base: int) -> Slots:
        """Return the tree as an index."""
        slots = Slots(base)
        slot_of: dict[int, int] = {}
        links: list[tuple[int, int | str]] = []
        todo: list[tuple[bytes, _Node, int]] = [(b"", self._root, -1)]
        while todo:
            key, node, done = todo.pop()
            if done >= 0:
                slots.ends[done] = len(slots.keys)
                continue
            record = self._log.records[node.number] if node.number >= 0 else 0
            in_record = record != 0 and self._log.keys[node.number] == key
            slot = slots.add(key, record, node.kind, node.flags, in_record=in_record)
            if node.number >= 0:
                slot_of[node.number] = slot
            if node.kind == HARDLINK:
                links.append((slot, node.file))
            if key and node.number < 0 and (node.children or node.flags & OPAQUE):
                slots.implied.append(key)
            todo.append((key, node, slot))
            names = sorted(((to_key(name), child) for name, child in node.children.items()), reverse=True)
            todo += ((key + b"\0" + name if key else name, child, -1) for name, child in names)
        for slot, file in links:
            slots.links[slot] = self._link(slots, slot_of, file)
        return slots

    def _link(self, slots: Slots, slot_of: dict[int, int], file: int | str) -> int:
        if isinstance(file, str):
            return slots.link_to_lower(to_key(file))
        return LINK_SLOT | slot_of[file] if file in slot_of else LINK_RECORD | self._log.records[file]

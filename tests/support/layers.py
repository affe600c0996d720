"""Layers from entries, and the obvious slow extractor that views are compared with."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from builder.rootfs.entry import Entry, Kind
from builder.rootfs.pack import Item, Packed, index_layer, pack
from builder.rootfs.toc import Toc


def layer(items: Iterable[Item]) -> tuple[bytes, Toc, Packed]:
    """Pack ``items``; check that indexing the blob gives the table of contents that packing gave."""
    blob, toc, again = io.BytesIO(), io.BytesIO(), io.BytesIO()
    packed = pack(items, blob, toc, threads=1)
    assert index_layer(io.BytesIO(blob.getvalue()), again, packed.digest) == packed.diff_id
    assert again.getvalue() == toc.getvalue()
    return blob.getvalue(), Toc(toc.getvalue()), packed


def made(kind: Kind, path: str, target: str = "", **fields: int) -> Entry:
    """Return an entry, in few words."""
    return Entry(path=path, kind=kind, target=target, **fields)


def toc_of(*entries: Entry) -> Toc:
    """Return the table of contents of a layer whose files hold their size in zeros."""
    return layer(Item(entry, bytes(entry.size) if entry.kind is Kind.FILE else None) for entry in entries)[1]


class NoExtractionError(Exception):
    """No extractor could do this."""


@dataclass(eq=False)
class Inode:
    kind: Kind
    mode: int = 0o755
    uid: int = 0
    mtime: int = 0
    target: str = ""
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    names: dict[str, Inode] = field(default_factory=dict)

    @property
    def is_dir(self) -> bool:
        return self.kind is Kind.DIRECTORY


class SlowExtractor:
    """Extracts layers one entry at a time into a tree of inodes."""

    def __init__(self) -> None:
        self.root = Inode(Kind.DIRECTORY)

    def apply(self, entries: Iterable[Entry]) -> None:
        """Extract a layer's entries in order; its whiteouts spare what the layer itself has brought."""
        before = _copy(self.root)
        brought: set[str] = set()
        for entry in entries:
            if entry.kind is Kind.WHITEOUT:
                parent, _, name = entry.path.rpartition("/")
                directory = _plain(self.root, parent)
                if directory is not None and name in directory.names:
                    self._prune(directory, name, entry.path, brought)
            elif entry.kind is Kind.OPAQUE:
                directory = _plain(self.root, entry.path)
                for name in list(directory.names) if directory is not None else ():
                    assert directory is not None
                    self._prune(directory, name, f"{entry.path}/{name}".strip("/"), brought)
            else:
                brought.add(self._extract(entry, before))

    def _prune(self, directory: Inode, name: str, path: str, brought: set[str]) -> None:
        """Delete what is at ``path`` except what was brought, and directories above that, which become implied."""
        inode = directory.names[name]
        if not any(one == path or one.startswith(path + "/") for one in brought):
            del directory.names[name]
            return
        for inner in list(inode.names):
            self._prune(inode, inner, f"{path}/{inner}", brought)
        if path not in brought:
            fresh = directory.names[name] = Inode(Kind.DIRECTORY)
            fresh.names = inode.names

    def _extract(self, entry: Entry, before: Inode) -> str:
        """Extract one entry; return the path it ends up at."""
        new = Inode(entry.kind, entry.mode, entry.uid, entry.mtime, entry.target, entry.xattrs)
        if not entry.path:
            new.names = self.root.names
            self.root = new
            return ""
        parent, _, name = entry.path.rpartition("/")
        if entry.kind is Kind.HARDLINK:
            new = self._linked(entry.target, before)
        directory = self.root
        above = self.resolve(parent)
        for part in above.split("/"):
            if not part:
                continue
            inner = directory.names.get(part)
            if inner is None or not inner.is_dir:
                inner = directory.names[part] = Inode(Kind.DIRECTORY)
            directory = inner
        old = directory.names.get(name)
        if old is not None and old.is_dir and new.is_dir:
            new.names = old.names
        directory.names[name] = new
        return f"{above}/{name}".strip("/")

    def _linked(self, target: str, before: Inode) -> Inode:
        parent, _, name = target.rpartition("/")
        path = f"{self.resolve(parent)}/{name}".strip("/")
        found = _plain(self.root, path) or _plain(before, path)
        if found is None or found.is_dir:
            raise NoExtractionError(target)
        return found

    def resolve(self, path: str) -> str:
        """Follow symlinks inside the root."""
        todo = [part for part in path.split("/") if part]
        done: list[str] = []
        links = 0
        while todo:
            part = todo.pop(0)
            if part in (".", ""):
                continue
            if part == "..":
                done = done[:-1]
                continue
            found = _plain(self.root, "/".join([*done, part]))
            if found is None or found.kind is not Kind.SYMLINK:
                done.append(part)
                continue
            links += 1
            if links > 255:
                raise NoExtractionError(path)
            if found.target.startswith("/"):
                done = []
            todo = found.target.split("/") + todo
        return "/".join(done)

    def tree(self) -> dict[str, Inode]:
        """Return every path with its inode."""
        found = {"": self.root}
        todo = [("", self.root)]
        while todo:
            path, inode = todo.pop()
            for name, inner in inode.names.items():
                found[f"{path}/{name}".strip("/")] = inner
                todo.append((f"{path}/{name}".strip("/"), inner))
        return found


def _plain(root: Inode, path: str) -> Inode | None:
    inode = root
    for part in path.split("/") if path else ():
        if not inode.is_dir or part not in inode.names:
            return None
        inode = inode.names[part]
    return inode


def _copy(inode: Inode) -> Inode:
    """Copy the directories; everything else stays the same inode."""
    if not inode.is_dir:
        return inode
    copied = Inode(inode.kind, inode.mode, inode.uid, inode.mtime)
    copied.names = {name: _copy(inner) for name, inner in inode.names.items()}
    return copied

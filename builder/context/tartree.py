"""A tar from outside as a tree, without ever unpacking it: contexts on stdin or from a URL.

The tar is read once, as ``tar -x`` would take it: later entries replace earlier ones, parents that are symlinks are
followed inside the root. Contents go into one unnamed temporary file, everything else stays in memory, so nothing in
the archive can reach the host's file system, and devices, odd modes and owners need no rights.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from builder.errors import ContextError, ImageError, room_hint
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.rooted import resolve_links, split
from builder.rootfs.tarreader import read_members
from builder.rootfs.whiteout import belongs_in_layer
from builder.streams import CHUNK, Readable, Window
from builder.values import replace

LARGEST_CONTEXT = 64 << 30
"""Bytes of contents, holes of sparse files included, that one archive may hold."""


class _Node:
    """An inode: hard links are several names for one of them."""

    __slots__ = ("children", "entry", "names", "offset")

    def __init__(self, entry: Entry, offset: int = 0) -> None:
        self.entry = entry
        self.offset = offset
        self.names = 1
        self.children: dict[str, _Node] | None = {} if entry.is_dir else None


class TarTree:
    """The files of an uncompressed tar, with the owners and attributes a directory of the user's has in a context.

    Close it, or use it as a context manager.
    Raises ContextError for what is no tar, breaks off or goes beyond the limits of ``rootfs.limits``.
    """

    def __init__(self, stream: Readable, scratch: Path, *, label: str = "the build context") -> None:
        self.label = label
        self._root = _Node(Entry(path="", kind=Kind.DIRECTORY))
        self._fd = _unnamed_file(scratch)
        self._size = 0
        try:
            for member, contents in read_members(stream, whiteouts=False):
                self._add(member.entry, contents)
        except ImageError as error:
            self.close()
            broken = "write the tar again; tar tvf shows what it holds, and where it breaks"
            raise ContextError(f"{label}: {error.message}", hint=error.hint or broken) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> TarTree:
        """Return the tree itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Give the temporary file back; files opened before stay readable."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def lstat(self, path: str) -> Entry | None:
        """Return the entry at ``path``; None if there is none."""
        node = self._find(path)
        return None if node is None else _named(node, path)

    def children(self, path: str) -> Sequence[Entry]:
        """Return the entries directly in ``path`` by name."""
        node = self._find(path)
        if node is None or node.children is None:
            return ()
        prefix = f"{path}/" if path else ""
        return [_named(node.children[name], prefix + name) for name in sorted(node.children)]

    def open(self, path: str) -> BinaryIO:
        """Open a regular file; raise ContextError if it is none."""
        node = self._find(path)
        if node is None or node.entry.kind is not Kind.FILE:
            raise ContextError(f"{path}: no such file in {self.label}")
        return io.BufferedReader(Window(os.dup(self._fd), node.offset, node.entry.size))

    def link_key(self, path: str) -> int | None:
        """Return what the names of one file share."""
        node = self._find(path)
        return id(node) if node is not None and node.names > 1 else None

    def _find(self, path: str) -> _Node | None:
        node: _Node | None = self._root
        for name in path.split("/") if path else ():
            node = node.children.get(name) if node is not None and node.children is not None else None
        return node

    def _read_link(self, path: str) -> str | None:
        node = self._find(path)
        return node.entry.target if node is not None and node.entry.kind is Kind.SYMLINK else None

    def _add(self, entry: Entry, contents: Readable) -> None:
        entry = replace(entry, uid=0, gid=0, xattrs={k: v for k, v in entry.xattrs.items() if belongs_in_layer(k)})
        if not entry.path:
            self._root.entry = entry
            return
        parent, name = split(entry.path)
        inside = self._directory(resolve_links(parent, self._read_link), entry.path)
        existing = inside.get(name)
        if entry.kind is Kind.HARDLINK:
            directory, last = split(entry.target)
            target = resolve_links(directory, self._read_link)
            node = self._find(f"{target}/{last}" if target else last)
            if node is None or node.children is not None:
                raise ContextError(f"{self.label}: {entry.path} is a hard link to {entry.target}, which is no file")
            if node is existing:
                return
            node.names += 1
        elif entry.is_dir and existing is not None and existing.children is not None:
            existing.entry = entry
            return
        else:
            node = _Node(entry, self._keep(contents, entry.path) if entry.kind is Kind.FILE else 0)
        if existing is not None:
            existing.names -= 1
        inside[name] = node

    def _directory(self, path: str, what: str) -> dict[str, _Node]:
        """Return the children of ``path``, made as tar makes parents that an archive does not mention."""
        inside = self._root.children
        done = ""
        for name in path.split("/") if path else ():
            done = f"{done}/{name}" if done else name
            assert inside is not None
            node = inside.get(name)
            if node is None:
                node = inside[name] = _Node(Entry(path=done, kind=Kind.DIRECTORY))
            if node.children is None:
                raise ContextError(f"{self.label}: {what} lies below {done}, which is no directory")
            inside = node.children
        assert inside is not None
        return inside

    def _keep(self, contents: Readable, path: str) -> int:
        start = self._size
        while chunk := contents.read(CHUNK):
            if self._size + len(chunk) > LARGEST_CONTEXT:
                raise ContextError(f"{self.label} holds more than {LARGEST_CONTEXT >> 30} GiB")
            try:
                # Holes stay holes, so that a small archive of large sparse files stays small.
                if chunk.count(0) != len(chunk):
                    _write_at(self._fd, chunk, self._size)
                else:
                    os.ftruncate(self._fd, self._size + len(chunk))
            except OSError as error:
                raise ContextError(
                    f"cannot keep {path} of {self.label}: {error.strerror}", hint=room_hint(error)
                ) from error
            self._size += len(chunk)
        return start


def _named(node: _Node, path: str) -> Entry:
    return node.entry if node.entry.path == path else replace(node.entry, path=path)


def _write_at(fd: int, chunk: bytes, offset: int) -> None:
    view = memoryview(chunk)
    while view:
        count = os.pwrite(fd, view, offset)
        view = view[count:]
        offset += count


def _unnamed_file(scratch: Path) -> int:
    try:
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = scratch / f"context-{os.getpid()}-{os.urandom(6).hex()}"
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.unlink(name)
    except OSError as error:
        raise ContextError(f"cannot write to {scratch}: {error.strerror}", hint=room_hint(error)) from error
    return fd

"""What a COPY reads, as values: digests of contents, and records of entries for keys (cache-and-graph.md 5.2).

SHA-256 goes into keys; xxh3_128 only tells whether a file is still the one that was hashed, and stays on this machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import threading
import time
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import BinaryIO

import xxhash

from builder.context.directory import DirectoryTree
from builder.context.listing import Node, entry_of, identity, size_of
from builder.context.statcache import StatCache
from builder.context.tree import Tree
from builder.errors import ContextError
from builder.rootfs.entry import ContentChangedError, Entry, Kind
from builder.streams import CHUNK

Record = tuple[str, int, int, int, int, str, int, int, tuple[tuple[str, bytes], ...], bytes | None]
"""Kind, mode, uid, gid, size, target, major, minor, attributes by name, SHA-256 of the contents of a file."""


class ContentHasher:
    """Digests of a tree's files, each read at most once; of a directory on disk also across builds, in ``cache_path``.

    Whatever becomes of a file, the first that was known of it is what counts: what is packed must be that.
    Safe to use from several threads.
    """

    def __init__(self, tree: Tree, cache_path: Path | None = None) -> None:
        self._tree = tree
        self._known: dict[Hashable, bytes] = {}
        self.digests: dict[Hashable, bytes] = {}
        """What others make of these files."""
        self._lock = threading.Lock()
        self._learnt = False
        self._cache: StatCache | None = None
        if cache_path is not None and isinstance(tree, DirectoryTree):
            self._cache = StatCache.load(cache_path, tree.root)
            if self._cache is not None:
                tree.believe(self._cache.take)

    def digest(self, entry: Entry) -> tuple[bytes, bytes]:
        """Return SHA-256 and xxh3_128 of a regular file's contents; raise ContextError if it cannot be read."""
        if entry.kind is not Kind.FILE:
            raise ContextError(f"{entry.path} is no regular file")
        node = self._tree.file(entry.path) if isinstance(self._tree, DirectoryTree) else None
        both = node[2] if node is not None else b""
        if not both:
            both = self._known.get(entry.path if node is None else node[1]) or self._read(entry, node)
        return both[:32], both[32:48]

    def listed(self, directory: str, name: str, node: Node) -> bytes:
        """Return SHA-256 and xxh3_128, and maybe more, of a regular file as a directory on disk lists it."""
        if found := node[2] or self._known.get(node[1]):
            return found
        tree = self._tree
        if size_of(node) > CHUNK or not isinstance(tree, DirectoryTree):
            return b"".join(self.digest(entry_of(f"{directory}/{name}" if directory else name, node)))
        return self._take(tree, directory, name, node)[2]

    def known(self, node: Node) -> bytes:
        """Return what ``listed`` would of a file that need not be read, else nothing."""
        return node[2] or self._known.get(node[1], b"")

    def take(self, directory: str, name: str, node: Node) -> bytes:
        """Return the contents of a regular file as a directory on disk lists it, read once, and keep their digests.

        One byte more of a file that grew. Raises ContextError if it cannot be read, ContentChangedError if other
        contents are known of it.
        """
        assert isinstance(self._tree, DirectoryTree)
        data, both, first = self._take(self._tree, directory, name, node)
        if not first.startswith(both):
            raise ContentChangedError(f"{directory}/{name}" if directory else name, "other contents")
        return data

    def open(self, path: str) -> BinaryIO:
        """Open a regular file of a directory on disk; its digests are kept when its last byte has been read.

        Raises ContextError if that cannot be; reading raises ContentChangedError at the end if others are known.
        """
        tree = self._tree
        node = tree.file(path) if isinstance(tree, DirectoryTree) else None
        if node is None:
            return tree.open(path)
        started = time.time_ns()
        stream = tree.open(path)
        opened = identity(os.fstat(stream.fileno()))

        def done(both: bytes, size: int) -> None:
            settled = opened == node[1] and size == size_of(node)
            if not self._keep(*split(path), node, both, started=started, settled=settled).startswith(both):
                raise ContentChangedError(path, "other contents")

        return _Hashed(stream, done)

    def save(self) -> None:
        """Write what was learnt for the next build. Never raises: the next build then reads the files again."""
        with self._lock:
            if self._learnt and self._cache is not None and isinstance(self._tree, DirectoryTree):
                self._learnt = not self._cache.save(self._tree.records)

    def _read(self, entry: Entry, node: Node | None) -> bytes:
        started = time.time_ns()
        sha256, fast = hashlib.sha256(), xxhash.xxh3_128()
        try:
            with contextlib.closing(self._tree.open(entry.path)) as stream:
                # Of the descriptor, before its first byte is read: the name may lead elsewhere by now.
                opened = identity(os.fstat(stream.fileno())) if node is not None else None
                while chunk := stream.read(CHUNK):
                    sha256.update(chunk)
                    fast.update(chunk)
        except OSError as error:
            raise ContextError(f"cannot read {entry.path}: {error.strerror}") from error
        both = sha256.digest() + fast.digest()
        if node is None:
            return self._known.setdefault(entry.path, both)
        return self._keep(*split(entry.path), node, both, started=started, settled=opened == node[1])

    def _take(self, tree: DirectoryTree, directory: str, name: str, node: Node) -> tuple[bytes, bytes, bytes]:
        """Return the contents of a file, their digests, and what counts as known of it."""
        started, size = time.time_ns(), size_of(node)
        data, opened = tree.read(directory, name, size)
        both = hashlib.sha256(data).digest() + xxhash.xxh3_128_digest(data)
        # One that grew is counted somehow: nobody can pack it.
        settled = opened == node[1] and len(data) == size
        return data, both, self._keep(directory, name, node, both, started=started, settled=settled)

    def _keep(self, directory: str, name: str, node: Node, both: bytes, *, started: int, settled: bool) -> bytes:
        """Remember both digests unless something is known; return what is known then.

        For the next build too if the file is ``settled`` and has been for a while.
        """
        tree, special, record = self._tree, node[3], None
        assert isinstance(tree, DirectoryTree)
        if settled and self._cache is not None:
            record = self._cache.record(node[1], both, started=started, plain=special is None or not special.xattrs)
        with self._lock:
            first = self._known.get(node[1]) or tree.learn(directory, name, node, record)
            if not first or (special is not None and special.link is not None):
                # Other names of a file have nodes of their own.
                first = self._known.setdefault(node[1], first or both)
            self._learnt |= first is record
        return first


def split(path: str) -> tuple[str, str]:
    """Return the directory of a path and its name there."""
    directory, _, name = path.rpartition("/")
    return directory, name


class _Hashed(io.FileIO):
    """A file that is hashed as it is read. ``done`` hears of both digests, and of the count of bytes, at its end."""

    def __init__(self, stream: BinaryIO, done: Callable[[bytes, int], None]) -> None:
        super().__init__(stream.fileno(), "rb", closefd=False)
        self._stream = stream
        self._done = done
        self._sha256, self._fast, self._count = hashlib.sha256(), xxhash.xxh3_128(), 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to ``size`` bytes."""
        data = self._stream.read(-1 if size is None else size)
        if data:
            self._sha256.update(data)
            self._fast.update(data)
            self._count += len(data)
        elif size:
            self._done(self._sha256.digest() + self._fast.digest(), self._count)
        return data

    def close(self) -> None:
        """Close the file."""
        super().close()
        self._stream.close()


def record(entry: Entry, sha256: bytes | None) -> Record:
    """Return what identifies an entry wherever it lies and whenever it was made: neither its path nor its mtime."""
    xattrs = tuple(
        sorted(
            (name, value)
            for name, value in entry.xattrs.items()
            if name == "security.capability" or not name.startswith(("security.", "system."))
        )
    )
    size = entry.size if entry.kind is Kind.FILE else 0
    return (
        entry.kind.value,
        entry.mode,
        entry.uid,
        entry.gid,
        size,
        entry.target,
        entry.major,
        entry.minor,
        xattrs,
        sha256,
    )

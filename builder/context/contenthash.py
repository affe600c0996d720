"""What a COPY reads, as values: digests of contents, and records of entries for keys (cache-and-graph.md 5.2).

SHA-256 goes into keys; xxh3_128 only tells whether a file is still the one that was hashed, and stays on this machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Hashable
from pathlib import Path

import xxhash

from builder.context.directory import DirectoryTree
from builder.context.listing import identity
from builder.context.statcache import StatCache
from builder.context.tree import Tree
from builder.errors import ContextError
from builder.rootfs.entry import Entry, Kind
from builder.streams import CHUNK

Record = tuple[str, int, int, int, int, str, int, int, tuple[tuple[str, bytes], ...], bytes | None]
"""Kind, mode, uid, gid, size, target, major, minor, attributes by name, SHA-256 of the contents of a file."""


class ContentHasher:
    """Digests of a tree's files, each read at most once; of a directory on disk also across builds, in ``cache_path``.

    Safe to use from several threads.
    """

    def __init__(self, tree: Tree, cache_path: Path | None = None) -> None:
        self._tree = tree
        self._known: dict[Hashable, tuple[bytes, bytes]] = {}
        self._lock = threading.Lock()
        self._cache: StatCache | None = None
        if cache_path is not None and isinstance(tree, DirectoryTree):
            self._cache = StatCache.load(cache_path, tree.root)
            if self._cache is not None:
                tree.believe(self._cache.record)

    def digest(self, entry: Entry) -> tuple[bytes, bytes]:
        """Return SHA-256 and xxh3_128 of a regular file's contents; raise ContextError if it cannot be read."""
        if entry.kind is not Kind.FILE:
            raise ContextError(f"{entry.path} is no regular file")
        listed = self._tree.identity(entry.path) if isinstance(self._tree, DirectoryTree) else None
        if listed is not None and self._cache is not None:
            found = self._cache.get(listed)
            if found is not None:
                return found
        key: Hashable = listed if listed is not None else entry.path
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._read(entry, listed)
        return found

    def forget(self) -> None:
        """Read again what this build has read: for a second attempt, after the tree's ``refresh``."""
        self._known.clear()

    def save(self) -> None:
        """Write what was learnt for the next build. Never raises: the next build then reads the files again."""
        with self._lock:
            if self._cache is not None and isinstance(self._tree, DirectoryTree):
                self._cache.save(self._tree.identities())

    def _read(self, entry: Entry, listed: bytes | None) -> tuple[bytes, bytes]:
        started = time.time_ns()
        sha256, fast = hashlib.sha256(), xxhash.xxh3_128()
        try:
            with contextlib.closing(self._tree.open(entry.path)) as stream:
                # Of the descriptor, before its first byte is read: the name may lead elsewhere by now.
                opened = identity(os.fstat(stream.fileno())) if listed is not None else None
                while chunk := stream.read(CHUNK):
                    sha256.update(chunk)
                    fast.update(chunk)
        except OSError as error:
            raise ContextError(f"cannot read {entry.path}: {error.strerror}") from error
        digests = (sha256.digest(), fast.digest())
        if self._cache is not None and opened is not None and opened == listed:
            with self._lock:
                self._cache.put(opened, digests, started=started, plain=not entry.xattrs)
        return digests


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

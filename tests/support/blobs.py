"""A blob store in memory, as strict as the real one about digests."""

from __future__ import annotations

import io
import threading
from typing import BinaryIO

from builder.image.digest import Digest, DigestMismatchError


class MemoryBlobs:
    """Blobs in a dictionary; ``uncommitted`` counts writers that were neither committed nor given up."""

    def __init__(self) -> None:
        self.data: dict[Digest, bytes] = {}
        self.uncommitted = 0
        self.lock = threading.Lock()

    def open(self, digest: Digest) -> BinaryIO:
        if digest not in self.data:
            raise FileNotFoundError(digest)
        return io.BytesIO(self.data[digest])

    def contains(self, digest: Digest) -> bool:
        return digest in self.data

    def drop(self, digest: Digest) -> None:
        self.data.pop(digest, None)

    def writer(self) -> MemoryBlobWriter:
        return MemoryBlobWriter(self)


class MemoryBlobWriter:
    """Bytes on their way into a MemoryBlobs."""

    def __init__(self, store: MemoryBlobs) -> None:
        self._store = store
        self._parts = io.BytesIO()

    def write(self, data: bytes, /) -> int:
        return self._parts.write(data)

    def commit(self, expected: Digest | None = None) -> Digest:
        digest = Digest.of(self._parts.getvalue())
        if expected is not None and digest != expected:
            raise DigestMismatchError(f"the bytes have digest {digest}, expected {expected}")
        with self._store.lock:
            self._store.data[digest] = self._parts.getvalue()
        return digest

    def __enter__(self) -> MemoryBlobWriter:
        with self._store.lock:
            self._store.uncommitted += 1
        return self

    def __exit__(self, *exc: object) -> None:
        with self._store.lock:
            self._store.uncommitted -= 1

"""Writes compressed layers: every 1 MiB of input is a gzip member (or zstd frame) of its own.

So all cores can work on one stream, and any byte can be reached again through the member table. The bytes depend on
the library's version and nothing else: not on threads, not on how the input was cut into writes, not on the CPU
(libdeflate). Framing is ours: mtime 0, no name, XFL 0, OS 255 (reproducibility.md 5.3). Readers see RFC 1952 members
in sequence; for those that stop at the first there is gzip with a single one, by zlib. The numbers are those of the
compatibility level.
"""

from __future__ import annotations

import functools
import hashlib
import os
import zlib
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

from builder.levels import NEWEST
from builder.rootfs.coding import GZIP_LEVEL, SINGLE_LEVEL, ZSTD_LEVEL, Coding, Compression
from builder.streams import Writable

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

CHUNK = NEWEST.chunk
"""Input bytes of one member."""

LEVELS = {Compression.GZIP: range(10), Compression.ZSTD: range(23)}
"""The levels that can be asked for, as in BuildKit; zstd's 0 means its default."""

MemberTable = tuple[tuple[int, int], ...]
"""(compressed offset, uncompressed offset) of each member, ascending, the first (0, 0)."""

Compress = Callable[[bytes], bytes]

_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_LAST_BLOCK = b"\x03\0"
"""Deflate's shortest: final, with fixed codes, empty."""

_MAX_THREADS = 8
_AHEAD = 4
"""Chunks that are taken beyond those being compressed: some threads are quicker than others."""


def gzip_member(data: bytes, level: int = GZIP_LEVEL) -> bytes:
    """Return ``data`` as one complete gzip member."""
    import deflate

    body = deflate.deflate_compress(data, level)
    # Ten times as fast as zlib's.
    return b"".join((_HEADER, body, deflate.crc32(data).to_bytes(4, "little"), len(data).to_bytes(4, "little")))


def deflate_part(data: bytes, level: int = SINGLE_LEVEL) -> bytes:
    """Return ``data`` as deflate blocks that end at a byte and refer to nothing before them; others may follow."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)


def zstd_frame(data: bytes, level: int = ZSTD_LEVEL) -> bytes:
    """Return ``data`` as one complete zstd frame with its size and a checksum."""
    import zstandard

    return zstandard.ZstdCompressor(level=level, write_checksum=True).compress(data)


class ChunkWriter:
    """Compresses a stream into members of CHUNK bytes, on threads, in order; memory is bounded by their number.

    One more thread hashes what was taken and writes what came out, so that whoever writes only has to find the bytes.
    ``close`` must be called for the bytes to be complete, ``abort`` (or leaving a ``with`` block by an exception)
    ends the threads of one that failed. Not to be shared between threads itself. Errors of ``target``, which is
    written to from one thread at a time, come out of a later ``write`` or ``close``; nothing is written after one.
    """

    def __init__(self, target: Writable, compress: Compress, *, threads: int | None = None) -> None:
        self.size = 0
        """Bytes taken so far."""
        self._target = target
        self._compress = compress
        self._threads = threads or min(_MAX_THREADS, len(os.sched_getaffinity(0)))
        self._hash = hashlib.sha256()
        self._parts: list[bytes | memoryview] = []
        self._room = CHUNK
        self._pending: deque[Future[None]] = deque()
        self._pools: tuple[ThreadPoolExecutor, ThreadPoolExecutor] | None = None
        self._members: list[tuple[int, int]] = []
        self._taken = 0
        self._written = 0
        self._broken = False

    def write(self, data: bytes, /) -> int:
        """Take ``data``; may wait for the threads to catch up."""
        count = len(data)
        self.size += count
        if count < self._room:
            self._parts.append(data)
            self._room -= count
            return count
        view = memoryview(data)
        while len(view) >= self._room:
            # Nothing is copied where a whole chunk is given.
            whole = data if len(data) == CHUNK == self._room else b"".join((*self._parts, view[: self._room]))
            view = view[self._room :]
            self._parts.clear()
            self._room = CHUNK
            self._submit(whole)
        if view:
            self._parts.append(view)
            self._room -= len(view)
        return count

    def close(self) -> MemberTable:
        """Write all that is left and return where the members are. An empty stream is one empty member."""
        if self._parts or not self.size:
            rest = b"".join(self._parts)
            self._parts.clear()
            if self._pools is None:
                self._hash.update(rest)
                self._record(rest, self._compress(rest))
            else:
                self._submit(rest)
        while self._pending:
            self._pending.popleft().result()
        self.abort()
        return tuple(self._members)

    def hexdigest(self) -> str:
        """Return the SHA-256 of the bytes taken, after ``close``."""
        return self._hash.hexdigest()

    def abort(self) -> None:
        """End the threads; what was not written is lost. Harmless after ``close``."""
        self._broken = True
        if self._pools is not None:
            # The last of them waits for the others.
            for pool in self._pools:
                pool.shutdown(wait=True, cancel_futures=True)
            self._pools = None
        self._pending.clear()
        self._parts.clear()

    def __enter__(self) -> ChunkWriter:
        """Return itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """End the threads."""
        self.abort()

    def _submit(self, chunk: bytes) -> None:
        if self._pools is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pools = ThreadPoolExecutor(self._threads, "compress"), ThreadPoolExecutor(1, "write")
        compressors, writers = self._pools
        self._pending.append(writers.submit(self._finish, chunk, compressors.submit(self._compress, chunk)))
        while len(self._pending) > self._threads + _AHEAD:
            self._pending.popleft().result()

    def _finish(self, chunk: bytes, member: Future[bytes]) -> None:
        """Hash a chunk and write its member, on a thread of its own."""
        if self._broken:
            return
        try:
            self._hash.update(chunk)
            self._record(chunk, member.result())
        except BaseException:
            self._broken = True
            raise

    def _record(self, chunk: bytes, member: bytes) -> None:
        self._members.append((self._written, self._taken))
        self._taken += len(chunk)
        self._target.write(member)
        self._written += len(member)


class GzipWriter(ChunkWriter):
    """Our gzip: one libdeflate member per MiB."""

    def __init__(self, target: Writable, *, level: int = GZIP_LEVEL, threads: int | None = None) -> None:
        super().__init__(target, functools.partial(gzip_member, level=level), threads=threads)


class SingleGzipWriter(ChunkWriter):
    """Gzip with one member: still a part per chunk, on threads, but nothing says where they are."""

    def __init__(self, target: Writable, *, level: int = SINGLE_LEVEL, threads: int | None = None) -> None:
        super().__init__(target, functools.partial(deflate_part, level=level), threads=threads)
        self._checksum = 0

    def close(self) -> MemberTable:
        """Write all that is left; there is one member."""
        super().close()
        trailer = self._checksum.to_bytes(4, "little") + (self.size & 0xFFFFFFFF).to_bytes(4, "little")
        self._target.write(_LAST_BLOCK + trailer)
        return ((0, 0),)

    def _record(self, chunk: bytes, member: bytes) -> None:
        self._checksum = zlib.crc32(chunk, self._checksum)
        super()._record(chunk, member if self._written else _HEADER + member)


class ZstdWriter(ChunkWriter):
    """Our zstd: one frame per MiB."""

    def __init__(self, target: Writable, *, level: int = ZSTD_LEVEL, threads: int | None = None) -> None:
        super().__init__(target, functools.partial(zstd_frame, level=level), threads=threads)


class PlainWriter(ChunkWriter):
    """No compression."""

    def __init__(self, target: Writable) -> None:
        super().__init__(target, bytes)

    def write(self, data: bytes, /) -> int:
        """Pass ``data`` on."""
        self._hash.update(data)
        self._target.write(data)
        self.size += len(data)
        return len(data)

    def close(self) -> MemberTable:
        """Do nothing: there are no members."""
        return ()


def writer_of(coding: Coding, target: Writable, threads: int | None) -> ChunkWriter:
    """Return what writes ``target`` in the form ``coding``; the target stays the caller's."""
    match coding.compression:
        case Compression.GZIP if coding.single:
            return SingleGzipWriter(target, level=coding.effort, threads=threads)
        case Compression.GZIP:
            return GzipWriter(target, level=coding.effort, threads=threads)
        case Compression.ZSTD:
            return ZstdWriter(target, level=coding.effort, threads=threads)
        case Compression.NONE:
            return PlainWriter(target)
        case Compression.XZ | Compression.BZIP2:
            raise ValueError(f"layers are not written as {coding.compression}")
        case _:
            assert_never(coding.compression)


@functools.cache
def fingerprint_of(coding: Coding) -> str:
    """Return what ``Coding.fingerprint`` promises."""
    level = coding.effort
    match coding.compression:
        case Compression.GZIP if coding.single:
            packed = deflate_part(_vector(), level)
            return f"gzip-zlib-{zlib.ZLIB_RUNTIME_VERSION}-{level}-single-{_short(packed)}"
        case Compression.GZIP:
            import deflate

            name, packed = f"gzip-libdeflate-{deflate.__version__}", gzip_member(_vector(), level)
        case Compression.ZSTD:
            import zstandard

            library = ".".join(map(str, zstandard.ZSTD_VERSION))
            name, packed = f"zstd-libzstd-{library}", zstd_frame(_vector(), level)
        case Compression.NONE:
            return "none"
        case _:
            raise ValueError(f"layers are not written as {coding.compression}")
    return f"{name}-{level}-1MiB-{_short(packed)}"


def _short(packed: bytes) -> str:
    return hashlib.sha256(packed).hexdigest()[:16]


def _vector() -> bytes:
    """Return 64 KiB that hold noise, text-like repetition and zero runs, the same for ever."""
    noise = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(512))
    words = b" ".join(noise[i : i + 1 + noise[i] % 9].hex().encode() for i in range(0, 4096, 2))
    return (noise + words + bytes(8192) + words[::-1] + noise[:4096]).ljust(1 << 16, b"#")[: 1 << 16]

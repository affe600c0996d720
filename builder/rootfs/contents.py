"""Bytes of single files out of a layer blob, by the offsets a table of contents gives.

A blob of small members (ours, or any other made so) is read through the member table; an uncompressed one directly;
every other is inflated once, as a whole, into a file without a name, and checked against its DiffID on the way.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from builder.image.digest import Digest, DigestMismatchError
from builder.rootfs.coding import Compression
from builder.rootfs.compression import PREFIX, decompress, detect
from builder.rootfs.entry import LayerFormatError
from builder.rootfs.sparse import Spread
from builder.rootfs.tarreader import Member
from builder.rootfs.toc import Toc
from builder.streams import CHUNK, HashingWriter, Readable, Window, copy

_CACHED_MEMBERS = 4
_BUFFER = 1 << 16
_CUT = "a layer ends before the contents of a file do"


class LayerContents:
    """Reads files of one layer; for several threads at once. ``scratch`` is a directory for large temporary files.

    ``digest`` is the blob's; without it, the table of contents is taken to be about this very blob and no other form
    of the layer. Nothing is opened before the first ``open``. Close it when no stream it gave is in use any more.
    """

    def __init__(
        self, open_blob: Callable[[], BinaryIO], toc: Toc, scratch: Path, digest: Digest | None = None
    ) -> None:
        self._open_blob = open_blob
        self._digest = digest
        self._toc = toc
        self._scratch = scratch
        self._lock = threading.Lock()
        self._source: _Source | None = None

    def open(self, offset: int, size: int) -> BinaryIO:
        """Return the ``size`` bytes of the file whose contents start at ``offset`` of the layer, as a stream.

        Opening or reading raises LayerFormatError if the blob is damaged, DigestMismatchError if it is not the layer
        that the table of contents describes.
        """
        with self._lock:
            if self._source is None:
                self._source = self._prepare()
        sparse = self._toc.sparse_at(offset)
        if sparse is None and size <= _BUFFER:
            return io.BytesIO(_whole(self._source, offset, size))
        if sparse is None:
            return io.BufferedReader(_Slice(self._source, offset, size), _BUFFER)
        segments, logical = sparse
        packed = io.BufferedReader(_Slice(self._source, offset, sum(length for _, length in segments)), _BUFFER)
        return io.BufferedReader(_Spread(Spread(packed, segments, logical), packed), _BUFFER)

    def close(self) -> None:
        """Let go of the blob and of temporary files."""
        with self._lock:
            if self._source is not None:
                self._source.close()
                self._source = None

    def __enter__(self) -> LayerContents:
        """Return itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close it."""
        self.close()

    def _prepare(self) -> _Source:
        blob = self._open_blob()
        try:
            kind = detect(blob.read(PREFIX))
            blob.seek(0)
            members = self._toc.members(self._digest)
            if kind is Compression.NONE:
                return _Plain(blob)
            if members is not None and kind in (Compression.GZIP, Compression.ZSTD):
                return _Members(blob, members, self._toc.uncompressed_size, kind)
            with blob:
                return _Plain(self._inflate(blob, kind))
        except BaseException:
            blob.close()
            raise

    def _inflate(self, blob: BinaryIO, kind: Compression) -> BinaryIO:
        import tempfile  # slow to load, and rarely needed

        target = tempfile.TemporaryFile(dir=self._scratch, buffering=0)  # noqa: SIM115  # it outlives this call
        try:
            writer = HashingWriter(target)
            copy(decompress(blob, kind), writer)
            if writer.hexdigest() != self._toc.diff_id.hex:
                raise DigestMismatchError(
                    f"a layer's contents have DiffID sha256:{writer.hexdigest()}, expected {self._toc.diff_id}"
                )
        except BaseException:
            target.close()
            raise
        return target


class _Source:
    """Uncompressed bytes that can be read anywhere, from any thread."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes, empty only at the end."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of everything."""
        raise NotImplementedError


class _Plain(_Source):
    """A file of uncompressed bytes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._fd: int | None = None
        with contextlib.suppress(OSError, AttributeError):  # in-memory streams have no descriptor
            self._fd = stream.fileno()

    def read_at(self, offset: int, size: int) -> bytes:
        if self._fd is not None:
            try:
                return os.pread(self._fd, size, offset)
            except OSError as error:
                # Not to be taken for a failure of whoever asked for a file of the layer.
                name = getattr(self._stream, "name", "")
                where = name if isinstance(name, str) and name else "a temporary file with a layer"
                raise LayerFormatError(f"cannot read {where}: {error.strerror}") from error
        with self._lock:
            self._stream.seek(offset)
            return self._stream.read(size)

    def close(self) -> None:
        self._stream.close()


class _Members(_Source):
    """A blob of members; the last few that were needed are kept, as files follow each other."""

    def __init__(self, blob: BinaryIO, members: array[int], size: int, kind: Compression) -> None:
        self._blob = _Plain(blob)
        self._compressed = members[0::2]
        self._starts = members[1::2]
        self._size = size
        self._kind = kind
        self._lock = threading.Lock()
        self._cache: OrderedDict[int, bytes] = OrderedDict()

    def read_at(self, offset: int, size: int) -> bytes:
        if offset >= self._size:
            return b""
        number = bisect_right(self._starts, offset) - 1
        start = offset - self._starts[number]
        return self._member(number)[start : start + size]

    def close(self) -> None:
        self._blob.close()

    def _member(self, number: int) -> bytes:
        with self._lock:
            data = self._cache.get(number)
            if data is not None:
                self._cache.move_to_end(number)
                return data
        data = self._inflate(number)
        with self._lock:
            self._cache[number] = data
            while len(self._cache) > _CACHED_MEMBERS:
                self._cache.popitem(last=False)
        return data

    def _inflate(self, number: int) -> bytes:
        last = number + 1 == len(self._starts)
        size = (self._size if last else self._starts[number + 1]) - self._starts[number]
        end = None if last else self._compressed[number + 1]
        raw = _Slice(self._blob, self._compressed[number], None if end is None else end - self._compressed[number])
        # Several members may lie between two entries of the table, hence a whole reader.
        data = _exactly(decompress(io.BufferedReader(raw, _BUFFER), self._kind), size)
        if len(data) != size:
            raise LayerFormatError("a layer's blob is not the one its table of contents describes")
        return data


def _whole(source: _Source, offset: int, size: int) -> bytes:
    """Return the contents of a small file, which are rarely in two members."""
    data = source.read_at(offset, size) if size else b""
    while len(data) < size:
        more = source.read_at(offset + len(data), size - len(data))
        if not more:
            raise LayerFormatError(_CUT)
        data += more
    return data


def _exactly(stream: Readable, size: int) -> bytes:
    """Read ``size`` bytes, and one more if there is one."""
    data = b""
    while len(data) <= size and (more := stream.read(size + 1 - len(data))):
        data += more
    return data


def open_member(tar: Path, member: Member) -> BinaryIO:
    """Return the contents of a member of a tar that is a file of ours, holes filled in."""
    entry, segments = member.entry, member.segments
    size = entry.size if segments is None else sum(length for _, length in segments)
    packed = io.BufferedReader(Window(os.open(tar, os.O_RDONLY | os.O_CLOEXEC), member.offset, size), _BUFFER)
    if segments is None:
        return packed
    return io.BufferedReader(_Spread(Spread(packed, segments, entry.size), packed), _BUFFER)


class _Slice(io.RawIOBase):
    """A range of a source as a stream; one without a size ends with the source."""

    def __init__(self, source: _Source, offset: int, size: int | None) -> None:
        super().__init__()
        self._source = source
        self._offset = offset
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # typeshed's is wider
        want = min(len(buffer), CHUNK) if self._left is None else min(len(buffer), self._left, CHUNK)
        data = self._source.read_at(self._offset, want) if want else b""
        if self._left is not None:
            if want and not data:
                raise LayerFormatError(_CUT)
            self._left -= len(data)
        self._offset += len(data)
        buffer[: len(data)] = data
        return len(data)


class _Spread(io.RawIOBase):
    """A sparse file's logical contents as a raw stream."""

    def __init__(self, spread: Spread, packed: BinaryIO) -> None:
        super().__init__()
        self._spread = spread
        self._packed = packed

    def close(self) -> None:
        self._packed.close()
        super().close()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # typeshed's is wider
        data = self._spread.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

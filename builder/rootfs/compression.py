"""Reading what layers and archives are compressed with, as a stream: gzip, zstd, xz, bzip2 or nothing.

The forms are told apart by their first bytes, never by a name or a media type. Inflating stops at
limits.MAX_UNCOMPRESSED, and no step holds more than a few MiB (xz and zstd: their window). Writing is in chunked.py.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, assert_never

from builder.rootfs.coding import Compression
from builder.rootfs.entry import LayerFormatError
from builder.rootfs.limits import MAX_UNCOMPRESSED, MAX_WINDOW
from builder.rootfs.zstdframes import read_zstd
from builder.streams import Readable

PREFIX = 6
"""Bytes that ``detect`` wants to see."""

_FEED = 1 << 15
"""Compressed bytes given to an inflater at once; many tiny members in one piece would cost quadratic copying."""
_PIECE = 1 << 18
"""The most bytes an inflater gives back at once."""
_BUFFER = 1 << 18


_MAGIC = (
    (b"\x1f\x8b\x08", Compression.GZIP),
    (b"\x28\xb5\x2f\xfd", Compression.ZSTD),
    (b"\xfd7zXZ\0", Compression.XZ),
    (b"BZh", Compression.BZIP2),
)

MemberStart = Callable[[int, int], None]
"""Told (compressed offset, uncompressed offset) at the start of every gzip member or zstd frame."""


def detect(prefix: bytes) -> Compression:
    """Say how a stream that starts with ``prefix`` (PREFIX bytes, or all there is) is compressed."""
    for magic, kind in _MAGIC:
        if prefix.startswith(magic):
            return kind
    # A skippable frame may come first (zstd's format, "Skippable Frames").
    if len(prefix) >= 4 and prefix[1:4] == b"\x2a\x4d\x18" and prefix[0] & 0xF0 == 0x50:
        return Compression.ZSTD
    return Compression.NONE


def decompress(
    stream: Readable,
    kind: Compression | None = None,
    *,
    limit: int = MAX_UNCOMPRESSED,
    on_member: MemberStart | None = None,
) -> BinaryIO:
    """Return the uncompressed bytes of ``stream`` as a stream of their own; ``stream`` stays the caller's to close.

    Without ``kind``, looks at the first bytes. Reading raises LayerFormatError for damaged, truncated or endless data.
    """
    if kind is None:
        stream = _Prefixed(stream)
        kind = detect(stream.prefix)
    match kind:
        case Compression.GZIP:
            pieces = _gzip(stream, on_member)
        case Compression.ZSTD:
            pieces = read_zstd(stream, MAX_WINDOW, on_member)
        case Compression.XZ:
            pieces = _xz(stream)
        case Compression.BZIP2:
            pieces = _bzip2(stream)
        case Compression.NONE:
            pieces = iter(lambda: stream.read(_PIECE), b"")
        case _:
            assert_never(kind)
    return io.BufferedReader(_Pieces(pieces, limit), _BUFFER)


class _Prefixed:
    """A stream whose first bytes are known already."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.prefix = b""
        while len(self.prefix) < PREFIX and (more := stream.read(PREFIX - len(self.prefix))):
            self.prefix += more
        self._rest = self.prefix

    def read(self, size: int = -1, /) -> bytes:
        if self._rest and size:
            data = self._rest if size < 0 else self._rest[:size]
            self._rest = self._rest[len(data) :]
            return data
        return self._stream.read(size)


class _Pieces(io.RawIOBase):
    """Pieces of bytes as a raw stream that ends with an error when there are more than ``limit`` bytes."""

    def __init__(self, pieces: Iterator[bytes], limit: int) -> None:
        super().__init__()
        self._pieces = pieces
        self._piece = memoryview(b"")
        self._left = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # typeshed's is wider
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left -= len(piece)
            if self._left < 0:
                raise LayerFormatError("compressed data inflates to more than we accept from one stream")
            self._piece = memoryview(piece)
        size = min(len(buffer), len(self._piece))
        buffer[:size] = self._piece[:size]
        self._piece = self._piece[size:]
        return size


def inflater(window_bits: int) -> zlib._Decompress:
    """Return an object like ``zlib.decompressobj``: ISA-L's, about five times as fast, where there is one."""
    try:
        from isal import isal_zlib
    except ImportError:  # no wheel for this machine
        return zlib.decompressobj(window_bits)
    return isal_zlib.decompressobj(window_bits)  # type: ignore[return-value]  # same methods, another class


def inflate_errors() -> tuple[type[Exception], ...]:
    """Return what ``inflater``'s objects raise for damaged data."""
    try:
        from isal import isal_zlib
    except ImportError:
        return (zlib.error,)
    return (zlib.error, isal_zlib.error)  # type: ignore[return-value]  # a class, though its stub says instance


def _gzip(stream: Readable, on_member: MemberStart | None) -> Iterator[bytes]:
    errors = inflate_errors()
    consumed = produced = 0
    data = stream.read(_FEED)
    while data:
        if not data.strip(b"\0") and produced:  # zero padding after the last member, as gzip(1) allows
            consumed += len(data)
            data = stream.read(_FEED)
            continue
        if on_member is not None:
            on_member(consumed, produced)
        member = inflater(zlib.MAX_WBITS | 16)
        while not member.eof:
            data = data or stream.read(_FEED)
            if not data:
                raise LayerFormatError("gzip data ends too early")
            try:
                piece = member.decompress(data, _PIECE)
            except errors as error:
                raise LayerFormatError(f"damaged gzip data: {error}") from error
            rest = member.unused_data or member.unconsumed_tail  # the first is empty until the member ends
            consumed += len(data) - len(rest)
            data = rest
            produced += len(piece)
            if piece:
                yield piece
        data = data or stream.read(_FEED)


def _xz(stream: Readable) -> Iterator[bytes]:
    import lzma

    data = stream.read(_FEED)
    while data:
        decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_WINDOW)
        while not decoder.eof:
            if decoder.needs_input and not data and not (data := stream.read(_FEED)):
                raise LayerFormatError("xz data ends too early")
            try:
                piece = decoder.decompress(data, _PIECE)
            except lzma.LZMAError as error:
                raise LayerFormatError(f"damaged xz data: {error}") from error
            data = b""
            if piece:
                yield piece
        # Streams may follow each other, with zero padding in multiples of four bytes between them.
        data = decoder.unused_data.lstrip(b"\0")
        while not data and (more := stream.read(_FEED)):
            data = more.lstrip(b"\0")


def _bzip2(stream: Readable) -> Iterator[bytes]:
    import bz2

    data = stream.read(_FEED)
    while data:
        decoder = bz2.BZ2Decompressor()
        while not decoder.eof:
            if decoder.needs_input and not data and not (data := stream.read(_FEED)):
                raise LayerFormatError("bzip2 data ends too early")
            try:
                piece = decoder.decompress(data, _PIECE)
            except OSError as error:
                raise LayerFormatError(f"damaged bzip2 data: {error}") from error
            data = b""
            if piece:
                yield piece
        data = decoder.unused_data or stream.read(_FEED)

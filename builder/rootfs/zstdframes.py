"""Reads zstd as a stream with bounded memory and no silent truncation.

The frame format (RFC 8878, section 3.1) is walked here and given to the library block by block: a block inflates to
at most 128 KiB, so a few compressed bytes can never ask for gigabytes at once, and a missing block is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from builder.rootfs.entry import LayerFormatError
from builder.streams import CHUNK, Readable

if TYPE_CHECKING:
    import zstandard

_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"
_RLE, _RESERVED = 1, 3
_DICTIONARY_SIZES = (0, 1, 2, 4)


def read_zstd(stream: Readable, max_window: int, on_frame: Callable[[int, int], None] | None = None) -> Iterator[bytes]:
    """Yield what the frames of ``stream`` hold; skippable frames (zstd:chunked's table) are passed over.

    ``on_frame`` is told the compressed and the uncompressed offset of each frame. Raises LayerFormatError.
    """
    import zstandard

    library = zstandard.ZstdDecompressor(max_window_size=max_window)
    source = _Counted(stream)
    produced = 0
    while magic := source.start():
        if magic == _MAGIC:
            if on_frame is not None:
                on_frame(source.position - len(magic), produced)
            for piece in _frame(source, library.decompressobj(), magic):
                produced += len(piece)
                if piece:
                    yield piece
        elif magic[1:] == _SKIPPABLE and magic[0] & 0xF0 == 0x50:
            source.skip(int.from_bytes(source.exactly(4), "little"))
        else:
            raise LayerFormatError("zstd data is followed by something else")


def _frame(source: _Counted, decoder: zstandard.ZstdDecompressionObj, magic: bytes) -> Iterator[bytes]:
    descriptor = source.exactly(1)
    flags = descriptor[0]
    single = flags & 0x20
    size_bytes = (1 if single else 0, 2, 4, 8)[flags >> 6]
    rest = source.exactly((0 if single else 1) + _DICTIONARY_SIZES[flags & 3] + size_bytes)
    yield _feed(decoder, magic + descriptor + rest)
    last = False
    while not last:
        head = source.exactly(3)
        value = int.from_bytes(head, "little")
        last, kind, size = bool(value & 1), value >> 1 & 3, value >> 3
        if kind == _RESERVED or size > 1 << 17:
            raise LayerFormatError("damaged zstd data: a block that cannot be")
        yield _feed(decoder, head + source.exactly(1 if kind == _RLE else size))
    if flags & 4:
        yield _feed(decoder, source.exactly(4))
    if not decoder.eof:
        raise LayerFormatError("damaged zstd data: a frame does not end where it says")


def _feed(decoder: zstandard.ZstdDecompressionObj, data: bytes) -> bytes:
    import zstandard

    try:
        return decoder.decompress(data)
    except zstandard.ZstdError as error:
        raise LayerFormatError(f"damaged zstd data, or beyond our limits: {error}") from error


class _Counted:
    """The compressed stream and how far we are in it."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.position = 0

    def start(self) -> bytes:
        """Return the next frame's magic, empty at the end of the stream."""
        first = self._stream.read(4)
        self.position += len(first)
        return first + self.exactly(4 - len(first)) if first else b""

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._stream.read(size - len(data))
            if not more:
                raise LayerFormatError("zstd data ends too early")
            self.position += len(more)
            data += more
        return data

    def skip(self, size: int) -> None:
        while size > 0:
            size -= len(self.exactly(min(size, CHUNK)))

"""Sparse files in tars: where the data of one lies, and a reader that puts the holes back.

The old GNU format (type ``S``) and the three PAX ones (0.0, 0.1, 1.0) of GNU tar. Data lies packed, in order.
"""

from __future__ import annotations

from collections.abc import Callable

from builder.rootfs.entry import LayerFormatError
from builder.rootfs.limits import MAX_SPARSE_SEGMENTS
from builder.rootfs.tarheader import Header, Records, parse_decimal, sparse_number
from builder.streams import CHUNK, Readable

Segments = tuple[tuple[int, int], ...]
"""(position, length) of each run of data in the logical file, ascending, none empty."""

_BLOCK = 512
_LINE = 21


def pax_map(records: Records, exactly: Callable[[int], bytes]) -> tuple[Segments, int] | None:
    """Return the data runs and the logical size of a PAX sparse file, None for any other.

    A 1.0 map is the start of the contents; it is read with ``exactly``, in blocks. Raises LayerFormatError.
    """
    if records.get("GNU.sparse.major") == b"1":
        size = records.get("GNU.sparse.realsize", records.get("GNU.sparse.size", b""))
        return _checked(_lines(exactly), parse_decimal(size, "sparse size"))
    text = records.get("GNU.sparse.map")
    if text is None:
        return None
    size = records.get("GNU.sparse.size", records.get("GNU.sparse.realsize", b""))
    numbers = [parse_decimal(part, "sparse map") for part in text.split(b",")] if text else []
    return _checked(numbers, parse_decimal(size, "sparse size"))


def _lines(exactly: Callable[[int], bytes]) -> list[int]:
    """Read the decimal lines of a 1.0 map: their count, then offset and length of each."""
    numbers: list[int] = []
    rest = b""
    wanted = 1
    while len(numbers) < wanted:
        *lines, rest = (rest + exactly(_BLOCK)).split(b"\n")
        for line in lines:
            if len(numbers) < wanted:  # what follows the last number is padding
                numbers.append(parse_decimal(line, "sparse map"))
                wanted = 1 + 2 * numbers[0]
        if wanted > 1 + 2 * MAX_SPARSE_SEGMENTS:
            raise LayerFormatError(f"a sparse file has more than {MAX_SPARSE_SEGMENTS} segments")
        if len(numbers) < wanted and len(rest) > _LINE:
            raise LayerFormatError("a sparse file's map is malformed")
    return numbers[1:]


def old_map(header: Header, exactly: Callable[[int], bytes]) -> tuple[Segments, int]:
    """Return the data runs and the logical size of an old GNU sparse file; reads its extension blocks."""
    numbers: list[int] = []
    table, more = header.block[386:482], header.block[482]
    while True:
        for at in range(0, len(table), 24):
            if table[at] == 0 or table[at + 12] == 0:
                break
            numbers += (sparse_number(table[at : at + 12]), sparse_number(table[at + 12 : at + 24]))
        if not more:
            return _checked(numbers, sparse_number(header.block[483:495]))
        if len(numbers) > 2 * MAX_SPARSE_SEGMENTS:
            raise LayerFormatError(f"a sparse file has more than {MAX_SPARSE_SEGMENTS} segments")
        block = exactly(_BLOCK)
        table, more = block[:504], block[504]


def _checked(numbers: list[int], size: int) -> tuple[Segments, int]:
    if len(numbers) % 2 or len(numbers) > 2 * MAX_SPARSE_SEGMENTS:
        raise LayerFormatError("a sparse file's map is malformed or too long")
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    end = 0
    for position, length in pairs:
        if position < end or length < 0 or position + length > size:
            raise LayerFormatError("a sparse file's map has overlapping segments, or some beyond its size")
        end = position + length
    return tuple(pair for pair in pairs if pair[1]), size


class Spread:
    """Reads a sparse file as its logical contents: zeros between the runs of packed data."""

    def __init__(self, packed: Readable, segments: Segments, size: int) -> None:
        self.packed = packed
        """The runs of data without what lies between them; for those who do not ask for more."""
        self._segments = segments
        self._size = size
        self._position = 0
        self._next = 0

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes; without a size, all of the rest. Raises LayerFormatError if data is missing."""
        if size < 0:
            return b"".join(iter(lambda: self._some(CHUNK), b""))
        return self._some(size)

    def _some(self, size: int) -> bytes:
        size = min(size, CHUNK, self._size - self._position)
        if size <= 0:
            return b""
        start, length = self._segments[self._next] if self._next < len(self._segments) else (self._size, 0)
        if self._position < start:
            data = bytes(min(size, start - self._position))
        else:
            data = self.packed.read(min(size, start + length - self._position))
            if not data:
                raise LayerFormatError("a sparse file's data ends too early")
            if self._position + len(data) == start + length:
                self._next += 1
        self._position += len(data)
        return data

"""Where two tars with the same entries differ all the same: the first byte, and what of the tar it belongs to.

Names of users, the way long names are written, fractions of seconds, padding: none of it changes what is unpacked, all
of it changes the layer's digest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from builder.image.artifact import ContentLayer
from builder.rootfs.compression import decompress
from builder.rootfs.tarreader import read_members
from builder.rootfs.tarwriter import BLOCK
from builder.streams import CHUNK, Readable
from builder.values import dataclass

_FIELDS = (
    (0, 100, "name"),
    (100, 8, "mode"),
    (108, 8, "uid"),
    (116, 8, "gid"),
    (124, 12, "size"),
    (136, 12, "mtime"),
    (156, 1, "type"),
    (157, 100, "link name"),
    (257, 8, "magic"),
    (265, 32, "user name"),
    (297, 32, "group name"),
    (329, 8, "device major"),
    (337, 8, "device minor"),
    (345, 155, "prefix"),
    (500, 12, "padding"),
)
"""A ustar header: offset, length, name (POSIX pax, "ustar Interchange Format"); not the checksum, which follows."""

_AROUND = 20


@dataclass(frozen=True, slots=True)
class EntryDifference:
    """A difference at ``path``, None for one of the layer as a whole; ``position`` is the entry's number from 0."""

    position: int
    path: str | None
    field: str
    a: str | None
    b: str | None


def byte_difference(a: ContentLayer, b: ContentLayer) -> Iterator[EntryDifference]:
    """Yield the first difference between two tars' bytes, if there is one. Raises what reading them raises."""
    found = _first(a, b)
    if found is None:
        return
    offset, left, right = found
    with a.open() as stream:
        place = _place(decompress(stream), offset)
    if place is None:
        yield EntryDifference(0, None, "the tar after its last entry", _text(left), _text(right))
        return
    position, path, header = place
    if header <= offset < header + BLOCK:
        for start, size, name in _FIELDS:
            one, other = left[start : start + size], right[start : start + size]
            if one != other:
                yield EntryDifference(position, path, f"tar header's {name}", _text(one), _text(other))
                return
    at = max(0, offset % BLOCK - _AROUND)
    yield EntryDifference(
        position,
        path,
        "extended tar header" if offset < header else "padding",
        _text(left[at : at + 3 * _AROUND]),
        _text(right[at : at + 3 * _AROUND]),
    )


def _first(a: ContentLayer, b: ContentLayer) -> tuple[int, bytes, bytes] | None:
    """Return the first offset at which two tars differ, and the blocks of both that it is in."""
    with ExitStack() as closing:
        one, other = (decompress(closing.enter_context(layer.open())) for layer in (a, b))
        offset = 0
        while True:
            left, right = _full(one), _full(other)
            if left != right:
                at = first_difference(left, right)
                start = at - at % BLOCK
                return offset + at, left[start : start + BLOCK], right[start : start + BLOCK]
            if not left:
                return None
            offset += len(left)


def _full(stream: Readable) -> bytes:
    data = stream.read(CHUNK)
    while len(data) < CHUNK and (more := stream.read(CHUNK - len(data))):
        data += more
    return data


def first_difference(one: bytes, other: bytes) -> int:
    """Return where two texts that are not the same differ first: perhaps at the end of one."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _place(tar: Readable, offset: int) -> tuple[int, str, int] | None:
    """Return the entry an offset belongs to: its number, its path and where its header is; None behind the last."""
    for position, (member, _) in enumerate(read_members(tar, whiteouts=False)):
        stored = member.entry.size
        if member.segments is not None:
            stored = sum(length for _, length in member.segments)
        if offset < member.offset + stored + -stored % BLOCK:
            return position, member.entry.path, member.offset - BLOCK
    return None


def _text(data: bytes) -> str:
    """Return bytes for people: text up to the zeros after it, anything else as Python writes it."""
    cut = data.rstrip(b"\0\n")
    return repr(cut.decode("ascii")) if cut.isascii() and cut.decode("ascii").isprintable() else repr(cut)[:80]

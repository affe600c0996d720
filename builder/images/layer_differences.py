"""Where two layers differ: entries only one has, fields of their headers, contents, order, and the tar's own bytes.

Both tars are read once, side by side. Entries that meet their counterpart at once are compared byte by byte; others
wait for it with a hash of their contents, a bounded number of them. If all entries agree, a second pass finds the first
byte that does not, and what it belongs to.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

from builder.image.artifact import ContentLayer
from builder.images.ignoring import Ignored
from builder.images.tar_bytes import EntryDifference, byte_difference, first_difference
from builder.rootfs.compression import decompress
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.tarreader import read_members
from builder.streams import CHUNK, Readable, digest_of, read_up_to
from builder.values import dataclass, field

WAITING_LIMIT = 50_000
"""Entries of one side that may wait for the other's; beyond, the oldest is given up."""

LISTED_LIMIT = 10_000
"""Differences of one layer that are told."""

_KINDS = {
    Kind.FILE: "a file",
    Kind.DIRECTORY: "a directory",
    Kind.SYMLINK: "a symbolic link",
    Kind.HARDLINK: "a hard link",
    Kind.CHAR: "a character device",
    Kind.BLOCK: "a block device",
    Kind.FIFO: "a FIFO",
    Kind.WHITEOUT: "a deletion",
    Kind.OPAQUE: "an opaque directory",
}
_LINE = 80


@dataclass(frozen=True, slots=True)
class _Item:
    """An entry as it was read. ``name`` tells the marker of an opaque directory from the directory."""

    position: int
    entry: Entry
    contents: Readable

    @property
    def name(self) -> str:
        return self.entry.path + ("/.opaque/" if self.entry.kind is Kind.OPAQUE else "")


@dataclass(frozen=True, slots=True)
class _Waiting:
    position: int
    entry: Entry
    digest: bytes


@dataclass(slots=True)
class _Side:
    """One tar as it is read, and its entries that wait for their counterparts, by name and number of that name."""

    members: Iterator[_Item]
    is_a: bool
    gave_up: bool = False
    waiting: dict[tuple[str, int], _Waiting] = field(default_factory=dict)


def layer_differences(a: ContentLayer, b: ContentLayer, ignored: Ignored) -> Iterator[EntryDifference]:
    """Yield what differs between two layers, in the order of their entries, up to LISTED_LIMIT differences.

    Raises LayerFormatError, UnsafePathError, and what opening the layers raises.
    """
    reordered = False
    found: list[EntryDifference] = []
    for one in _entries(a, b, ignored):
        reordered = reordered or one is None
        if one is not None:
            found.append(one)
        if len(found) == LISTED_LIMIT:
            break
    # What only one has is known late.
    yield from sorted(found, key=lambda one: one.position)
    if found:
        return
    if reordered and not ignored.has("order"):
        yield EntryDifference(0, None, "the same entries in another order", None, None)
    elif not reordered and ignored.nothing:
        yield from byte_difference(a, b)


def _entries(a: ContentLayer, b: ContentLayer, ignored: Ignored) -> Iterator[EntryDifference | None]:
    """Yield differences, and None where an entry came later in one tar than in the other."""
    with ExitStack() as closing:
        left, right = (
            _Side(_items(decompress(closing.enter_context(layer.open())), ignored), layer is a) for layer in (a, b)
        )
        while True:
            one, other = next(left.members, None), next(right.members, None)
            if one is None and other is None:
                break
            if one is not None and other is not None and one.name == other.name:
                yield from _compare(one.position, one.entry, other.entry, ignored)
                if one.entry.kind is Kind.FILE is other.entry.kind:
                    yield from _contents(one, other)
                continue
            for side, opposite, item in ((left, right, one), (right, left, other)):
                if item is not None:
                    yield from _meet(side, opposite, item, ignored)
        left.gave_up = right.gave_up = left.gave_up or right.gave_up
        for side in (left, right):
            for waiting in side.waiting.values():
                yield _only(waiting, side)


def _items(tar: Readable, ignored: Ignored) -> Iterator[_Item]:
    for position, (member, contents) in enumerate(read_members(tar)):
        if not ignored.path(member.entry.path):
            yield _Item(position, member.entry, contents)


def _meet(side: _Side, opposite: _Side, item: _Item, ignored: Ignored) -> Iterator[EntryDifference | None]:
    """Compare an entry with its waiting counterpart, or let it wait."""
    mine = _Waiting(item.position, item.entry, digest_of(item.contents) if item.entry.kind is Kind.FILE else b"")
    number = 0
    while (item.name, number) in side.waiting:
        number += 1
    theirs = opposite.waiting.pop((item.name, number), None)
    if theirs is None:
        side.waiting[item.name, number] = mine
        if len(side.waiting) > WAITING_LIMIT:
            side.gave_up = True
            yield _only(side.waiting.pop(next(iter(side.waiting))), side)
        return
    yield None
    first, second = (mine, theirs) if side.is_a else (theirs, mine)
    yield from _compare(first.position, first.entry, second.entry, ignored)
    if first.entry.kind is second.entry.kind and first.digest != second.digest:
        yield EntryDifference(
            first.position, item.entry.path, f"the contents differ{_sizes(first.entry, second.entry)}", None, None
        )


def _only(one: _Waiting, side: _Side) -> EntryDifference:
    if side.gave_up:
        problem = f"nothing of this name within {WAITING_LIMIT} entries of the other layer"
        return EntryDifference(one.position, one.entry.path, problem, None, None)
    what = _KINDS[one.entry.kind]
    return EntryDifference(one.position, one.entry.path, "", what if side.is_a else None, None if side.is_a else what)


# --- one entry


def _compare(position: int, a: Entry, b: Entry, ignored: Ignored) -> Iterator[EntryDifference]:
    """Yield the fields in which two entries differ; where the kind does, no others."""
    if a.kind is not b.kind:
        yield EntryDifference(position, a.path, "", _KINDS[a.kind], _KINDS[b.kind])
        return
    fields = [
        ("mode", "modes", f"{a.mode:04o}", f"{b.mode:04o}"),
        ("uid", "owners", str(a.uid), str(b.uid)),
        ("gid", "owners", str(a.gid), str(b.gid)),
        ("mtime", "times", _time(a.mtime), _time(b.mtime)),
        ("target", "", repr(a.target), repr(b.target)),
        ("device", "", f"{a.major},{a.minor}", f"{b.major},{b.minor}"),
    ]
    for name, kind, one, other in fields:
        if one != other and not ignored.has(kind):
            yield EntryDifference(position, a.path, name, one, other)
    for name in sorted({*a.xattrs, *b.xattrs}):
        if a.xattrs.get(name) != b.xattrs.get(name):
            yield EntryDifference(
                position, a.path, f"xattr {name}", _xattr(a.xattrs.get(name)), _xattr(b.xattrs.get(name))
            )


def _xattr(value: bytes | None) -> str | None:
    return None if value is None else value[:40].hex() + ("..." if len(value) > 40 else "")


def _time(seconds: int) -> str:
    try:
        return f"{seconds} ({time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(seconds))})"
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def _contents(one: _Item, other: _Item) -> Iterator[EntryDifference]:
    """Compare the bytes of two files as they come; the place of the first other byte is told."""
    offset = lines = 0
    while True:
        left, right = read_up_to(one.contents, CHUNK), read_up_to(other.contents, CHUNK)
        if left != right:
            yield _content_difference(one, other, left, right, first_difference(left, right), offset, lines)
            return
        if not left:
            return
        offset += len(left)
        lines += left.count(b"\n")


def _content_difference(
    one: _Item, other: _Item, left: bytes, right: bytes, at: int, offset: int, lines: int
) -> EntryDifference:
    sizes = _sizes(one.entry, other.entry)
    shown = [_line(part, at) for part in (left, right)]
    if None in shown or b"\0" in left[:at]:
        problem = f"the contents differ from byte {offset + at} on{sizes}"
        return EntryDifference(one.position, one.entry.path, problem, None, None)
    number = lines + left.count(b"\n", 0, at) + 1
    return EntryDifference(one.position, one.entry.path, f"line {number}{sizes}:", shown[0], shown[1])


def _sizes(one: Entry, other: Entry) -> str:
    return "" if one.size == other.size else f" ({one.size} and {other.size} bytes)"


def _line(data: bytes, at: int) -> str | None:
    """Return the line around a byte, None if it is no text."""
    start = data.rfind(b"\n", 0, at) + 1
    end = data.find(b"\n", at)
    raw = data[max(start, at - _LINE // 2) : len(data) if end < 0 else end][:_LINE]
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    return repr(text) if text.isprintable() or "\t" in text else None

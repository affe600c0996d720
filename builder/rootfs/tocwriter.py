"""Writes a table of contents while a layer streams by: records at once, the index and the trailer at the end."""

from __future__ import annotations

import json
import struct
from array import array
from collections.abc import Sequence

import xxhash

from builder.image.digest import DiffID, Digest
from builder.rootfs.entry import Entry, Kind, LayerFormatError
from builder.rootfs.layout import sort_log
from builder.rootfs.limits import MAX_ENTRIES, MAX_INDEX_BYTES, MAX_SMALL_FILE, MAX_SPARSE_SEGMENTS
from builder.rootfs.replay import replay
from builder.rootfs.tarreader import Member
from builder.rootfs.tocformat import (
    CHECKED,
    IRREGULAR,
    LINK_PATH,
    MAGIC,
    OWNER,
    SECTIONS,
    STANDS_ALONE,
    TRAILER,
    Log,
    Slots,
    encode_record,
    to_key,
)
from builder.streams import Writable

SMALL_FILES = frozenset(("etc/passwd", "etc/group"))
"""Files whose contents a table of contents keeps: user names are looked up without the layer's bytes."""

MAX_MEMBER = 4 << 20
"""Uncompressed bytes between two members of a blob for its member table to be worth keeping."""

_FLUSH = 1 << 18
_MAX_KEPT = 8


class TocWriter:
    """Takes a layer's members in tar order; the bytes in ``stream`` are complete after ``finish``."""

    def __init__(self, stream: Writable) -> None:
        self._stream = stream
        self._buffer = bytearray(MAGIC)
        self._flushed = 0
        self._log = Log()
        self._path_bytes = 0
        self._small: dict[str, bytes] = {}
        self._sparse = bytearray()
        self._check = xxhash.xxh3_64()
        self._hides_all = False
        self._sections: dict[str, tuple[int, int]] = {}
        self._flags = 0

    @staticmethod
    def keeps(entry: Entry) -> bool:
        """Say whether ``keep`` wants this file's contents."""
        return entry.path in SMALL_FILES and entry.kind is Kind.FILE and entry.size <= MAX_SMALL_FILE

    def add(self, member: Member) -> None:
        """Append an entry. Raises LayerFormatError beyond our limits."""
        self.add_plain(member.entry, member.offset)
        if member.segments is not None:
            self._sparse += struct.pack("<QQI", member.offset, member.entry.size, len(member.segments))
            self._sparse += b"".join(struct.pack("<QQ", *segment) for segment in member.segments)
            if len(self._sparse) > 32 * MAX_SPARSE_SEGMENTS:
                raise LayerFormatError("the sparse files of a layer have more segments than we accept")

    def add_plain(self, entry: Entry, offset: int) -> None:
        """Append an entry whose contents lie in one piece at ``offset``. Raises LayerFormatError beyond our limits."""
        kind = entry.kind
        if kind is Kind.WHITEOUT or kind is Kind.OPAQUE:
            # The kernel does not honour an opaque mark on the root of a layer: unpacking it needs the names below.
            self._hides_all |= kind is Kind.OPAQUE and not entry.path
            # The header says no more, and reading one back must give the same.
            entry = Entry(path=entry.path, kind=kind, mode=0, mtime=entry.mtime)
        key = to_key(entry.path)
        self._path_bytes += len(key)
        if len(self._log.keys) >= MAX_ENTRIES or self._path_bytes > MAX_INDEX_BYTES:
            raise LayerFormatError(f"a layer has more than {MAX_ENTRIES} entries, or too long paths in all of them")
        buffer = self._buffer
        self._log.add(key, ord(kind), self._flushed + len(buffer), entry.target)
        buffer += encode_record(entry, key, offset)
        if len(buffer) > _FLUSH:
            self._flush()

    def keep(self, offset: int, contents: bytes) -> None:
        """Remember the contents of a small file that start at ``offset`` of the layer.

        Only of the last few: a hostile layer may hold the same file a million times.
        """
        self._small[str(offset)] = contents
        if len(self._small) > _MAX_KEPT:
            del self._small[next(iter(self._small))]

    def finish(
        self,
        diff_id: DiffID,
        uncompressed_size: int,
        members: Sequence[tuple[int, int]] = (),
        blob: Digest | None = None,
    ) -> None:
        """Write the rest. ``members`` are the (compressed, uncompressed) offsets of the members of ``blob``.

        Raises what ``arrange`` does.
        """
        if not self._sections:
            self.arrange()
        sections = self._sections
        self._section(sections, "members", _table(members, uncompressed_size, blob))
        kept = {}
        for offset, contents in self._small.items():
            kept[offset] = (self._position, len(contents))
            self._buffer += contents
        self._section(sections, "small", json.dumps(kept).encode() if kept else b"")
        self._section(sections, "sparse", bytes(self._sparse))
        self._trailer(sections, diff_id, uncompressed_size)

    def arrange(self) -> None:
        """Write the index, after the last entry; ``finish`` does it if it was not done while others were at work.

        Raises LayerFormatError beyond our limits, UnsafePathError for an entry behind a loop of symlinks.
        """
        sections = self._sections = {"log": (len(MAGIC), self._position - len(MAGIC))}
        slots = sort_log(self._log, self._position)
        if slots is None:
            self._flags = IRREGULAR
            slots = replay(self._log, self._position, None)
        elif (
            not self._hides_all
            and not slots.implied
            and not slots.anchors
            and not any(link >= LINK_PATH for link in slots.links)
        ):
            self._flags = STANDS_ALONE
        self._buffer += slots.pool
        self._write_index(slots, sections)
        for name, keys in (("implied", sorted(slots.implied)), ("anchors", sorted(slots.anchors))):
            self._section(sections, name, b"\0".join(key.replace(b"\0", b"/") for key in keys))

    @property
    def _position(self) -> int:
        return self._flushed + len(self._buffer)

    def _flush(self) -> None:
        self._check.update(self._buffer)
        self._stream.write(bytes(self._buffer))
        self._flushed += len(self._buffer)
        self._buffer.clear()

    def _write_index(self, slots: Slots, sections: dict[str, tuple[int, int]]) -> None:
        start = self._position
        for slot in slots.packed():
            self._buffer += slot
            if len(self._buffer) > _FLUSH:
                self._flush()
        sections["index"] = (start, self._position - start)

    def _section(self, sections: dict[str, tuple[int, int]], name: str, data: bytes) -> None:
        sections[name] = (self._position, len(data))
        self._buffer += data

    def _trailer(self, sections: dict[str, tuple[int, int]], diff_id: DiffID, size: int) -> None:
        ranges = [number for name in SECTIONS for number in sections[name]]
        raw = TRAILER.pack(*ranges, size, len(self._log.keys), bytes.fromhex(diff_id.hex), self._flags, 0, MAGIC)
        self._buffer += raw[:-CHECKED]
        self._flush()
        self._buffer += self._check.intdigest().to_bytes(8, "little") + MAGIC
        self._flush()


def _table(members: Sequence[tuple[int, int]], size: int, blob: Digest | None) -> bytes:
    """Return whose members they are and where, empty if one is too large to be inflated for one file."""
    starts = [start for _, start in members]
    if not members or any(b - a > MAX_MEMBER for a, b in zip(starts, [*starts[1:], size], strict=True)):
        return b""
    owner = bytes(OWNER) if blob is None else bytes.fromhex(blob.hex)
    return owner + array("Q", [number for member in members for number in member]).tobytes()

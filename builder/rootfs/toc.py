"""Tables of contents: what a layer's tar holds, without its bytes; sorted by path, mapped, searched in place.

Opening one checks its bytes and keeps none of them, so a table of 300,000 entries costs no memory. ``Toc`` answers
for its own layer only; what a stack of layers means together is view.py. The bytes are described in tocformat.py.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path

import xxhash

from builder.image.digest import DiffID, Digest
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.replay import replay
from builder.rootfs.sparse import Segments
from builder.rootfs.tarreader import Member
from builder.rootfs.tocformat import (
    CHECKED,
    GHOST,
    IMPLIED,
    IRREGULAR,
    KIND_OF,
    MAGIC,
    NO_TABLE,
    OWNER,
    RECORD,
    SECTIONS,
    SLOT,
    STANDS_ALONE,
    TRAILER,
    WHITEOUT,
    Log,
    Lower,
    broken,
    checksum,
    decode_xattrs,
    to_key,
    to_path,
)
from builder.rootfs.tocwriter import TocWriter

__all__ = ["Toc", "TocWriter"]

_ERRORS = (struct.error, IndexError, ValueError, KeyError, OverflowError)
_SLOT_KINDS = KIND_OF.keys() | {IMPLIED, GHOST}
_NO_XATTRS: dict[str, bytes] = {}


class Toc:
    """The table of contents of one layer. Methods raise CacheError when the file turns out to be broken."""

    def __init__(self, data: bytes | mmap.mmap, *, check: int | None = None) -> None:
        """Read the trailer of ``data``, which must not change later.

        ``check`` is its checksum, where that is known. Raises CacheError for anything but a whole table.
        """
        self._data = data
        if check is None:
            with memoryview(data) as view:
                check = xxhash.xxh3_64_intdigest(view[:-CHECKED])
        try:
            raw = data[len(data) - TRAILER.size :]
            *ranges, size, count, diff_id, flags, stated, magic = TRAILER.unpack(raw)
        except struct.error as error:
            raise broken(error) from error
        if magic != MAGIC or data[: len(MAGIC)] != MAGIC or check != stated:
            raise broken(NO_TABLE)
        self._sections = {name: (ranges[2 * i], ranges[2 * i + 1]) for i, name in enumerate(SECTIONS)}
        if any(at + length > len(data) for at, length in self._sections.values()):
            raise broken("a section lies outside")
        self._check = check
        self.diff_id = DiffID(Digest.from_hex(diff_id.hex()))
        self.uncompressed_size: int = size
        self.entries: int = count
        self.irregular = bool(flags & IRREGULAR)
        """Whether the index is only right for a layer with nothing below; see ``over``."""
        self.stands_alone = bool(flags & STANDS_ALONE)
        """Whether unpacking needs nothing of the layers below: every directory above an entry has its own entry
        before it, and every hard link's file is an earlier entry."""
        self._index: bytes | mmap.mmap = data
        self._index_at, length = self._sections["index"]
        self._pool, self._pool_at = bytearray(), len(data)
        self._sparse: dict[int, tuple[Segments, int]] | None = None
        self.slots = length // SLOT.size
        """Number of slots; positions below this are what the methods for views take."""

    @classmethod
    def open(cls, path: Path) -> Toc:
        """Map a file, after reading it once for its checksum. Raises CacheError if there is none, or it is broken."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe in its place is not waited for
            with open(fd, "rb", buffering=0) as stream:
                check = checksum(stream)
                return cls(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ), check=check)
        except (OSError, ValueError) as error:
            raise broken(error) from error

    def over(self, lower: Lower) -> Toc:
        """Return this layer's table with all paths as they come out when it is extracted over ``lower``."""
        slots = replay(self._log(), len(self._data), lower)
        other = Toc(self._data, check=self._check)
        other._index, other._index_at = b"".join(slots.packed()), 0
        other._pool, other._pool_at = slots.pool, slots.base
        other.slots = len(slots.keys)
        return other

    def facts(self) -> Digest:
        """Return a digest of what the table says about its layer, whichever blob it was made from.

        Two tables with equal facts answer alike, but for ``members``.
        """
        hasher = hashlib.sha256()
        log, index = self._sections["log"], self._sections["index"]
        numbers = (log, index, self.uncompressed_size, self.entries, self.irregular, self.stands_alone)
        said = [f"{self.diff_id} {numbers}".encode()]
        said += [self._section(name) for name in ("implied", "anchors", "sparse")]
        try:
            kept = json.loads(self._section("small") or b"{}")
            said += [b"%b %b" % (name.encode(), self.small_at(int(name)) or b"") for name in sorted(kept)]
        except (*_ERRORS, TypeError, AttributeError) as error:
            raise broken(error) from error
        for part in said:
            hasher.update(b"%d %b" % (len(part), part))
        with memoryview(self._data) as view:
            hasher.update(view[: sum(index)])
        return Digest.from_hex(hasher.hexdigest())

    # What the layer says.

    def lookup(self, path: str) -> Member | None:
        """Return the layer's own entry at ``path``, or the whiteout there; None for implied directories."""
        slot = self.find(to_key(path))
        return self._said(slot) if slot >= 0 else None

    def children(self, path: str) -> Iterator[Member]:
        """Yield entries and whiteouts directly in ``path``, sorted."""
        slot = self.find(to_key(path))
        for child in self.inside(slot) if slot >= 0 else ():
            if (member := self._said(child)) is not None:
                yield member

    def subtree(self, path: str) -> Iterator[Member]:
        """Yield entries and whiteouts at and under ``path``, parents first."""
        slot = self.find(to_key(path))
        for inner in range(slot, self.end(slot)) if slot >= 0 else ():
            if (member := self._said(inner)) is not None:
                yield member

    @property
    def implied(self) -> tuple[str, ...]:
        """Directories without an entry of their own, above entries or whiteouts."""
        return self._paths("implied")

    @property
    def anchors(self) -> tuple[str, ...]:
        """Directories that must not be symlinks in a lower layer for the index to be right as it is."""
        return self._paths("anchors")

    def members(self, blob: Digest | None = None) -> array[int] | None:
        """Return the compressed and uncompressed offsets of a blob's members in turn.

        None if it has no useful ones, or if the table is about another ``blob`` of the same layer.
        """
        data = self._section("members")
        if blob is not None and data[:OWNER].hex() != blob.hex:
            return None
        try:
            return array("Q", data[OWNER:]) if data else None
        except ValueError as error:
            raise broken(error) from error

    def small_file(self, path: str) -> bytes | None:
        """Return the contents of etc/passwd or etc/group if this layer has them as a file; None for all others."""
        slot = self.find(to_key(path))
        if slot < 0 or self.kind(slot) != ord(Kind.FILE):
            return None
        return self.small_at(self.member(slot).offset)

    def small_at(self, offset: int) -> bytes | None:
        """Return contents that start at ``offset`` of the layer, if they are kept here."""
        try:
            found = json.loads(self._section("small") or b"{}").get(str(offset))
            if found is None:
                return None
            start, length = found
            return self._data[start : start + length]
        except (*_ERRORS, TypeError, AttributeError) as error:
            raise broken(error) from error

    def sparse_at(self, offset: int) -> tuple[Segments, int] | None:
        """Return the data runs and the size of the sparse file whose data starts at ``offset``, None if it is none."""
        if self._sparse is None:
            self._sparse = self._read_sparse()
        return self._sparse.get(offset)

    # What views work with: slots, sorted by key. A subtree is the run from its slot to ``end``.

    def find(self, key: bytes, start: int = 0, stop: int | None = None) -> int:
        """Return the slot with ``key`` between ``start`` and ``stop``, -1 for none."""
        low, high = start, self.slots if stop is None else stop
        index, first, data, pool_at = self._index, self._index_at, self._data, self._pool_at
        try:
            while low < high:
                middle = (low + high) // 2
                position, _, _, _, length, _, _ = SLOT.unpack_from(index, first + middle * SLOT.size)
                found = data[position : position + length] if position < pool_at else self._key_at(position, length)
                if found == key:
                    return middle
                if found < key:
                    low = middle + 1
                else:
                    high = middle
        except _ERRORS as error:
            raise broken(error) from error
        return -1

    def find_in(self, slot: int, key: bytes) -> int:
        """Return the slot with ``key`` under that of a directory, -1 for none."""
        return self.find(key, slot + 1, self._slot(slot)[3])

    def key(self, slot: int) -> bytes:
        """Return a slot's key."""
        position, _, _, _, length, _, _ = self._slot(slot)
        return self._key_at(position, length)

    def end(self, slot: int) -> int:
        """Return the slot after the last one in this subtree."""
        return self._slot(slot)[3]

    def kind(self, slot: int) -> int:
        """Return ``ord`` of a Kind's value, IMPLIED or GHOST."""
        kind = self._slot(slot)[5]
        if kind not in _SLOT_KINDS:
            raise broken("an entry of no kind")
        return kind

    def flags(self, slot: int) -> int:
        """Return WHITEOUT and OPAQUE as they apply."""
        return self._slot(slot)[6]

    def state(self, slot: int) -> tuple[int, int]:
        """Return what ``kind`` and ``flags`` do."""
        found = self._slot(slot)
        if found[5] not in _SLOT_KINDS:
            raise broken("an entry of no kind")
        return found[5], found[6]

    def link(self, slot: int) -> int:
        """Return a hard link's link field (tocformat.py)."""
        return self._slot(slot)[2]

    def link_path(self, position: int) -> str:
        """Return the path a LINK_PATH field points at."""
        length = int.from_bytes(self._key_at(position, 2), "little")
        return to_path(self._key_at(position + 2, length))

    def inside(self, slot: int) -> Iterator[int]:
        """Yield the slots directly in a directory."""
        for child, _ in self.listed(slot):
            yield child

    def listed(self, slot: int) -> Iterator[tuple[int, bytes]]:
        """Yield the slots directly in a directory with their keys."""
        child, stop = slot + 1, self.end(slot)
        while child < stop:
            position, _, _, following, length, _, _ = self._slot(child)
            yield child, self._key_at(position, length)
            if following <= child:
                raise broken("a subtree ends before it starts")
            child = following

    def member(self, slot: int, path: str | None = None) -> Member:
        """Return a slot's own entry, under the path of the slot, which some know already."""
        position, record, _, _, length, _, _ = self._slot(slot)
        return self.record(record, to_path(self._key_at(position, length)) if path is None else path)

    def record(self, position: int, path: str | None = None) -> Member:
        """Return the entry in a record, under its own path if no other is given."""
        try:
            kind, mode, uid, gid, mtime, size, offset, major, minor, *lengths = RECORD.unpack_from(self._data, position)
            key_length, target_length, xattrs_length = lengths
            at = position + RECORD.size
            if path is None:
                path = to_path(self._data[at : at + key_length])
            at += key_length
            target = self._data[at : at + target_length].decode("utf-8", "surrogateescape") if target_length else ""
            at += target_length
            entry = Entry(
                path=path,
                kind=KIND_OF[kind],
                mode=mode,
                uid=uid,
                gid=gid,
                size=size,
                mtime=mtime,
                target=target,
                major=major,
                minor=minor,
                xattrs=decode_xattrs(self._data[at : at + xattrs_length]) if xattrs_length else _NO_XATTRS,
            )
        except _ERRORS as error:
            raise broken(error) from error
        return Member(entry, offset)

    # Inside.

    def _slot(self, slot: int) -> tuple[int, int, int, int, int, int, int]:
        try:
            return SLOT.unpack_from(self._index, self._index_at + slot * SLOT.size)
        except _ERRORS as error:
            raise broken(error) from error

    def _key_at(self, position: int, length: int) -> bytes:
        if position >= self._pool_at:
            position -= self._pool_at
            return bytes(self._pool[position : position + length])
        return self._data[position : position + length]

    def _said(self, slot: int) -> Member | None:
        kind = self.kind(slot)
        if kind != IMPLIED and kind != GHOST:
            return self.member(slot)
        if self.flags(slot) & WHITEOUT:
            return Member(Entry(path=to_path(self.key(slot)), kind=Kind.WHITEOUT, mode=0), -1)
        return None

    def _section(self, name: str) -> bytes:
        at, length = self._sections[name]
        return self._data[at : at + length]

    def _read_sparse(self) -> dict[int, tuple[Segments, int]]:
        data = self._section("sparse")
        found: dict[int, tuple[Segments, int]] = {}
        at = 0
        try:
            while at < len(data):
                start, size, count = struct.unpack_from("<QQI", data, at)
                numbers = struct.unpack_from(f"<{2 * count}Q", data, at + 20)
                found[start] = tuple(zip(numbers[::2], numbers[1::2], strict=True)), size
                at += 20 + 16 * count
        except _ERRORS as error:
            raise broken(error) from error
        return found

    def _paths(self, name: str) -> tuple[str, ...]:
        data = self._section(name)
        return tuple(data.decode("utf-8", "surrogateescape").split("\0")) if data else ()

    def told(self) -> Iterator[Member]:
        """Yield every entry as the layer's tar has them, in its order."""
        at, length = self._sections["log"]
        end = at + length
        while at < end:
            try:
                *_, key_length, target_length, xattrs_length = RECORD.unpack_from(self._data, at)
            except _ERRORS as error:
                raise broken(error) from error
            member = self.record(at)
            sparse = self.sparse_at(member.offset) if member.entry.kind is Kind.FILE else None
            yield member if sparse is None else Member(member.entry, member.offset, sparse[0])
            at += RECORD.size + key_length + target_length + xattrs_length

    def _log(self) -> Log:
        """Read the log back, in tar order."""
        log = Log()
        at, length = self._sections["log"]
        end = at + length
        try:
            while at < end:
                kind, *_, key_length, target_length, xattrs_length = RECORD.unpack_from(self._data, at)
                key_at = at + RECORD.size
                target_at = key_at + key_length
                target = self._data[target_at : target_at + target_length].decode("utf-8", "surrogateescape")
                log.add(self._data[key_at:target_at], kind, at, target)
                at = target_at + target_length + xattrs_length
        except _ERRORS as error:
            raise broken(error) from error
        return log

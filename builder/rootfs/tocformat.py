"""The bytes of a table of contents: structures shared by its writer, its reader and the replay of a layer.

A file is: magic; one record per tar entry, in tar order ("the log"); paths that no record holds; the index, sorted by
path; small sections; a trailer of fixed size that says where everything is. The index has one 32-byte slot for every
path and every directory above one. Paths are stored as *keys*: "/" becomes NUL, the lowest byte, so that a subtree is a
contiguous run right after its directory; each slot knows where its subtree ends.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Protocol

import xxhash

from builder.errors import CacheError
from builder.rootfs.entry import Entry, Kind, LayerFormatError
from builder.rootfs.limits import MAX_ENTRIES, MAX_INDEX_BYTES
from builder.streams import CHUNK
from builder.values import dataclass, field

MAGIC = b"pbtoc\0\0\2"
"""Starts and ends a file; the last byte is the version of the format."""

NO_TABLE = "not one, cut short, or of another version"

RECORD = struct.Struct("<BxHIIqQQIIHHI")
"""kind, mode, uid, gid, mtime, size, contents' offset, major, minor; lengths of key, target and attributes after it."""

SLOT = struct.Struct("<QQQIHBB")
"""key's position, record's position (0: none), link, end of the subtree, key's length, kind, flags."""

TRAILER = struct.Struct("<14QQQ32sIQ8s")
"""(position, length) of the log and six sections; layer's size, number of entries, DiffID, flags, check, magic."""

CHECKED = 16
"""Bytes at the end that the check does not cover: itself and the magic. It is XXH3-64, against torn files."""

SECTIONS = ("log", "index", "implied", "anchors", "members", "small", "sparse")

OWNER = 32
"""Bytes before the table of members: the digest of the blob that has them, zeros when it was not told."""

IRREGULAR = 1
"""Trailer flag: the index is only right with nothing below; over other layers the log must be replayed."""
STANDS_ALONE = 2
"""Trailer flag, see ``Toc.stands_alone``."""

WHITEOUT = 1
"""Slot flag: hides what lower layers have at this path."""
OPAQUE = 2
"""Slot flag: hides what lower layers have under this directory."""

DIRECTORY, SYMLINK, HARDLINK = ord(Kind.DIRECTORY), ord(Kind.SYMLINK), ord(Kind.HARDLINK)
DELETION = frozenset((ord(Kind.WHITEOUT), ord(Kind.OPAQUE)))
IMPLIED = ord("i")
"""A slot's kind: a directory that exists because something is in it."""
GHOST = ord("-")
"""A slot's kind: nothing of its own, a whiteout here or below needs the slot."""

LINK_SLOT, LINK_RECORD, LINK_PATH = 1 << 62, 2 << 62, 3 << 62
"""What a hard link's ``link`` field holds in its other bits: the slot of its file; the record of a file that was
replaced later in the layer; the position of a length and key, to be found in the layers below."""
LINK_MASK = (1 << 62) - 1

KIND_OF = {ord(kind): kind for kind in Kind}
_XATTR = struct.Struct("<HI")


def to_key(path: str) -> bytes:
    """Return a path's key."""
    return path.encode("utf-8", "surrogateescape").replace(b"/", b"\0")


def to_path(key: bytes) -> str:
    """Return a key's path."""
    return key.replace(b"\0", b"/").decode("utf-8", "surrogateescape")


def encode_record(entry: Entry, key: bytes, offset: int) -> bytes:
    """Return an entry's record."""
    target = entry.target.encode("utf-8", "surrogateescape") if entry.target else b""
    xattrs = encode_xattrs(entry.xattrs) if entry.xattrs else b""
    return b"".join(
        (
            RECORD.pack(
                ord(entry.kind),
                entry.mode,
                entry.uid,
                entry.gid,
                entry.mtime,
                entry.size,
                offset,
                entry.major,
                entry.minor,
                len(key),
                len(target),
                len(xattrs),
            ),
            key,
            target,
            xattrs,
        )
    )


def encode_xattrs(xattrs: Mapping[str, bytes]) -> bytes:
    """Return extended attributes as one string of bytes."""
    parts: list[bytes] = []
    for name, value in xattrs.items():
        raw = name.encode("utf-8", "surrogateescape")
        parts += (_XATTR.pack(len(raw), len(value)), raw, value)
    return b"".join(parts)


def decode_xattrs(data: bytes) -> dict[str, bytes]:
    """Undo ``encode_xattrs``. Raises struct.error for a broken string."""
    xattrs: dict[str, bytes] = {}
    at = 0
    while at < len(data):
        name, value = _XATTR.unpack_from(data, at)
        at += _XATTR.size
        xattrs[data[at : at + name].decode("utf-8", "surrogateescape")] = data[at + name : at + name + value]
        at += name + value
    return xattrs


@dataclass(slots=True)
class Log:
    """What a layer's tar says, entry by entry, as far as the index depends on it."""

    keys: list[bytes] = field(default_factory=list)
    kinds: bytearray = field(default_factory=bytearray)
    records: array[int] = field(default_factory=lambda: array("Q"))
    targets: dict[int, str] = field(default_factory=dict)
    """Targets of symlinks and hard links by entry number."""

    def add(self, key: bytes, kind: int, record: int, target: str) -> None:
        """Append an entry."""
        if kind in (SYMLINK, HARDLINK):
            self.targets[len(self.keys)] = target
        self.keys.append(key)
        self.kinds.append(kind)
        self.records.append(record)


class Lower(Protocol):
    """The merged tree below a layer, as far as a replay asks."""

    def kind_of(self, path: str) -> tuple[Kind, str] | None:
        """Return kind and symlink target at ``path``, following no symlink."""
        ...


class Slots:
    """The index while it is made. ``base`` is where the paths that no record holds will be in the file."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.pool = bytearray()
        self.keys: list[bytes] = []
        self.positions = array("Q")
        self.records = array("Q")
        self.links = array("Q")
        self.ends = array("I")
        self.kinds = bytearray()
        self.flags = bytearray()
        self.implied: list[bytes] = []
        self.anchors: set[bytes] = set()

    def add(self, key: bytes, record: int, kind: int, flags: int, *, in_record: bool) -> int:
        """Append a slot; its key is the record's own or goes to the pool. Raises LayerFormatError for too many."""
        if in_record:
            position = record + RECORD.size
        else:
            position = self.base + len(self.pool)
            self._pool(key)
        self.keys.append(key)
        self.positions.append(position)
        self.records.append(record)
        self.links.append(0)
        self.ends.append(0)
        self.kinds.append(kind)
        self.flags.append(flags)
        return len(self.keys) - 1

    def link_to_lower(self, key: bytes) -> int:
        """Return the link field for a file that layers below have at ``key``."""
        position = self.base + len(self.pool)
        self._pool(len(key).to_bytes(2, "little") + key)
        return LINK_PATH | position

    def _pool(self, data: bytes) -> None:
        self.pool += data
        if len(self.pool) > MAX_INDEX_BYTES or len(self.keys) > 2 * MAX_ENTRIES:
            raise LayerFormatError("the paths of a layer imply more directories than we accept")

    def packed(self) -> Iterator[bytes]:
        """Yield the slots as bytes."""
        for i, key in enumerate(self.keys):
            yield SLOT.pack(
                self.positions[i],
                self.records[i],
                self.links[i],
                self.ends[i],
                len(key),
                self.kinds[i],
                self.flags[i],
            )


def broken(why: object) -> CacheError:
    """Return the error for a table of contents that cannot be read."""
    said = why.strerror if isinstance(why, OSError) else why
    return CacheError(f"a table of contents in the cache is broken ({said})", hint="it will be made again")


def checksum(stream: BinaryIO) -> int:
    """Read an unbuffered file of a table and return its checksum. Raises CacheError, unread, for what is no table."""
    size, length = os.fstat(stream.fileno()).st_size, len(MAGIC)
    for place in (0, max(0, size - length)):
        if os.pread(stream.fileno(), length, place) != MAGIC:
            raise broken(NO_TABLE)
    # Read, not mapped: pages touched through a mapping would count as our memory.
    left = size - CHECKED
    hasher = xxhash.xxh3_64()
    while left > 0 and (chunk := stream.read(min(left, CHUNK))):
        hasher.update(chunk)
        left -= len(chunk)
    return hasher.intdigest()

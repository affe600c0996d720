"""Reads tars from strangers as a stream: USTAR, PAX, GNU long names, GNU sparse files, base-256 numbers.

Names come out clean (entry.py) or not at all: ``..`` raises, a leading ``/`` is dropped, limits.py bounds the rest.
Whiteout names become their own kinds (OCI image-spec layer.md, "Whiteouts"). Nothing here touches a file system, and
nothing remembers earlier entries: what duplicates and symlinked parents mean is for replay.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from builder.rootfs.entry import Entry, Kind, LayerFormatError, UnsafePathError
from builder.rootfs.limits import (
    MAX_COMPONENT,
    MAX_DEPTH,
    MAX_ENTRIES,
    MAX_EXTENSION,
    MAX_FILE_SIZE,
    MAX_ID,
    MAX_PATH,
    MAX_XATTR_NAME,
    MAX_XATTR_VALUE,
    MAX_XATTRS,
)
from builder.rootfs.sparse import Segments, Spread, old_map, pax_map
from builder.rootfs.tarheader import Header, Records, parse_decimal, parse_header, parse_pax, parse_time
from builder.rootfs.tarwriter import BLOCK, OPAQUE_NAME, WHITEOUT_PREFIX, XATTR_PREFIX
from builder.streams import CHUNK, Readable
from builder.values import dataclass

_KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"S": Kind.FILE,
    b"1": Kind.HARDLINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHAR,
    b"4": Kind.BLOCK,
    b"5": Kind.DIRECTORY,
    b"D": Kind.DIRECTORY,
    b"6": Kind.FIFO,
}
_AUFS_PREFIX = ".wh..wh."
_ZERO_BLOCK = bytes(BLOCK)
_MAX_DEVICE = (1 << 32) - 1
_NO_XATTRS: dict[str, bytes] = {}


@dataclass(frozen=True, slots=True)
class Member:
    """An entry and where its contents start in the uncompressed stream."""

    entry: Entry
    offset: int
    segments: Segments | None = None
    """The runs of a sparse file, whose data lies packed at ``offset``; ``entry.size`` counts the holes too."""


def read_members(stream: Readable, *, whiteouts: bool = True) -> Iterator[tuple[Member, Readable]]:
    """Yield every entry with its contents, which the next step skips if they were not read.

    With ``whiteouts``, ``.wh.NAME`` is a WHITEOUT of NAME, ``.wh..wh..opq`` an OPAQUE of its directory, and aufs's
    other ``.wh..wh.`` names are left out; without, they are plain files (archives that ADD unpacks).
    Stops after the end marker and leaves the rest of ``stream``. Raises LayerFormatError and UnsafePathError.
    """
    source = _Source(stream)
    seen = 0
    while (found := _next_header(source)) is not None:
        seen += 1
        if seen > MAX_ENTRIES:
            raise LayerFormatError(f"more than {MAX_ENTRIES} entries in one tar")
        header, records = found
        member, contents = _member(source, header, records)
        kept = _as_whiteout(member) if whiteouts else member
        if kept is not None and kept.segments is not None:
            yield kept, Spread(contents, kept.segments, kept.entry.size)
        elif kept is not None:
            yield kept, contents
        contents.skip()


def clean_path(raw: bytes, what: str = "path") -> str:
    """Return a tar's name as an entry's path (entry.py).

    Raises UnsafePathError for ``..``, LayerFormatError for what no kernel would take as a path.
    """
    if b"\0" in raw or len(raw) > MAX_PATH:
        raise LayerFormatError(f"a tar entry's {what} holds a NUL or more than {MAX_PATH} bytes: {raw[:60]!r}")
    text = raw.decode("utf-8", "surrogateescape")
    parts = [part for part in text.split("/") if part and part != "."]
    if ".." in parts:
        raise UnsafePathError(f"a tar entry's {what} points out of its tree: {text!r}")
    if len(raw) > MAX_COMPONENT and any(len(part.removeprefix(b".wh.")) > MAX_COMPONENT for part in raw.split(b"/")):
        raise LayerFormatError(f"a name in a tar entry's {what} is longer than {MAX_COMPONENT} bytes: {text[:60]!r}...")
    if len(parts) > MAX_DEPTH:
        raise LayerFormatError(f"a tar entry's {what} lies more than {MAX_DEPTH} directories deep: {text[:60]!r}...")
    return "/".join(parts)


class _Source:
    """The stream, and how far we are in it."""

    __slots__ = ("_stream", "position")

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.position = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.position += len(data)
        return data

    def exactly(self, size: int) -> bytes:
        data = self.read(size)
        while len(data) < size:
            more = self.read(size - len(data))
            if not more:
                raise LayerFormatError("a tar ends in the middle of an entry")
            data += more
        return data

    def skip(self, size: int) -> None:
        while size > 0:
            size -= len(self.exactly(min(size, CHUNK)))

    def block(self) -> bytes | None:
        """Return the next header block, None at a clean end: the end marker, or no more bytes."""
        first = self.read(BLOCK)
        if not first:
            return None
        if len(first) < BLOCK:
            first += self.exactly(BLOCK - len(first))
        if first != _ZERO_BLOCK:
            return first
        second = self.read(BLOCK)
        if second and second + self.exactly(BLOCK - len(second)) != _ZERO_BLOCK:
            raise LayerFormatError("a tar has a lone zero block between its entries")
        return None


class _Contents:
    """The stored bytes of one entry; ``skip`` reads past what is left of them and past the padding."""

    __slots__ = ("_left", "_padding", "_source")

    def __init__(self, source: _Source, size: int, padding: int) -> None:
        self._source = source
        self._left = size
        self._padding = padding

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(CHUNK), b""))
        size = min(size, self._left)
        if size <= 0:
            return b""
        data = self._source.read(size)
        if not data:
            raise LayerFormatError("a tar ends in the middle of a file's contents")
        self._left -= len(data)
        return data

    def skip(self) -> None:
        self._source.skip(self._left + self._padding)
        self._left = self._padding = 0


def _next_header(source: _Source) -> tuple[Header, Records] | None:
    """Return the next entry's header with all that extension headers before it say."""
    records: Records = {}
    long_names: Records = {}
    extended = False
    while (block := source.block()) is not None:
        header = parse_header(block)
        match header.type:
            case b"x" | b"X":
                records = parse_pax(_extension(source, header))
            case b"L":
                long_names["path"] = _extension(source, header).partition(b"\0")[0]
            case b"K":
                long_names["linkpath"] = _extension(source, header).partition(b"\0")[0]
            case b"g" | b"V":  # global headers (git archive's comment) and volume labels say nothing about files
                _extension(source, header)
                continue
            case _:
                return header, records | long_names
        extended = True
    if extended:
        raise LayerFormatError("a tar ends after an extended header")
    return None


def _extension(source: _Source, header: Header) -> bytes:
    if not 0 <= header.size <= MAX_EXTENSION:
        raise LayerFormatError(f"a tar's extended header of {header.size} bytes is over the limit of {MAX_EXTENSION}")
    body = source.exactly(header.size)
    source.skip(-header.size % BLOCK)
    return body


def _member(source: _Source, header: Header, records: Records) -> tuple[Member, _Contents]:
    name = records.get("GNU.sparse.name") or records.get("path") or header.name
    kind = _kind(header, name)
    path = clean_path(name)
    if not path and kind is not Kind.DIRECTORY:
        raise LayerFormatError("a tar entry without a name is no directory")
    claimed = _size(parse_decimal(records["size"], "size") if records.get("size") else header.size, path)
    size = claimed if kind is Kind.FILE else 0
    # A directory of an incremental archive is followed by a list of its names, other kinds by nothing.
    stored = claimed if header.type == b"D" else size
    start = source.position
    sparse = None
    if kind is Kind.FILE:
        sparse = old_map(header, source.exactly) if header.type == b"S" else pax_map(records, source.exactly)
    if sparse is not None:
        segments, logical = sparse
        size = _size(logical, path)
        # A 1.0 map is part of the stored size, extension blocks of the old format are not.
        if header.type != b"S":
            stored -= source.position - start
        if stored != sum(length for _, length in segments):
            raise LayerFormatError(f"the map of the sparse file {path!r} does not fit its data")
        start = source.position
    contents = _Contents(source, stored, -stored % BLOCK)
    return Member(_entry(header, records, path, kind, size), start, sparse[0] if sparse else None), contents


def _kind(header: Header, name: bytes) -> Kind:
    kind = _KINDS.get(header.type)
    if kind is None:
        raise LayerFormatError(f"a tar entry of unknown type {header.type!r}: {name[:60]!r}")
    if header.type == b"\0" and name.endswith(b"/"):  # how v7 wrote a directory
        return Kind.DIRECTORY
    return kind


def _size(size: int, path: str) -> int:
    if not 0 <= size <= MAX_FILE_SIZE:
        raise LayerFormatError(f"{path!r} claims a size of {size} bytes; the limit is {MAX_FILE_SIZE}")
    return size


def _entry(header: Header, records: Records, path: str, kind: Kind, size: int) -> Entry:
    target = ""
    if kind is Kind.SYMLINK or kind is Kind.HARDLINK:
        target = _target(records.get("linkpath") or header.link, kind, path)
    numbers = {"uid": header.uid, "gid": header.gid, "mtime": header.mtime}
    if records:
        numbers |= {key: parse_decimal(records[key], key) for key in ("uid", "gid") if records.get(key)}
        if records.get("mtime"):
            numbers["mtime"] = parse_time(records["mtime"])
    if not (0 <= numbers["uid"] <= MAX_ID and 0 <= numbers["gid"] <= MAX_ID):
        raise LayerFormatError(f"{path!r} has an owner that cannot be: {numbers['uid']}:{numbers['gid']}")
    if not (0 <= header.major <= _MAX_DEVICE and 0 <= header.minor <= _MAX_DEVICE):
        raise LayerFormatError(f"{path!r} has device numbers that cannot be: {header.major}, {header.minor}")
    return Entry(
        path=path,
        kind=kind,
        mode=header.mode,
        uid=numbers["uid"],
        gid=numbers["gid"],
        size=size,
        mtime=numbers["mtime"],
        target=target,
        major=header.major,
        minor=header.minor,
        xattrs=_xattrs(records, path) if records else _NO_XATTRS,
    )


def _target(raw: bytes, kind: Kind, path: str) -> str:
    if kind is Kind.HARDLINK:
        target = clean_path(raw, "link target")
    elif b"\0" in raw or len(raw) > MAX_PATH:
        raise LayerFormatError(f"the symlink {path!r} has a target with a NUL or of more than {MAX_PATH} bytes")
    else:
        target = raw.decode("utf-8", "surrogateescape")
    if not target:
        raise LayerFormatError(f"the link {path!r} has no target")
    return target


def _xattrs(records: Records, path: str) -> dict[str, bytes]:
    xattrs = {key.removeprefix(XATTR_PREFIX): value for key, value in records.items() if key.startswith(XATTR_PREFIX)}
    if len(xattrs) > MAX_XATTRS:
        raise LayerFormatError(f"{path!r} has more than {MAX_XATTRS} extended attributes")
    for name, value in xattrs.items():
        raw = name.encode("utf-8", "surrogateescape")
        if not 0 < len(raw) <= MAX_XATTR_NAME or len(value) > MAX_XATTR_VALUE:
            raise LayerFormatError(
                f"{path!r} has an extended attribute with a name or value beyond the kernel's limits"
            )
    return xattrs


def _as_whiteout(member: Member) -> Member | None:
    """Return what a layer's entry means: itself, a whiteout, or None for aufs's own bookkeeping.

    Raises LayerFormatError for whiteout names that name nothing (``.wh.``), UnsafePathError for ``.wh..``.
    """
    path = member.entry.path
    if WHITEOUT_PREFIX not in path:
        return member
    parts = path.split("/")
    at = next((i for i, part in enumerate(parts) if part.startswith(WHITEOUT_PREFIX)), None)
    if at is None:
        return member
    name = parts[at]
    last = at == len(parts) - 1
    if name == OPAQUE_NAME and last:
        return Member(_deletion("/".join(parts[:at]), Kind.OPAQUE, member), member.offset)
    if name.startswith(_AUFS_PREFIX):
        return None
    hidden = name.removeprefix(WHITEOUT_PREFIX)
    if hidden in (".", ".."):
        raise UnsafePathError(f"a whiteout deletes its own directory or the one above: {path!r}")
    if not hidden or not last:
        raise LayerFormatError(f"not a whiteout, and not a name a layer may hold: {path!r}")
    return Member(_deletion("/".join([*parts[:at], hidden]), Kind.WHITEOUT, member), member.offset)


def _deletion(path: str, kind: Kind, member: Member) -> Entry:
    return Entry(path=path, kind=kind, mode=0, mtime=member.entry.mtime)

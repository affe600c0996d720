"""The bytes of a layer tar: USTAR headers, PAX extended headers only where USTAR cannot say it.

Equal entries give equal bytes on every machine: nothing here reads a clock, a user database or the locale
(reproducibility.md 5.3, semantics.md 53-58). No prefix splitting, no global headers, no record padding.
"""

from __future__ import annotations

import hashlib

from builder.rootfs.entry import Entry, Kind, LayerFormatError
from builder.rootfs.limits import MAX_COMPONENT, MAX_DEPTH, MAX_EXTENSION, MAX_FILE_SIZE, MAX_PATH

BLOCK = 512
END = bytes(2 * BLOCK)
"""What ends a tar: two zero blocks."""

WHITEOUT_PREFIX = ".wh."
OPAQUE_NAME = ".wh..wh..opq"
XATTR_PREFIX = "SCHILY.xattr."

_TYPES = {
    Kind.FILE: b"0",
    Kind.HARDLINK: b"1",
    Kind.SYMLINK: b"2",
    Kind.CHAR: b"3",
    Kind.BLOCK: b"4",
    Kind.DIRECTORY: b"5",
    Kind.FIFO: b"6",
    Kind.WHITEOUT: b"0",
    Kind.OPAQUE: b"0",
}
_PAX = b"x"
_NAME_FIELD = 100
_MAX_OCTAL7 = 0o7777777
_MAX_OCTAL11 = 0o77777777777
_NUMBERS = b"%07o\0%07o\0%07o\0%011o\0%011o\0"
"""Mode, owner, group, size and time."""
_NO_DEVICE = bytes(16)
_ZERO_BLOCK = bytes(BLOCK)
_REST = {
    kind: _TYPES[kind] + bytes(_NAME_FIELD) + b"ustar\00000" + bytes(64) + _NO_DEVICE + bytes(167)
    for kind in (Kind.FILE, Kind.DIRECTORY, Kind.FIFO, Kind.WHITEOUT)
}
"""What follows the checksum of an entry that says nothing there but its type."""

_SUMS = {kind: sum(rest) + 8 * 0x20 for kind, rest in _REST.items()}


def padding(size: int) -> bytes:
    """Return the zero bytes that follow contents of ``size`` bytes."""
    return _ZERO_BLOCK[: -size % BLOCK]


def header(entry: Entry) -> bytes:
    """Return what precedes ``entry``'s contents: its header, after an extended one where needed.

    Whiteouts become empty files with ``.wh.`` names that carry only their time. Raises LayerFormatError for an entry
    that no tar can hold, or that tarreader would refuse.
    """
    name = _name(entry)
    kind = entry.kind
    if kind in _REST and not entry.xattrs and len(name) <= _NAME_FIELD and name.isascii() and _fits(entry):
        if kind is Kind.WHITEOUT:
            numbers = 0, 0, 0, 0, entry.mtime
        else:
            size = entry.size if kind is Kind.FILE else 0
            numbers = entry.mode & 0o7777, entry.uid, entry.gid, size, entry.mtime
        head = name.ljust(_NAME_FIELD, b"\0") + _NUMBERS % numbers
        return b"%b%06o\0 %b" % (head, sum(head) + _SUMS[kind], _REST[kind])
    if len(name) > MAX_COMPONENT:
        _check_parts(entry.path)
    if kind is Kind.WHITEOUT or kind is Kind.OPAQUE:
        entry = Entry(path=entry.path, kind=Kind.FILE, mode=0, mtime=entry.mtime)
    if min(entry.uid, entry.gid, entry.size) < 0:
        raise LayerFormatError(f"a tar cannot hold a negative owner or size, as {entry.path} has")
    if entry.size > MAX_FILE_SIZE:
        raise LayerFormatError(f"{entry.path} has {entry.size} bytes; a layer takes files of at most {MAX_FILE_SIZE}")
    target = _encode(entry.target) if kind is Kind.SYMLINK or kind is Kind.HARDLINK else b""
    size = entry.size if kind is Kind.FILE else 0
    records = _extended(entry, name, target, size)
    plain = _block(
        name,
        _TYPES[kind],
        mode=entry.mode & 0o7777,
        uid=entry.uid,
        gid=entry.gid,
        size=size,
        mtime=entry.mtime,
        target=target,
        device=_device(entry),
    )
    return _extension(records) + plain if records else plain


def _fits(entry: Entry) -> bool:
    """Say whether a plain header has room for an entry's numbers."""
    return (
        0 <= entry.uid <= _MAX_OCTAL7
        and 0 <= entry.gid <= _MAX_OCTAL7
        and 0 <= entry.size <= _MAX_OCTAL11
        and 0 <= entry.mtime <= _MAX_OCTAL11
    )


def _encode(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    if not raw or b"\0" in raw:
        raise LayerFormatError(f"a tar cannot hold the name {text!r}")
    if len(raw) > MAX_PATH:
        raise LayerFormatError(f"a name of {len(raw)} bytes is too long for a layer: {text[:60]!r}...")
    return raw


def _check_parts(path: str) -> None:
    """Refuse what no reader of layers, ours included, would take."""
    parts = path.encode("utf-8", "surrogateescape").split(b"/")
    if max(map(len, parts)) > MAX_COMPONENT:
        raise LayerFormatError(f"a name in {path[:60]!r}... is longer than {MAX_COMPONENT} bytes")
    if len(parts) > MAX_DEPTH:
        raise LayerFormatError(f"{path[:60]!r}... lies more than {MAX_DEPTH} directories deep")


def _name(entry: Entry) -> bytes:
    if entry.kind is Kind.OPAQUE:
        return _encode(f"{entry.path}/{OPAQUE_NAME}" if entry.path else OPAQUE_NAME)
    if entry.kind is Kind.WHITEOUT:
        parent, slash, base = entry.path.rpartition("/")
        return _encode(f"{parent}{slash}{WHITEOUT_PREFIX}{base}")
    if entry.kind is Kind.DIRECTORY:
        return _encode(entry.path + "/") if entry.path else b"./"
    return _encode(entry.path)


def _device(entry: Entry) -> bytes:
    if entry.kind is not Kind.CHAR and entry.kind is not Kind.BLOCK:
        return _NO_DEVICE
    if not (0 <= entry.major <= _MAX_OCTAL7 and 0 <= entry.minor <= _MAX_OCTAL7):
        raise LayerFormatError(f"a tar cannot hold the device numbers {entry.major}, {entry.minor} of {entry.path}")
    return b"%07o\0%07o\0" % (entry.major, entry.minor)


def _extended(entry: Entry, name: bytes, target: bytes, size: int) -> dict[str, bytes]:
    """Return the PAX records that say what the plain header cannot."""
    records: dict[str, bytes] = {}
    if len(name) > _NAME_FIELD or not name.isascii():
        records["path"] = name
    if len(target) > _NAME_FIELD or not target.isascii():
        records["linkpath"] = target
    if any(not _is_utf8(value) for value in records.values()):
        records["hdrcharset"] = b"BINARY"
    if size > _MAX_OCTAL11:
        records["size"] = b"%d" % size
    for key, number in (("uid", entry.uid), ("gid", entry.gid)):
        if number > _MAX_OCTAL7:
            records[key] = b"%d" % number
    if not 0 <= entry.mtime <= _MAX_OCTAL11:
        records["mtime"] = b"%d" % entry.mtime
    for attribute, value in entry.xattrs.items():
        if "=" in attribute or "\0" in attribute:
            raise LayerFormatError(f"a tar cannot hold the extended attribute {attribute!r} of {entry.path}")
        records[XATTR_PREFIX + attribute] = value
    return records


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _extension(records: dict[str, bytes]) -> bytes:
    """Return a whole extended header: same records, same bytes; its own name comes from its contents."""
    body = b"".join(_record(key.encode("utf-8", "surrogateescape"), records[key]) for key in sorted(records))
    if len(body) > MAX_EXTENSION:
        raise LayerFormatError(f"names and attributes of one file that take more than {MAX_EXTENSION} bytes in a tar")
    name = b"PaxHeaders/" + hashlib.sha256(body).hexdigest()[:32].encode()
    return _block(name, _PAX, mode=0o644, size=len(body)) + body + padding(len(body))


def _record(key: bytes, value: bytes) -> bytes:
    """Return ``LENGTH KEY=VALUE\\n``, where the decimal length counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) + rest != length:
        length += 1
    return b"%d %s=%s\n" % (length, key, value)


def _block(
    name: bytes,
    kind: bytes,
    *,
    mode: int,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime: int = 0,
    target: bytes = b"",
    device: bytes = _NO_DEVICE,
) -> bytes:
    # Numbers that do not fit are 0 here and said in full by the extended header before.
    numbers = _NUMBERS % (
        mode,
        uid if 0 <= uid <= _MAX_OCTAL7 else 0,
        gid if 0 <= gid <= _MAX_OCTAL7 else 0,
        size if size <= _MAX_OCTAL11 else 0,
        mtime if 0 <= mtime <= _MAX_OCTAL11 else 0,
    )
    short = name if len(name) <= _NAME_FIELD else name[:_NAME_FIELD].rstrip(b"/")
    head = short.ljust(_NAME_FIELD, b"\0") + numbers
    tail = kind + target[:_NAME_FIELD].ljust(_NAME_FIELD, b"\0") + b"ustar\00000" + bytes(64) + device
    total = sum(head) + sum(tail) + 8 * 0x20
    return head + b"%06o\0 " % total + tail + bytes(BLOCK - len(head) - 8 - len(tail))

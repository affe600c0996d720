"""One 512-byte tar header, and the records of a PAX extended header, taken apart without trusting them.

POSIX.1-2001 pax, the older ustar and v7 forms, and GNU's base-256 numbers. Knows nothing of streams or paths.
"""

from __future__ import annotations

import struct

from builder.rootfs.entry import LayerFormatError
from builder.values import dataclass

_FIELDS = struct.Struct("100s 8s 8s 8s 12s 12s 8s c 100s 6s 2s 32s 32s 8s 8s 155s 12s")
_MAX_TIME = 1 << 62
_MAX_DIGITS = 20
_MAX_FRACTION = 100

Records = dict[str, bytes]
"""PAX records by keyword. The pairs of a sparse map in the 0.0 format are joined under ``GNU.sparse.map``."""


@dataclass(frozen=True, slots=True)
class Header:
    """What one header block says; names are raw bytes, numbers are checked to be numbers and no more."""

    name: bytes
    type: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: bytes
    major: int
    minor: int
    block: bytes


def parse_header(block: bytes) -> Header:
    """Take a header block apart. Raises LayerFormatError for a bad checksum or number."""
    name, mode, uid, gid, size, mtime, checksum, kind, link, magic, _, _, _, major, minor, prefix, rest = (
        _FIELDS.unpack(block)
    )
    _verify(block, _number(checksum, "checksum"))
    name = name.partition(b"\0")[0]
    if magic == b"ustar\0":
        if rest.endswith(b"tar\0"):  # star keeps times in the last 24 bytes of the prefix
            prefix = prefix[:131]
        prefix = prefix.partition(b"\0")[0]
        if prefix:
            name = prefix + b"/" + name
    device = kind in (b"3", b"4") and magic.startswith(b"ustar")
    return Header(
        name=name,
        type=kind,
        mode=_number(mode, "mode") & 0o7777,
        uid=_number(uid, "uid"),
        gid=_number(gid, "gid"),
        size=_number(size, "size"),
        mtime=_time(_number(mtime, "mtime")),
        link=link.partition(b"\0")[0],
        major=_number(major, "device number") if device else 0,
        minor=_number(minor, "device number") if device else 0,
        block=block,
    )


def _verify(block: bytes, stated: int) -> None:
    field = block[148:156]
    if sum(block) - sum(field) + 256 == stated:
        return
    # Some old writers summed signed characters.
    signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + block[156:]) + 256
    if signed != stated:
        raise LayerFormatError("not a tar, or a damaged one: a header's checksum is wrong")


def _number(field: bytes, what: str) -> int:
    """Read an octal field, or GNU's big-endian two's complement when the top bit is set."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
    text = field.strip(b" \0").partition(b"\0")[0].rstrip()
    if not text:
        return 0
    try:
        if not text.isdigit():  # int() also takes signs, underscores and 0o
            raise ValueError
        return int(text, 8)
    except ValueError:
        raise LayerFormatError(f"a tar header's {what} is not a number: {field!r}") from None


def sparse_number(field: bytes) -> int:
    """Read a 12-byte number of an old GNU sparse map."""
    return _number(field, "sparse map")


def parse_decimal(raw: bytes, what: str) -> int:
    """Read an unsigned decimal of a PAX record. Raises LayerFormatError."""
    if not raw.isdigit() or len(raw) > _MAX_DIGITS:
        raise LayerFormatError(f"a PAX record's {what} is not a number: {raw[:40]!r}")
    return int(raw)


def parse_time(raw: bytes) -> int:
    """Read a PAX time, which may be negative and have a fraction; round down to whole seconds."""
    digits = raw.removeprefix(b"-")
    whole, point, fraction = digits.partition(b".")
    if (point and fraction and not fraction.isdigit()) or len(fraction) > _MAX_FRACTION:
        raise LayerFormatError(f"a PAX record's time is not a number: {raw[:40]!r}")
    seconds = parse_decimal(whole, "time")
    if len(digits) != len(raw):
        return _time(-seconds - (1 if fraction.strip(b"0") else 0))
    return _time(seconds)


def _time(seconds: int) -> int:
    if not -_MAX_TIME <= seconds <= _MAX_TIME:
        raise LayerFormatError(f"a tar entry's time is out of range: {seconds}")
    return seconds


def parse_pax(body: bytes) -> Records:
    """Read the records of an extended header. Raises LayerFormatError for any that is not well-formed."""
    records: Records = {}
    sparse: list[bytes] = []
    start = 0
    while start < len(body):
        space = body.find(b" ", start, start + 10)
        digits = body[start:space] if space > 0 else b""
        if not digits.isdigit():
            raise LayerFormatError("a PAX extended header is malformed: no length")
        end = start + int(digits)
        keyword, equals, value = body[space + 1 : end - 1].partition(b"=")
        if end > len(body) or end <= space + 1 or body[end - 1 : end] != b"\n" or not equals or not keyword:
            raise LayerFormatError("a PAX extended header is malformed: a record is not LENGTH KEY=VALUE")
        start = end
        if keyword in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            sparse.append(value)
            continue
        if b"\0" in keyword or (b"\0" in value and keyword in (b"path", b"linkpath", b"GNU.sparse.name")):
            raise LayerFormatError(f"a PAX record's {keyword.decode('ascii', 'replace')!r} holds a NUL")
        records[keyword.decode("utf-8", "surrogateescape")] = value
    if sparse:
        records["GNU.sparse.map"] = b",".join(sparse)
    return records

"""Tar blocks with any lie in them."""

from __future__ import annotations


def block(
    name: bytes = b"x",
    kind: bytes = b"0",
    *,
    size: int | bytes = 0,
    mode: int = 0o644,
    uid: int | bytes = 0,
    mtime: int | bytes = 0,
    link: bytes = b"",
    magic: bytes = b"ustar\00000",
    device: bytes = b"",
    prefix: bytes = b"",
    tail: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    """Return a header block; numbers given as bytes go in as they are."""

    def number(value: int | bytes, width: int) -> bytes:
        return value if isinstance(value, bytes) else b"%0*o\0" % (width - 1, value)

    head = name.ljust(100, b"\0")[:100] + number(mode, 8) + number(uid, 8) + number(0, 8)
    head += number(size, 12) + number(mtime, 12)
    rest = kind + link.ljust(100, b"\0")[:100] + magic + bytes(64) + device.ljust(16, b"\0") + prefix
    rest = rest.ljust(356 - len(tail), b"\0") + tail
    total = checksum or b"%06o\0 " % (sum(head) + sum(rest) + 256)
    made = head + total + rest
    assert len(made) == 512
    return made


def padded(data: bytes) -> bytes:
    """Return ``data`` up to a full block."""
    return data + bytes(-len(data) % 512)


def record(key: bytes, value: bytes) -> bytes:
    """Return a PAX record."""
    length = len(key) + len(value) + 3
    while len(b"%d" % length) + len(key) + len(value) + 3 != length:
        length = len(b"%d" % length) + len(key) + len(value) + 3
    return b"%d %s=%s\n" % (length, key, value)


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    """Return an extended header."""
    body = b"".join(record(*one) for one in records)
    return block(b"PaxHeaders/x", kind, size=len(body)) + padded(body)


def long(text: bytes, kind: bytes = b"L") -> bytes:
    """Return a GNU long name."""
    return block(b"././@LongLink", kind, size=len(text) + 1) + padded(text + b"\0")


def base256(value: int, width: int) -> bytes:
    """Return a GNU binary number."""
    raw = bytearray((value & ((1 << 8 * width) - 1)).to_bytes(width, "big"))
    raw[0] |= 0x80
    return bytes(raw)


END = bytes(1024)

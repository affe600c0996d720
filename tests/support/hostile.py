"""Tars that mean harm, made here: each names a victim outside, and claims, loops or bloats where a tar can."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support.images import directory, file, hardlink, layer, member, symlink

Maker = Callable[[Path], bytes]
"""Makes a tar that attacks the directory it is given."""

UP = "../" * 40


def _header(name: str, kind: bytes = tarfile.REGTYPE, size: bytes = b"%011o\0" % 0, **fields: object) -> bytes:
    """Return one header block with a size field of any 12 bytes, and a right checksum."""
    info = member(name, kind, **fields)
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = size
    return _summed(block)


def _summed(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    return bytes(block)


def _base256(value: int) -> bytes:
    return b"\x80" + value.to_bytes(11, "big") if value >= 0 else b"\xff" + (value + (1 << 88)).to_bytes(11, "big")


def _pax(record: bytes) -> bytes:
    """Return a PAX header with exactly these bytes as its records."""
    padded = record + bytes(-len(record) % 512)
    return _header("PaxHeaders/x", tarfile.XHDTYPE, b"%011o\0" % len(record)) + padded


def _record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n".encode()
    length = len(body)
    while length != len(str(length)) + len(body):
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def _sparse(real: int) -> bytes:
    """Return an old GNU sparse file of ``real`` bytes that stores none."""
    block = bytearray(_header("sparse", tarfile.GNUTYPE_SPARSE))
    block[386:398], block[398:410] = _base256(real), b"%011o\0" % 0  # one run of nothing at the end
    block[483:495] = _base256(real)
    return _summed(block) + bytes(1024)


def _deep(_: Path) -> bytes:
    return layer(file("/".join(["d"] * 1200) + "/f", b"x"))


def _loops(_: Path) -> bytes:
    return layer(symlink("one", "two"), symlink("two", "one"), file("one/x", b"x"), hardlink("h", "one"))


def _whiteouts(outside: Path) -> bytes:
    return layer(symlink("d", str(outside)), file("d/.wh.canary"), file("d/.wh..wh..opq"), file("d/.wh.kept"))


def _devices(_: Path) -> bytes:
    disk = member("dev/disk", tarfile.BLKTYPE, 0o666, devmajor=8, devminor=0)
    memory = member("dev/memory", tarfile.CHRTYPE, 0o666, devmajor=1, devminor=1)
    whiteout = member("hidden", tarfile.CHRTYPE, 0o000, devmajor=0, devminor=0)
    return layer(directory("dev"), disk, memory, whiteout, member("fifo", tarfile.FIFOTYPE))


def _overlay(_: Path) -> bytes:
    fields = {"SCHILY.xattr.trusted.overlay.redirect": UP + "etc", "SCHILY.xattr.trusted.overlay.opaque": "y"}
    fields |= {"SCHILY.xattr.user.overlay.redirect": UP + "etc", "SCHILY.xattr.user.overlay.whiteout": "y"}
    return layer(directory("usr", pax_headers=fields), file("usr/f", b"x", pax_headers=fields))


ATTACKS: Mapping[str, Maker] = {
    "dotdot": lambda outside: layer(file(f"{UP}{outside}/made", b"x")),
    "dotdot-inside": lambda _: layer(directory("a"), file("a/../../made", b"x")),
    "dotdot-whiteout": lambda outside: layer(file(f"{UP}{outside}/.wh.canary")),
    "absolute": lambda outside: layer(directory(str(outside)), file(f"{outside}/made", b"x")),
    "through-symlink": lambda outside: layer(symlink("d", str(outside)), file("d/made", b"x")),
    "through-relative-symlink": lambda outside: layer(symlink("d", f"{UP}{outside}"), file("d/made", b"x")),
    "through-two-symlinks": lambda outside: layer(
        symlink("a", "/"), symlink("b", f"a/..{outside}"), directory("b/x"), file("b/x/made", b"x")
    ),
    "over-a-symlink": lambda outside: layer(symlink("c", f"{outside}/canary"), file("c", b"overwritten")),
    "directory-over-a-symlink": lambda outside: layer(symlink("d", str(outside)), directory("d", 0o777, uid=7)),
    "hardlink-absolute": lambda outside: layer(hardlink("h", f"{outside}/canary"), file("h", b"overwritten")),
    "hardlink-dotdot": lambda outside: layer(hardlink("h", f"{UP}{outside}/canary"), file("h", b"overwritten")),
    "hardlink-through-symlink": lambda outside: layer(
        symlink("d", str(outside)), hardlink("h", "d/canary"), file("h", b"overwritten")
    ),
    "hardlink-to-symlink": lambda outside: layer(
        symlink("s", f"{outside}/canary"), hardlink("h", "s"), file("h", b"overwritten")
    ),
    "hardlink-circle": lambda _: layer(hardlink("a", "b"), hardlink("b", "a")),
    "whiteout-dot": lambda _: layer(file("d/.wh..")),
    "whiteout-dotdot": lambda _: layer(file("d/.wh...")),
    "whiteout-of-nothing": lambda _: layer(file("d/.wh.")),
    "whiteout-of-root": lambda _: layer(file(".wh..")),
    "whiteout-as-directory": lambda _: layer(file("d/.wh.kept/x")),
    "whiteouts-through-symlink": _whiteouts,
    "devices": _devices,
    "overlay-attributes": _overlay,
    "symlink-loops": _loops,
    "deep": _deep,
    "size-8-EiB": lambda _: _header("f", size=_base256(1 << 63)) + bytes(2048),
    "size-just-below-8-EiB": lambda _: _header("f", size=_base256((1 << 63) - 1)) + bytes(2048),
    "size-negative": lambda _: _header("f", size=_base256(-512)) + bytes(2048),
    "size-of-extension": lambda _: _header("f", tarfile.XHDTYPE, _base256(1 << 62)) + bytes(2048),
    "size-by-pax": lambda _: _pax(_record("size", str(1 << 63))) + _header("f") + bytes(1024),
    "size-of-symlink": lambda _: _header("f", tarfile.SYMTYPE, _base256(1 << 62), linkname="x") + bytes(1024),
    "pax-over-1-MiB": lambda _: _pax(_record("comment", "x" * (3 << 19))) + _header("f") + bytes(1024),
    "pax-length-lies": lambda _: _pax(b"99999999999999999999 path=x\n") + _header("f") + bytes(1024),
    "pax-path-with-nul": lambda _: _pax(_record("path", "a\0b")) + _header("f") + bytes(1024),
    "long-name-over-1-MiB": lambda _: (
        _header("././@LongLink", tarfile.GNUTYPE_LONGNAME, b"%011o\0" % (2 << 20)) + b"n" * (2 << 20) + _header("f")
    ),
    "sparse-8-EiB": lambda _: _sparse((1 << 63) - 1),
    "sparse-16-TiB": lambda _: _sparse(1 << 44),
    "long-component": lambda _: layer(file("n" * 300, b"x")),
    "truncated": lambda _: layer(file("f", b"x" * 5000))[:3000],
    "bad-checksum": lambda _: layer(file("f", b"x")).replace(b"ustar", b"ustbr", 1),
    "unknown-type": lambda _: _header("f", b"\xff") + bytes(1024),
    "huge-owner": lambda _: layer(file("f", b"x", uid=(1 << 40), gid=-5)),
}

HARMLESS = frozenset(
    {
        "absolute",
        "through-symlink",
        "through-relative-symlink",
        "through-two-symlinks",
        "over-a-symlink",
        "directory-over-a-symlink",
        "hardlink-to-symlink",
        "whiteouts-through-symlink",
        "devices",
        "overlay-attributes",
    }
)
"""Attacks that every extractor takes, and that stay inside the tree they are extracted to."""

PLACES = frozenset({"absolute", "through-symlink", "through-relative-symlink", "through-two-symlinks"})
"""Attacks that write to the victim's path, which is a path inside the tree then."""


def bomb(size: int) -> bytes:
    """Return a gzipped tar that holds one file of ``size`` zeros: a thousandth as large, or ten thousandth."""
    target = io.BytesIO()
    with gzip.GzipFile(fileobj=target, mode="wb", mtime=0, compresslevel=6) as packed:
        packed.write(_header("zeros", size=b"%011o\0" % size))
        piece = bytes(1 << 20)
        for _ in range(size >> 20):
            packed.write(piece)
        packed.write(bytes(1024))
    return target.getvalue()

"""Tables of contents of strangers: what a layer can hold comes out as our own writer has it, all else is refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import BuilderError
from builder.image.digest import DiffID, Digest
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.pack import index_layer
from builder.rootfs.retell import retell
from builder.rootfs.tarreader import Member
from builder.rootfs.toc import Toc
from builder.rootfs.tocformat import CHECKED
from builder.rootfs.tocwriter import TocWriter
from tests.support.images import directory, file, hardlink, layer, symlink

DIFF_ID = DiffID(Digest.of(b"layer"))
HONEST = layer(
    directory("etc"),
    file("etc/passwd", "root:x:0:0::/:\n"),
    file("a/b/c", "x" * 100_000),
    hardlink("a/d", "a/b/c"),
    symlink("a/l", "../etc"),
    file(".wh.gone", ""),
    file("a/.wh..wh..opq", ""),
    file("etc/passwd", "again:x:1:1::/:\n"),
)


def honest() -> bytes:
    written = io.BytesIO()
    index_layer(io.BytesIO(HONEST), written)
    return written.getvalue()


def told_anew(raw: bytes) -> Toc:
    written = io.BytesIO()
    retell(Toc(raw), written)
    return Toc(written.getvalue())


def sealed(raw: bytes) -> bytes:
    """Return a table whose check fits its bytes, as a stranger would write it."""
    return raw[:-CHECKED] + xxhash.xxh3_64_intdigest(raw[:-CHECKED]).to_bytes(8, "little") + raw[-8:]


def of(*entries: Entry) -> bytes:
    written = io.BytesIO()
    writer = TocWriter(written)
    for number, entry in enumerate(entries):
        writer.add(Member(entry, 512 * (number + 1)))
    writer.finish(DIFF_ID, 10_240)
    return written.getvalue()


def test_what_a_layer_holds_stays_as_it_is() -> None:
    raw = honest()
    again = told_anew(raw)
    assert again.facts() == Toc(raw).facts()
    assert again.members() is None
    assert again.small_file("etc/passwd") == b"again:x:1:1::/:\n"
    assert [one.entry for one in again.subtree("a")] == [one.entry for one in Toc(raw).subtree("a")]


FILE: Any = {"kind": Kind.FILE, "mode": 0o644}


@pytest.mark.parametrize(
    "entry",
    [
        Entry(path="../x", **FILE),
        Entry(path="a/../../x", **FILE),
        Entry(path="/x", **FILE),
        Entry(path="a//b", **FILE),
        Entry(path="./a", **FILE),
        Entry(path="", **FILE),
        Entry(path="a/" * 300 + "b", **FILE),
        Entry(path="n" * 300, **FILE),
        Entry(path="a/.wh.b", **FILE),
        Entry(path="a", kind=Kind.HARDLINK, target="../etc/shadow"),
        Entry(path="a", kind=Kind.HARDLINK),
        Entry(path="a", kind=Kind.SYMLINK),
        Entry(path="a", kind=Kind.SYMLINK, target="x\0y"),
        Entry(path="a", kind=Kind.SYMLINK, target="x" * 5000),
        Entry(path="a", kind=Kind.FILE, mode=0o10644),
        Entry(path="a", kind=Kind.FILE, uid=(1 << 32) - 1),
        Entry(path="a", kind=Kind.FILE, size=1 << 50),
        Entry(path="a", kind=Kind.FILE, xattrs={f"user.{n}": b"" for n in range(300)}),
        Entry(path="a", kind=Kind.FILE, xattrs={"": b""}),
        Entry(path="a", kind=Kind.FILE, xattrs={"user.a": bytes(70_000)}),
    ],
    ids=lambda entry: f"{entry.kind} {entry.path[:12]} {entry.target[:12]}",
)
def test_what_no_layer_can_hold_is_refused(entry: Entry) -> None:
    with pytest.raises(BuilderError):
        told_anew(of(Entry(path="ok", kind=Kind.DIRECTORY), entry))


def test_an_index_that_does_not_fit_its_entries_comes_out_as_another() -> None:
    raw = bytearray(of(Entry(path="a", **FILE), Entry(path="b", **FILE)))
    toc = Toc(bytes(raw))
    assert toc.lookup("b") is not None
    # The index says that there is no b: its kind becomes that of a directory nobody named.
    at = raw.rindex(b"f\0", 0, raw.rindex(b"pbtoc"))
    raw[at] = ord("i")
    lie = sealed(bytes(raw))
    assert Toc(lie).facts() != toc.facts()
    assert told_anew(lie).facts() == toc.facts()


@given(at=st.integers(0, 10_000), value=st.integers(0, 255), length=st.integers(1, 8))
def test_no_damage_does_more_than_be_refused(at: int, value: int, length: int) -> None:
    raw = bytearray(honest())
    at %= len(raw) - CHECKED
    raw[at : at + length] = bytes([value]) * len(raw[at : at + length])
    try:
        again = told_anew(sealed(bytes(raw)))
    except BuilderError:
        return
    for member in again.subtree(""):
        assert ".." not in Path(member.entry.path).parts

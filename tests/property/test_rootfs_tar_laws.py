"""Writing and reading tars are each other's inverse, and no bytes make the reader do anything but refuse."""

from __future__ import annotations

import io
import tarfile

from hypothesis import example, given, settings
from hypothesis import strategies as st

from builder.errors import ImageError
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.pack import index_layer
from builder.rootfs.tarreader import read_members
from builder.rootfs.tarwriter import END, header, padding
from tests.support.rawtar import block, padded, pax

NAME = (
    st.binary(min_size=1, max_size=255)
    .map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
    .filter(lambda raw: raw not in (b".", b"..") and not raw.startswith(b".wh."))
)
PATH = st.lists(NAME, min_size=1, max_size=4).map(lambda parts: b"/".join(parts).decode("utf-8", "surrogateescape"))
TARGET = st.binary(min_size=1, max_size=300).filter(lambda raw: b"\0" not in raw)
XATTRS = st.dictionaries(
    st.text(st.characters(exclude_characters="=\0", exclude_categories=("Cs",)), min_size=1, max_size=40),
    st.binary(max_size=300),
    max_size=3,
)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from([kind for kind in Kind if kind is not Kind.OPAQUE]))
    deletion = kind is Kind.WHITEOUT
    device = kind in (Kind.CHAR, Kind.BLOCK)
    target = ""
    if kind is Kind.SYMLINK:
        target = draw(TARGET).decode("utf-8", "surrogateescape")
    elif kind is Kind.HARDLINK:
        target = draw(PATH)
    return Entry(
        path=draw(PATH),
        kind=kind,
        mode=0 if deletion else draw(st.integers(0, 0o7777)),
        uid=0 if deletion else draw(st.integers(0, 4294967294)),
        gid=0 if deletion else draw(st.integers(0, 4294967294)),
        size=draw(st.integers(0, 2000)) if kind is Kind.FILE else 0,
        mtime=draw(st.integers(-(1 << 50), 1 << 50)),
        target=target,
        major=draw(st.integers(0, 4095)) if device else 0,
        minor=draw(st.integers(0, 1 << 20)) if device else 0,
        xattrs={} if deletion else draw(XATTRS),
    )


def _tar(made: list[Entry]) -> bytes:
    return b"".join(header(one) + b"#" * one.size + padding(one.size) for one in made) + END


@settings(deadline=None)
@given(st.lists(entries(), max_size=5))
def test_reading_gives_back_what_was_written(made: list[Entry]) -> None:
    data = _tar(made)
    got = list(read_members(io.BytesIO(data)))
    assert [member.entry for member, _ in got] == made
    assert [member.entry.xattrs for member, _ in got] == [one.xattrs for one in made]
    for member, _ in got:
        assert data[member.offset : member.offset + member.entry.size] == b"#" * member.entry.size


@settings(deadline=None)
@given(st.lists(entries(), max_size=5))
def test_python_reads_the_same(made: list[Entry]) -> None:
    with tarfile.open(fileobj=io.BytesIO(_tar(made)), errorlevel=2) as read:
        infos = list(read)
    assert [info.size for info in infos] == [one.size for one in made]
    for info, one in zip(infos, made, strict=True):
        if one.kind is not Kind.WHITEOUT:
            # tarfile strips slashes from directory names, also those that are part of an odd symlink's text.
            assert info.name == one.path
            assert (info.uid, info.gid, info.mtime, info.mode) == (one.uid, one.gid, one.mtime, one.mode)


def _read(data: bytes) -> None:
    for whiteouts in (True, False):
        try:
            for member, contents in read_members(io.BytesIO(data), whiteouts=whiteouts):
                assert ".." not in member.entry.path.split("/")
                assert not member.entry.path.startswith("/")
                contents.read(100)
        except ImageError:
            pass
    try:
        index_layer(io.BytesIO(data), io.BytesIO())
    except ImageError:
        pass


VALID = b"".join(
    (
        pax((b"path", b"p" * 120), (b"mtime", b"1.5"), (b"SCHILY.xattr.user.a", b"b")),
        block(b"f", size=10),
        padded(b"0123456789"),
        block(b"dir/", b"5"),
        block(b"dir/l", b"2", link=b"../x"),
        pax((b"GNU.sparse.map", b"0,10,500,5"), (b"GNU.sparse.size", b"600")),
        block(b"s", size=15),
        padded(b"s" * 15),
        block(b"dir/h", b"1", link=b"f"),
        END,
    )
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.binary(min_size=1, max_size=12)), min_size=1, max_size=4))
@example([])
def test_a_damaged_tar_is_refused_or_harmless(damage: list[tuple[int, bytes]]) -> None:
    data = bytearray(VALID)
    for at, change in damage:
        data[at : at + len(change)] = change
    del data[len(VALID) :]
    for at in range(0, len(data), 512):  # checksums that fit, so that the damage gets past them
        header_block = data[at : at + 512]
        if header_block[257:262] == b"ustar":
            total = sum(header_block) - sum(header_block[148:156]) + 256
            data[at + 148 : at + 156] = b"%06o\0 " % total
    _read(bytes(data))


@given(st.binary(max_size=3000))
def test_any_bytes_are_refused_or_harmless(data: bytes) -> None:
    _read(data)


@settings(deadline=None)
@given(st.binary(max_size=600), st.sampled_from([b"x", b"L", b"K", b"g"]))
def test_any_extended_header_is_refused_or_harmless(body: bytes, kind: bytes) -> None:
    _read(block(b"h", kind, size=len(body)) + padded(body) + block(b"f", b"2", link=b"t") + END)

"""Tars of other writers, and tars no honest writer makes."""

from __future__ import annotations

import io
import tarfile

import pytest

from builder.rootfs.entry import Entry, Kind, LayerFormatError, UnsafePathError
from builder.rootfs.limits import MAX_DEPTH, MAX_EXTENSION, MAX_FILE_SIZE, MAX_XATTR_VALUE, MAX_XATTRS
from builder.rootfs.tarreader import Member, read_members
from tests.support.rawtar import END, base256, block, long, padded, pax, record


def read(data: bytes, *, whiteouts: bool = True) -> list[tuple[Entry, bytes]]:
    return [(member.entry, contents.read()) for member, contents in read_members(io.BytesIO(data), whiteouts=whiteouts)]


def one(data: bytes) -> Entry:
    [(entry, _)] = read(data + END)
    return entry


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b"a", "a"),
        (b"./a", "a"),
        (b"/a//b/./c", "a/b/c"),
        (b"///etc/passwd", "etc/passwd"),
        (b"a...", "a..."),
        (b"..a/b..", "..a/b.."),
        (b"caf\xc3\xa9", "café"),
        (b"\xff\xfe", "\udcff\udcfe"),
        (b"a\\b c\n", "a\\b c\n"),
    ],
)
def test_names_come_out_clean(name: bytes, path: str) -> None:
    assert one(block(name)).path == path
    assert one(pax((b"path", name)) + block(b"short")).path == path
    assert one(long(name) + block(b"short")).path == path


@pytest.mark.parametrize("name", [b"..", b"../x", b"a/../../x", b"/..", b"a/..", b"./../x", b"a/../b"])
@pytest.mark.parametrize("kind", [b"0", b"5", b"2", b"3"])
def test_names_that_climb_are_refused(name: bytes, kind: bytes) -> None:
    for data in (block(name, kind, link=b"t"), pax((b"path", name)) + block(b"x", kind, link=b"t")):
        with pytest.raises(UnsafePathError, match="points out of its tree"):
            read(data + END)


@pytest.mark.parametrize("target", [b"../etc/passwd", b"/../x", b"a/../../b"])
def test_hard_links_out_of_the_tree_are_refused(target: bytes) -> None:
    with pytest.raises(UnsafePathError, match="link target"):
        read(block(b"x", b"1", link=target) + END)
    with pytest.raises(UnsafePathError, match="link target"):
        read(pax((b"linkpath", target)) + block(b"x", b"1") + END)


def test_targets_of_links() -> None:
    assert one(block(b"x", b"1", link=b"/etc//./passwd")).target == "etc/passwd"
    assert one(block(b"x", b"2", link=b"../../../../up")).target == "../../../../up"
    assert one(block(b"x", b"2", link=b"/abs/")).target == "/abs/"
    assert one(long(b"t" * 300, b"K") + block(b"x", b"2", link=b"t")).target == "t" * 300
    for kind, link in ((b"1", b""), (b"2", b""), (b"1", b"/"), (b"1", b".")):
        with pytest.raises(LayerFormatError, match="has no target"):
            read(block(b"x", kind, link=link) + END)


def test_the_root_is_a_directory_or_nothing() -> None:
    assert one(block(b"./", b"5", mode=0o700)) == Entry(path="", kind=Kind.DIRECTORY, mode=0o700)
    for kind in (b"0", b"2", b"1", b"3"):
        with pytest.raises(LayerFormatError, match="without a name"):
            read(block(b"./", kind, link=b"t") + END)


@pytest.mark.parametrize(
    ("name", "kind", "path"),
    [
        (b".wh.x", Kind.WHITEOUT, "x"),
        (b"a/.wh.x", Kind.WHITEOUT, "a/x"),
        (b"a/.wh." + b"n" * 255, Kind.WHITEOUT, "a/" + "n" * 255),
        (b".wh..x", Kind.WHITEOUT, ".x"),
        (b"a/.wh..wh..opq", Kind.OPAQUE, "a"),
        (b".wh..wh..opq", Kind.OPAQUE, ""),
        (b"a/x.wh.y", Kind.FILE, "a/x.wh.y"),
    ],
)
def test_whiteouts(name: bytes, kind: Kind, path: str) -> None:
    entry = one(pax((b"path", name)) + block(b"x", size=0, mode=0o600, uid=7, mtime=9))
    assert (entry.kind, entry.path, entry.mtime) == (kind, path, 9)
    if kind is not Kind.FILE:
        assert (entry.mode, entry.uid) == (0, 0)
        plain = read(pax((b"path", name)) + block(b"x") + END, whiteouts=False) if len(name) < 250 else []
        assert all(entry.kind is Kind.FILE for entry, _ in plain)


@pytest.mark.parametrize("name", [b".wh..", b"a/.wh..", b".wh...", b"a/.wh..."])
def test_whiteouts_of_the_directory_itself_or_its_parent_are_refused(name: bytes) -> None:
    with pytest.raises(UnsafePathError):
        read(block(name) + END)


@pytest.mark.parametrize("name", [b".wh.", b"a/.wh.", b".wh.a/b", b"x/.wh.a/b"])
def test_names_that_only_look_like_whiteouts_are_refused(name: bytes) -> None:
    with pytest.raises(LayerFormatError, match="not a whiteout"):
        read(block(name) + END)


def test_what_aufs_kept_for_itself_is_left_out() -> None:
    names = (b".wh..wh.aufs", b".wh..wh.plnk", b".wh..wh.plnk/12.3", b"a/.wh..wh.orph")
    data = b"".join(block(name, size=3) + padded(b"abc") for name in names)
    assert [entry.path for entry, _ in read(data + block(b"kept") + END)] == ["kept"]


@pytest.mark.parametrize("size", [1 << 63, (1 << 63) - 1, (1 << 80), MAX_FILE_SIZE + 1, -1, -(1 << 63)])
def test_sizes_that_cannot_be(size: int) -> None:
    with pytest.raises(LayerFormatError, match="claims a size"):
        read(block(size=base256(size, 12)) + END)
    if size > 0 and len(str(size)) <= 20:
        with pytest.raises(LayerFormatError, match="claims a size"):
            read(pax((b"size", b"%d" % size)) + block() + END)


def test_a_size_of_many_digits_is_no_number() -> None:
    with pytest.raises(LayerFormatError, match="not a number"):
        read(pax((b"size", b"9" * 5000)) + block() + END)


def test_a_header_for_a_file_over_8_gib_is_understood() -> None:
    for data in (block(size=base256(9 << 30, 12)), pax((b"size", b"%d" % (9 << 30))) + block()):
        member, contents = next(iter(read_members(io.BytesIO(data + b"start"))))
        assert member.entry.size == 9 << 30
        assert contents.read(5) == b"start"
        with pytest.raises(LayerFormatError, match="ends in the middle"):
            contents.read(1)


def test_only_files_have_contents() -> None:
    data = b"".join(block(b"n", kind, size=1 << 30, link=b"t") for kind in (b"1", b"2", b"3", b"4", b"5", b"6"))
    assert [entry.size for entry, _ in read(data + END)] == [0] * 6


@pytest.mark.parametrize(("seconds", "mtime"), [(-1, -1), (1 << 34, 1 << 34), (-(1 << 40), -(1 << 40))])
def test_times_out_of_the_octal_range(seconds: int, mtime: int) -> None:
    assert one(block(mtime=base256(seconds, 12))).mtime == mtime
    assert one(pax((b"mtime", b"%d" % seconds)) + block(mtime=5)).mtime == mtime


@pytest.mark.parametrize(
    ("text", "mtime"), [(b"1.999999999", 1), (b"-1.5", -2), (b"-1.0", -1), (b"-0.000000001", -1), (b"0", 0), (b"7.", 7)]
)
def test_fractions_of_seconds_are_rounded_down(text: bytes, mtime: int) -> None:
    assert one(pax((b"mtime", text)) + block()).mtime == mtime


@pytest.mark.parametrize(
    "text",
    [b"x", b"1e9", b"--1", b"1.2.3", b".", b"-", b"99999999999999999999", b"1." + b"0" * 200, b"inf", b"+1", b"1_0"],
)
def test_times_that_are_none(text: bytes) -> None:
    with pytest.raises(LayerFormatError, match="time"):
        read(pax((b"mtime", text)) + block() + END)


def test_large_owners() -> None:
    assert one(block(uid=base256(4294967294, 8))).uid == 4294967294
    assert one(pax((b"uid", b"2097152"), (b"gid", b"4000000")) + block(uid=1)).gid == 4000000
    for data in (block(uid=base256(1 << 32, 8)), block(uid=base256(-1, 8)), pax((b"gid", b"4294967295")) + block()):
        with pytest.raises(LayerFormatError, match="owner"):
            read(data + END)
    with pytest.raises(LayerFormatError, match="not a number"):
        read(pax((b"uid", b"-1")) + block() + END)


@pytest.mark.parametrize(
    "number", [b"0000009\0", b"+000001\0", b"1_00000\0", b"0o17\0\0\0\0", b"zzzzzzzz", b"-1\0\0\0\0\0\0"]
)
def test_numbers_that_are_none(number: bytes) -> None:
    with pytest.raises(LayerFormatError, match="not a number"):
        read(block(uid=number) + END)


@pytest.mark.parametrize(
    "number", [b"     17 ", b"17\0\0\0\0\0\0", b"0000017\0", b"00000017", b"17 \0junk", b" 17\0    "]
)
def test_octal_numbers_of_many_writers(number: bytes) -> None:
    assert one(block(uid=number)).uid == 0o17


def test_devices() -> None:
    entry = one(block(b"null", b"3", device=b"0000001\x000000003\0", mode=0o666))
    assert (entry.kind, entry.major, entry.minor) == (Kind.CHAR, 1, 3)
    entry = one(block(b"sda", b"4", device=base256(259, 8) + base256(1 << 19, 8)))
    assert (entry.kind, entry.major, entry.minor) == (Kind.BLOCK, 259, 1 << 19)
    assert one(block(b"fifo", b"6")).kind is Kind.FIFO
    # A character device 0:0 of a tar is a device; only names make whiteouts there.
    assert one(block(b"zero", b"3", device=b"0000000\x000000000\0")).kind is Kind.CHAR
    for number in (-1, 1 << 33):
        with pytest.raises(LayerFormatError, match="device"):
            read(block(b"bad", b"3", device=base256(number, 8)) + END)


def test_long_names() -> None:
    name = b"/".join([b"n" * 90] * 20)
    assert one(long(name) + block()).path == name.decode()
    assert one(pax((b"path", name)) + block()).path == name.decode()
    assert one(block(b"name", prefix=b"p" * 155)).path == "p" * 155 + "/name"
    # GNU's own magic keeps times where POSIX has the prefix; star keeps them in its end.
    assert one(block(b"name", magic=b"ustar  \0", prefix=b"11111111111\0")).path == "name"
    assert (
        one(block(b"name", prefix=b"p" * 10, tail=b"00000000000\x0000000000000\0tar\0"[-28:])).path
        == "p" * 10 + "/name"
    )


@pytest.mark.parametrize(
    "name",
    [b"n" * 256, b"a/" * 2100 + b"x", b"/".join([b"d"] * (MAX_DEPTH + 1)), b"a\0b"],
    ids=["component", "path", "depth", "nul"],
)
def test_names_no_kernel_takes(name: bytes) -> None:
    with pytest.raises(LayerFormatError):
        read(pax((b"path", name)) + block() + END)


def test_pax_records_over_the_limit() -> None:
    with pytest.raises(LayerFormatError, match="over the limit"):
        read(block(b"h", b"x", size=MAX_EXTENSION + 1) + END)
    with pytest.raises(LayerFormatError, match="over the limit"):
        read(block(b"h", b"L", size=MAX_EXTENSION + 1) + END)
    with pytest.raises(LayerFormatError, match="over the limit"):
        read(block(b"h", b"g", size=base256((1 << 63) - 1, 12)) + END)
    body = record(b"comment", b"c" * (MAX_EXTENSION - 20))
    assert one(block(b"h", b"x", size=len(body)) + padded(body) + block(b"fits")).path == "fits"


@pytest.mark.parametrize(
    "body",
    [
        b"x",
        b"10",
        b" path=x\n",
        b"0 path=x\n",
        b"3 a=b\n",
        b"99 path=x\n",
        b"9 path=xy",
        b"8 pathxy\n",
        b"6 =xy\n",
        b"-9 path=x\n",
        b"9999999999999999999999 path=x\n",
        record(b"path", b"a\0b"),
        record(b"linkpath", b"a\0b"),
        record(b"pa\0th", b"ab"),
        record(b"path", b"ok") + b"\0\0",
    ],
)
def test_malformed_pax_headers(body: bytes) -> None:
    with pytest.raises(LayerFormatError):
        read(block(b"h", b"x", size=len(body)) + padded(body) + block() + END)


def test_empty_pax_values_take_back_what_was_said() -> None:
    assert one(pax((b"path", b""), (b"uid", b""), (b"mtime", b""), (b"size", b"")) + block(b"own", uid=3)).path == "own"


def test_global_headers_and_volume_labels_are_passed_over() -> None:
    data = pax((b"path", b"evil"), (b"comment", b"abc"), kind=b"g") + block(b"label", b"V") + block(b"a")
    assert one(data).path == "a"
    # One between an extended header and its file changes nothing.
    assert one(pax((b"path", b"b")) + pax((b"comment", b"c"), kind=b"g") + block(b"a")).path == "b"


def test_binary_xattrs() -> None:
    data = pax((b"SCHILY.xattr.security.capability", b"\1\0\0\2\0=\n"), (b"SCHILY.xattr.user.empty", b"")) + block()
    assert one(data).xattrs == {"security.capability": b"\1\0\0\2\0=\n", "user.empty": b""}


@pytest.mark.parametrize(
    "records",
    [
        [(b"SCHILY.xattr.user.big", b"v" * (MAX_XATTR_VALUE + 1))],
        [(b"SCHILY.xattr." + b"n" * 256, b"v")],
        [(b"SCHILY.xattr.", b"v")],
        [(b"SCHILY.xattr.user.%d" % i, b"") for i in range(MAX_XATTRS + 1)],
    ],
    ids=["value", "name", "empty", "many"],
)
def test_xattrs_beyond_the_kernels_limits(records: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(LayerFormatError, match="extended attribute"):
        read(pax(*records) + block() + END)


def test_ends() -> None:
    assert read(b"") == []
    assert read(END) == []
    assert read(bytes(512)) == []
    assert len(read(block(b"a"))) == 1
    assert len(read(block(b"a") + END + b"anything may follow")) == 1
    with pytest.raises(LayerFormatError, match="lone zero block"):
        read(block(b"a") + bytes(512) + block(b"b"))
    for data in (
        block()[:100],
        block(size=600) + bytes(500),
        block(size=1) + b"x",
        pax((b"path", b"a")),
        long(b"a")[:600],
    ):
        with pytest.raises(LayerFormatError, match="ends"):
            read(data)


def test_damage_is_noticed() -> None:
    for data in (b"not a tar".ljust(512, b"!"), b"<html>".ljust(2048), block(checksum=b"000000\0 ")):
        with pytest.raises(LayerFormatError, match="checksum"):
            read(data)
    signed = bytearray(block(b"\xff\xfe"))
    signed[148:156] = b"%06o\0 " % (sum(b - 256 if b > 127 else b for b in signed[:148] + signed[156:]) + 256)
    assert one(bytes(signed)).path == "\udcff\udcfe"
    for kind in (b"M", b"N", b"A", b"\xff"):
        with pytest.raises(LayerFormatError, match="unknown type"):
            read(block(b"a", kind) + END)


def test_v7_tars() -> None:
    assert one(block(b"dir/", b"\0", magic=bytes(8))).kind is Kind.DIRECTORY
    assert one(block(b"file", b"\0", magic=bytes(8))).kind is Kind.FILE
    assert one(block(b"file", b"7")).kind is Kind.FILE


def test_contents_left_unread_are_skipped_and_short_reads_are_fine() -> None:
    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 7) if size and size > 0 else size)

    data = block(b"a", size=1000) + padded(b"a" * 1000) + block(b"b", size=513) + padded(b"b" * 513) + END
    assert [member.entry.path for member, _ in read_members(Trickle(data))] == ["a", "b"]
    found = [(member.offset, contents.read(3)) for member, contents in read_members(Trickle(data))]
    assert found == [(512, b"aaa"), (512 + 1024 + 512, b"bbb")]
    assert read(data)[1][1] == b"b" * 513


def test_a_readers_contents_end_where_the_file_does() -> None:
    [(_, contents)] = list(read_members(io.BytesIO(block(b"a", size=3) + padded(b"abc"))))
    assert contents.read() == b""


# Other writers.


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_pythons_tars(form: int) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        for name, kind in (("d", tarfile.DIRTYPE), ("d/f", tarfile.REGTYPE), ("d/l", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.mtime, info.uid = kind, 0o640, 12345, 99
            info.linkname = "f" if kind == tarfile.SYMTYPE else ""
            info.size = 700 if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"z" * 700))
        if form != tarfile.USTAR_FORMAT:
            tar.addfile(tarfile.TarInfo("é" * 120 + "/" + "y" * 200))
    entries = read(stream.getvalue())
    assert [(entry.path, entry.kind) for entry, _ in entries[:3]] == [
        ("d", Kind.DIRECTORY),
        ("d/f", Kind.FILE),
        ("d/l", Kind.SYMLINK),
    ]
    assert entries[1] == (Entry(path="d/f", kind=Kind.FILE, mode=0o640, uid=99, size=700, mtime=12345), b"z" * 700)
    assert form == tarfile.USTAR_FORMAT or entries[3][0].path == "é" * 120 + "/" + "y" * 200


def test_a_member_says_where_its_contents_are() -> None:
    data = pax((b"comment", b"x")) + block(b"f", size=4) + padded(b"data") + END
    [(member, _)] = list(read_members(io.BytesIO(data)))
    assert member == Member(Entry(path="f", kind=Kind.FILE, mode=0o644, size=4), member.offset)
    assert data[member.offset : member.offset + 4] == b"data"


def test_directories_of_incremental_archives_are_followed_by_names() -> None:
    data = block(b"d/", b"D", size=7, mode=0o755) + padded(b"Yf\0Nx\0\0") + block(b"d/f") + END
    members = [(member.entry, member.offset) for member, _ in read_members(io.BytesIO(data))]
    assert members == [
        (Entry(path="d", kind=Kind.DIRECTORY, mode=0o755), 512),
        (Entry(path="d/f", kind=Kind.FILE, mode=0o644), 1536),
    ]

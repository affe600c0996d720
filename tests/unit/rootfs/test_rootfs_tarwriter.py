"""Our tars: bytes that never change, and what other readers make of them."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile

import pytest

from builder.rootfs.entry import Entry, Kind, LayerFormatError
from builder.rootfs.tarreader import read_members
from builder.rootfs.tarwriter import END, header, padding
from tests.support.need import need_tool

ENTRIES = (
    Entry(path="", kind=Kind.DIRECTORY, mode=0o755),
    Entry(path="bin", kind=Kind.DIRECTORY, mode=0o1777, mtime=1),
    Entry(path="bin/su", kind=Kind.FILE, mode=0o4755, size=5, mtime=1700000000, uid=1, gid=2),
    Entry(path="bin/ln", kind=Kind.HARDLINK, mode=0o4755, target="bin/su"),
    Entry(path="lib", kind=Kind.SYMLINK, mode=0o777, target="../../usr/lib"),
    Entry(path="n" * 100, kind=Kind.FILE),
    Entry(path="n" * 101, kind=Kind.FILE),
    Entry(path="d" * 99, kind=Kind.DIRECTORY),
    Entry(path="d" * 100, kind=Kind.DIRECTORY),
    Entry(path="deep/" * 60 + "file", kind=Kind.FILE),
    Entry(path="long", kind=Kind.SYMLINK, target="t" * 101),
    Entry(path="longer", kind=Kind.HARDLINK, target="deep/" * 60 + "file"),
    Entry(path="café", kind=Kind.SYMLINK, target="naïve"),
    Entry(path="raw\udcff\udc80", kind=Kind.FILE, mode=0o600),
    Entry(path="big-owner", kind=Kind.FILE, uid=2097152, gid=4294967294),
    Entry(path="old", kind=Kind.FILE, mtime=-1),
    Entry(path="far", kind=Kind.FILE, mtime=1 << 40),
    Entry(path="caps", kind=Kind.FILE, xattrs={"security.capability": b"\x01\0\0\x02\0\xff=\n", "user.z": b""}),
    Entry(path="null", kind=Kind.CHAR, mode=0o666, major=1, minor=3),
    Entry(path="disk", kind=Kind.BLOCK, mode=0o660, major=259, minor=1 << 19),
    Entry(path="fifo", kind=Kind.FIFO),
    Entry(path="bin/gone", kind=Kind.WHITEOUT, mode=0, mtime=5),
    Entry(path="bin", kind=Kind.OPAQUE, mode=0),
    Entry(path="", kind=Kind.OPAQUE, mode=0),
    Entry(path="g" * 255, kind=Kind.WHITEOUT, mode=0),
)


def tar(*entries: Entry) -> bytes:
    return b"".join(header(entry) + b"#" * entry.size + padding(entry.size) for entry in entries) + END


def test_the_bytes_of_a_tar_never_change() -> None:
    # A change here changes every DiffID there is: it needs a new compatibility level.
    assert (
        hashlib.sha256(tar(*ENTRIES)).hexdigest() == "4f09ccc9288aff8e1e1771fa340e0d87c0925ba7cf7eaa026c0881a5dbe2f997"
    )


def test_a_plain_header_field_by_field() -> None:
    made = header(Entry(path="a/b", kind=Kind.FILE, mode=0o644, uid=1, gid=2, size=3, mtime=4))
    assert made[:100] == b"a/b".ljust(100, b"\0")
    assert made[100:148] == b"0000644\x000000001\x000000002\x0000000000003\x0000000000004\0"
    assert made[148:156] == b"%06o\0 " % (sum(made) - sum(made[148:156]) + 256)
    assert made[156:157] == b"0"
    assert made[257:265] == b"ustar\x0000"
    assert made[157:257] + made[265:] == bytes(100 + 247)
    assert len(made) == 512


def test_an_extended_header_is_named_by_its_contents() -> None:
    first = header(Entry(path="é", kind=Kind.FILE))
    assert first[:100].rstrip(b"\0") == b"PaxHeaders/" + hashlib.sha256(b"11 path=\xc3\xa9\n").hexdigest()[:32].encode()
    assert first[156:157] == b"x"
    assert first[512:1024] == b"11 path=\xc3\xa9\n".ljust(512, b"\0")


def test_records_are_sorted_and_count_their_own_length() -> None:
    made = header(Entry(path="p" * 110, kind=Kind.FILE, mtime=-5, xattrs={"user.b": b"2", "user.a": b"1"}))
    body = made[512:1024].rstrip(b"\0")
    assert body == (b"25 SCHILY.xattr.user.a=1\n25 SCHILY.xattr.user.b=2\n12 mtime=-5\n120 path=" + b"p" * 110 + b"\n")


@pytest.mark.parametrize("length", range(101, 140))
def test_lengths_around_a_new_digit(length: int) -> None:
    assert [m.entry.path for m, _ in read_members(io.BytesIO(tar(Entry(path="n" * length, kind=Kind.FILE))))] == [
        "n" * length
    ]


def test_the_size_of_a_huge_file_moves_to_the_extended_header() -> None:
    assert header(Entry(path="f", kind=Kind.FILE, size=(8 << 30) - 1))[124:136] == b"77777777777\0"
    made = header(Entry(path="f", kind=Kind.FILE, size=8 << 30))
    assert b"19 size=8589934592\n" in made
    member, _ = next(iter(read_members(io.BytesIO(made))))
    assert member.entry.size == 8 << 30


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Entry(path="a/" + "n" * 256, kind=Kind.FILE), "longer than 255 bytes"),
        (Entry(path="a/" * 256 + "f", kind=Kind.FILE), "more than 256 directories deep"),
        (Entry(path="n" * 200 + ("/" + "n" * 200) * 20, kind=Kind.FILE), "too long"),
        (Entry(path="l", kind=Kind.SYMLINK, target="t" * 4097), "too long"),
        (Entry(path="f", kind=Kind.FILE, size=(1 << 40) + 1), "at most"),
        (Entry(path="f", kind=Kind.FILE, xattrs={f"user.{i}": bytes(1 << 16) for i in range(16)}), "attributes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nothing_is_written_that_cannot_be_read_back(entry: Entry, message: str) -> None:
    with pytest.raises(LayerFormatError, match=message):
        header(entry)


def test_the_longest_names_are_read_back() -> None:
    entries = (
        Entry(path="a/" * 255 + "f", kind=Kind.FILE),
        Entry(path="d/" + "n" * 255, kind=Kind.DIRECTORY),
        Entry(path="w/" + "n" * 255, kind=Kind.WHITEOUT, mode=0),
        Entry(path=("n" * 199 + "/") * 20 + "n" * 95, kind=Kind.DIRECTORY),
        Entry(path="l", kind=Kind.SYMLINK, target="t" * 4096),
    )
    assert [member.entry for member, _ in read_members(io.BytesIO(tar(*entries)))] == list(entries)


def test_padding() -> None:
    assert [len(padding(size)) for size in (0, 1, 511, 512, 513)] == [0, 511, 1, 0, 511]
    assert not any(END)
    assert len(END) == 1024


def test_reading_our_tar_gives_the_entries_back() -> None:
    got = [member.entry for member, _ in read_members(io.BytesIO(tar(*ENTRIES)))]
    assert got == list(ENTRIES)
    assert [entry.xattrs for entry in got] == [entry.xattrs for entry in ENTRIES]


def test_python_reads_our_tar() -> None:
    types = {
        Kind.FILE: tarfile.REGTYPE,
        Kind.DIRECTORY: tarfile.DIRTYPE,
        Kind.SYMLINK: tarfile.SYMTYPE,
        Kind.HARDLINK: tarfile.LNKTYPE,
        Kind.CHAR: tarfile.CHRTYPE,
        Kind.BLOCK: tarfile.BLKTYPE,
        Kind.FIFO: tarfile.FIFOTYPE,
    }
    entries = [entry for entry in ENTRIES if entry.kind in types and entry.path]
    with tarfile.open(fileobj=io.BytesIO(tar(*entries)), errorlevel=2) as read:
        for entry, info in zip(entries, read, strict=True):
            assert info.name == entry.path
            assert info.type == types[entry.kind]
            assert (info.mode, info.uid, info.gid, info.size) == (entry.mode, entry.uid, entry.gid, entry.size)
            assert (info.mtime, info.linkname) == (entry.mtime, entry.target)
            assert (info.devmajor, info.devminor) == (entry.major, entry.minor)
            assert (info.uname, info.gname) == ("", "")


def test_gnu_tar_lists_our_tar() -> None:
    command = [need_tool("tar"), "--list", "--numeric-owner", "--quoting-style=literal", "-f", "-"]
    done = subprocess.run(command, input=tar(*ENTRIES), capture_output=True, check=True, env={"LC_ALL": "C"})
    # It takes names as raw bytes anyway, and says that it does not know the record that says so.
    assert all(b"hdrcharset" in line for line in done.stderr.splitlines())
    names = done.stdout.split(b"\n")[:-1]
    assert len(names) == len(ENTRIES)
    slash = {Kind.DIRECTORY: "/"}
    plain = [entry for entry in ENTRIES if entry.kind not in (Kind.WHITEOUT, Kind.OPAQUE)]
    expected = [(entry.path or ".") + slash.get(entry.kind, "") for entry in plain]
    assert names[: len(plain)] == [name.encode("utf-8", "surrogateescape") for name in expected]
    assert names[len(plain) :] == [b"bin/.wh.gone", b"bin/.wh..wh..opq", b".wh..wh..opq", b".wh." + b"g" * 255]


@pytest.mark.parametrize(
    "entry",
    [
        Entry(path="", kind=Kind.FILE),
        Entry(path="a\0b", kind=Kind.FILE),
        Entry(path="l", kind=Kind.SYMLINK),
        Entry(path="l", kind=Kind.SYMLINK, target="a\0b"),
        Entry(path="d", kind=Kind.CHAR, major=1 << 21),
        Entry(path="d", kind=Kind.BLOCK, minor=-1),
        Entry(path="x", kind=Kind.FILE, xattrs={"user.a=b": b""}),
        Entry(path="x", kind=Kind.FILE, xattrs={"user.a\0b": b""}),
        Entry(path="x", kind=Kind.FILE, uid=-1),
        Entry(path="x", kind=Kind.FILE, size=-1),
    ],
)
def test_entries_no_tar_can_hold(entry: Entry) -> None:
    with pytest.raises(LayerFormatError):
        header(entry)

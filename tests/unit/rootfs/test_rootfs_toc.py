"""Tables of contents: lookups in place, what a layer implies, broken files."""

from __future__ import annotations

import contextlib
import io
import os
import random
from pathlib import Path

import pytest
import xxhash

from builder.errors import CacheError, ImageError
from builder.image.digest import DiffID, Digest
from builder.rootfs.entry import Entry, Kind, LayerFormatError, UnsafePathError
from builder.rootfs.limits import MAX_SMALL_FILE
from builder.rootfs.pack import Item, pack
from builder.rootfs.tarreader import Member
from builder.rootfs.toc import Toc, TocWriter
from builder.rootfs.tocformat import OPAQUE
from builder.rootfs.view import View
from tests.support.layers import layer, made, toc_of

D, F, S, H, W, O = Kind.DIRECTORY, Kind.FILE, Kind.SYMLINK, Kind.HARDLINK, Kind.WHITEOUT, Kind.OPAQUE  # noqa: E741  no zero near it


def paths(toc: Toc, path: str = "") -> list[str]:
    return [member.entry.path for member in toc.subtree(path)]


def test_entries_come_back_whole() -> None:
    entries = (
        Entry(path="a\udcff", kind=D, mode=0o1777, uid=4294967294, gid=5, mtime=-(1 << 40)),
        Entry(path="a\udcff/é", kind=F, mode=0o4755, size=7, xattrs={"user.x": b"\0\xff", "user.y": b""}),
        Entry(path="dev", kind=Kind.BLOCK, major=259, minor=1 << 19),
        Entry(path="link", kind=S, target="\udc80/é"),
    )
    toc = toc_of(*entries)
    for entry in entries:
        member = toc.lookup(entry.path)
        assert member is not None
        assert member.entry == entry
        assert member.entry.xattrs == entry.xattrs
    assert [member.entry for member in toc.subtree("a\udcff")] == list(entries[:2])


def test_a_subtree_is_contiguous_and_children_skip_the_rest() -> None:
    toc = toc_of(*(made(F, path) for path in ("a.b", "a-b", "a/z", "a/b/c", "a/b.c", "ab", "b/x/y")))
    assert paths(toc, "a") == ["a/b/c", "a/b.c", "a/z"]
    assert [member.entry.path for member in toc.children("a")] == ["a/b.c", "a/z"]
    assert [member.entry.path for member in toc.children("")] == ["a-b", "a.b", "ab"]
    assert list(toc.children("a-b")) == list(toc.children("nothing")) == list(toc.subtree("nothing")) == []
    assert toc.lookup("a") is None
    assert toc.lookup("a/b/c") is not None


def test_every_path_is_found_among_many() -> None:
    chance = random.Random(7)
    names = {"/".join(chance.choices("abcdefg.-_", k=chance.randint(1, 5))).replace("./", "x/") for _ in range(3000)}
    names = {name for name in names if not {".", ".."} & set(name.split("/"))}
    files = [name for name in sorted(names) if not any(other.startswith(name + "/") for other in names)]
    chance.shuffle(files)
    toc = toc_of(*(made(F, name) for name in files))
    for name in files:
        assert toc.lookup(name) is not None
        assert toc.lookup(name + "/x") is None
        assert toc.lookup(name + "x") is None or name + "x" in files
    assert sorted(paths(toc)) == sorted(files)


def test_whiteouts_and_opaque_directories() -> None:
    toc = toc_of(made(D, "d"), made(O, "d"), made(W, "d/gone"), made(W, "e/gone"), made(O, "f"))
    member = toc.lookup("d/gone")
    assert member is not None
    assert member.entry.kind is W
    assert [bool(toc.flags(toc.find(name)) & OPAQUE) for name in (b"d", b"e", b"f")] == [True, False, True]
    assert toc.implied == ("e", "f")
    assert not toc.stands_alone


@pytest.mark.parametrize(
    ("entries", "implied", "anchors", "alone"),
    [
        ([], (), (), True),
        ([made(D, "a"), made(F, "a/b"), made(H, "c", "a/b")], (), (), True),
        ([made(D, "a"), made(D, "a"), made(F, "a/b")], (), (), True),
        ([made(D, ""), made(F, "x")], (), (), True),
        ([made(F, "a/b/c")], ("a", "a/b"), ("a", "a/b"), False),
        ([made(F, "a/b"), made(D, "a")], (), ("a",), False),
        ([made(W, "a/b")], ("a",), (), False),
        ([made(O, "")], (), (), False),
        ([made(H, "a", "b")], (), (), False),
        ([made(D, "d"), made(H, "a", "d/b")], (), (), False),
        ([made(H, "a", "d/b")], (), ("d",), False),
        ([made(H, "a", "b"), made(F, "b")], (), (), False),
        ([made(F, "a"), made(F, "a")], (), (), False),
        ([made(S, "a", "b"), made(F, "a/c")], ("b",), (), False),
    ],
)
def test_what_a_layer_needs_of_those_below(
    entries: list[Entry], implied: tuple[str, ...], anchors: tuple[str, ...], alone: bool
) -> None:
    toc = toc_of(*entries)
    assert (toc.implied, toc.anchors, toc.stands_alone) == (implied, anchors, alone)


def test_the_last_of_several_entries_wins() -> None:
    toc = toc_of(made(F, "a", size=1), made(S, "b", "x"), made(F, "a", size=2), made(D, "b"))
    assert [(member.entry.kind, member.entry.size) for member in toc.subtree("")] == [(F, 2), (D, 0)]
    assert toc.irregular
    toc = toc_of(made(D, "a", mode=0o700), made(F, "a/x"), made(D, "a", mode=0o711))
    assert next(member.entry.mode for member in toc.subtree("a")) == 0o711
    assert not toc.irregular


def test_a_file_replaces_a_directory_and_all_in_it() -> None:
    assert paths(toc_of(made(D, "a"), made(F, "a/x"), made(F, "a"))) == ["a"]
    assert paths(toc_of(made(D, "a"), made(F, "a/x"), made(F, "a"), made(D, "a"), made(F, "a/y"))) == ["a", "a/y"]


def test_entries_behind_a_symlink_of_the_same_layer() -> None:
    toc = toc_of(made(D, "run"), made(D, "var"), made(S, "var/run", "../../run"), made(F, "var/run/pid"))
    assert paths(toc) == ["run", "run/pid", "var", "var/run"]
    member = toc.lookup("run/pid")
    assert member is not None
    assert member.entry.path == "run/pid"
    with pytest.raises(UnsafePathError, match="too many symbolic links"):
        toc_of(made(S, "a", "b"), made(S, "b", "a"), made(F, "a/x"))


def test_only_the_last_of_many_small_files_are_kept() -> None:
    stream = io.BytesIO()
    writer = TocWriter(stream)
    for number in range(100):
        writer.add(Member(Entry(path="etc/passwd", kind=Kind.FILE, size=1000), 512 + 2048 * number))
        writer.keep(512 + 2048 * number, b"%1000d" % number)
    writer.finish(DiffID(Digest.of(b"")), 1 << 20)
    assert Toc(stream.getvalue()).small_file("etc/passwd") == b"%1000d" % 99
    assert len(stream.getvalue()) < 20_000


def test_small_files_are_kept() -> None:
    items = [
        Item(made(F, "etc/passwd", size=3), b"old"),
        Item(made(F, "etc/passwd", size=3), b"new"),
        Item(made(F, "etc/group", size=MAX_SMALL_FILE + 1), bytes(MAX_SMALL_FILE + 1)),
        Item(made(F, "etc/shadow", size=3), b"abc"),
    ]
    _, toc, _ = layer(items)
    assert toc.small_file("etc/passwd") == b"new"
    assert [toc.small_file(path) for path in ("etc/group", "etc/shadow", "etc", "none")] == [None] * 4


def test_sparse_files_are_remembered() -> None:
    stream = io.BytesIO()
    writer = TocWriter(stream)
    writer.add(Member(made(F, "a", size=100), 512, ((0, 10), (90, 10))))
    writer.add(Member(made(F, "b", size=100), 1536))
    writer.add(Member(made(F, "c", size=50), 2560, ()))
    writer.finish(DiffID(Digest.of(b"")), 4096)
    toc = Toc(stream.getvalue())
    assert toc.sparse_at(512) == (((0, 10), (90, 10)), 100)
    assert toc.sparse_at(1536) is None
    assert toc.sparse_at(2560) == ((), 50)


def test_a_deep_path_without_parents_stays_in_bounds() -> None:
    writer = TocWriter(io.BytesIO())
    for i in range(20_000):
        writer.add(Member(made(F, f"{i:05}/" + "n/" * 240 + "x" * 3000), i))
    with pytest.raises(LayerFormatError, match="more directories than we accept"):
        writer.finish(DiffID(Digest.of(b"")), 0)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "toc"
    with path.open("wb") as toc:
        pack([Item(made(D, "d")), Item(made(F, "d/f")), Item(made(F, "etc/passwd", size=2), b"ab")], io.BytesIO(), toc)
    return path


def test_a_saved_table_is_mapped(saved: Path) -> None:
    toc = Toc.open(saved)
    os.unlink(saved)
    assert paths(toc) == ["d", "d/f", "etc/passwd"]
    assert toc.small_file("etc/passwd") == b"ab"


def test_files_that_are_no_tables(tmp_path: Path, saved: Path) -> None:
    data = saved.read_bytes()
    bad = [b"", b"x", bytes(4096), data[:-1], data[:100], data[1:], data + b"x", data[:8] + data[-300:], data[-300:]]
    for number, content in enumerate(bad):
        path = tmp_path / f"bad{number}"
        path.write_bytes(content)
        with pytest.raises(CacheError, match="broken"):
            Toc.open(path)
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(CacheError):
            Toc.open(path)


def test_damage_inside_never_escapes_as_another_error(saved: Path) -> None:
    data = saved.read_bytes()
    chance = random.Random(3)
    for _ in range(3000):
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(8, len(data) - 16)] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))
        if damaged == data:
            continue
        with pytest.raises(CacheError):
            Toc(bytes(damaged))
        with contextlib.suppress(CacheError, ImageError):  # as if the checksum had not noticed
            toc = Toc(bytes(damaged), check=xxhash.xxh3_64_intdigest(data[:-16]))
            for path in ("", "d", "d/f", "etc", "etc/passwd", "none/x"):
                toc.lookup(path)
                list(toc.children(path))
                toc.small_file(path)
            list(toc.subtree(""))
            assert isinstance((toc.implied, toc.anchors, toc.members()), tuple)
            view = View([toc, toc])
            list(view.walk())
            view.resolve("d/f/x")

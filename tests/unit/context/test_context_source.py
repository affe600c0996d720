"""Contexts of every kind, and tars that are read without being unpacked."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from builder.context.contenthash import ContentHasher
from builder.context.directory import DirectoryTree
from builder.context.source import Context, is_tar, load_rules, open_context
from builder.context.tartree import TarTree
from builder.context.tree import read_file, resolve
from builder.errors import ContextError
from builder.rootfs.entry import Kind
from tests.support import images
from tests.support.contexts import paths_of


def _stdin(data: bytes, scratch: Path) -> Context:
    return open_context("-", scratch=scratch, stdin=io.BytesIO(data))


_TAR = images.layer(
    images.directory("./", 0o700),
    images.file("Dockerfile", "FROM scratch\n"),
    images.file("d/f", b"\0" * 5000 + b"end", 0o4755, uid=12, gid=13, mtime=99),
    images.symlink("l", "/d"),
    images.hardlink("h", "d/f"),
    images.member("null", tarfile.CHRTYPE, 0o666, devmajor=1, devminor=3),
    images.file(".dockerignore", "*"),
)


@pytest.mark.parametrize("squeeze", [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_a_tar_of_any_compression(tmp_path: Path, squeeze: Callable[[bytes], bytes]) -> None:
    context = _stdin(squeeze(_TAR), tmp_path)
    tree = context.tree
    assert paths_of(tree) == ["", ".dockerignore", "Dockerfile", "d", "d/f", "h", "l", "null"]
    assert read_file(tree, "l/f", limit=10_000) == b"\0" * 5000 + b"end"
    entry = tree.lstat("d/f")
    assert entry is not None
    assert (entry.kind, entry.mode, entry.uid, entry.gid, entry.size, entry.mtime) == (
        Kind.FILE,
        0o4755,
        0,
        0,
        5003,
        99,
    )
    assert tree.link_key("d/f") == tree.link_key("h") is not None
    assert tree.link_key("Dockerfile") is None
    root, null = tree.lstat(""), tree.lstat("null")
    assert root is not None
    assert null is not None
    assert root.mode == 0o700
    assert (null.kind, null.major, null.minor) == (Kind.CHAR, 1, 3)
    assert (context.dockerfile, context.directory) == (None, None)
    context.close()
    assert list(tmp_path.iterdir()) == []


def test_contents_of_a_tar_are_hashed_like_those_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_bytes(b"x" * 2_000_000)
    with (
        DirectoryTree(tmp_path) as directory,
        TarTree(io.BytesIO(images.tar_directory(tmp_path)), tmp_path / "scratch") as tar,
    ):
        digests = []
        for tree in (directory, tar):
            entry = tree.lstat("d/f")
            assert entry is not None
            digests.append(ContentHasher(tree).digest(entry))
    assert digests[0] == digests[1]


def test_later_entries_win_and_parents_are_followed_inside(tmp_path: Path) -> None:
    data = images.layer(
        images.file("a", "old"),
        images.file("a", "new"),
        images.symlink("run", "/../var/run"),
        images.directory("var/run", 0o711),
        images.file("run/pid", "1"),
        images.file("gone/x", "x"),
        images.directory("var", 0o750, mtime=5),
        images.file("t", "target"),
        images.hardlink("b", "t"),
        images.file("t", "other"),
    )
    with TarTree(io.BytesIO(data), tmp_path) as tree:
        assert read_file(tree, "a", limit=10) == b"new"
        assert read_file(tree, "var/run/pid", limit=10) == b"1"
        assert tree.lstat("run/pid") is None
        assert resolve(tree, "run/pid") == "var/run/pid"
        assert (read_file(tree, "b", limit=10), read_file(tree, "t", limit=10)) == (b"target", b"other")
        assert tree.link_key("b") is None
        var, gone = tree.lstat("var"), tree.lstat("gone")
        assert var is not None
        assert gone is not None
        assert (var.mode, var.mtime) == (0o750, 5)
        assert gone.mode == 0o755


@pytest.mark.parametrize(
    "members",
    [
        (images.file("../out", "x"),),
        (images.hardlink("h", "missing"),),
        (images.directory("d"), images.hardlink("h", "d")),
        (images.file("f", "x"), images.file("f/below", "x")),
        (images.symlink("a", "b"), images.symlink("b", "a"), images.file("a/x", "x")),
        (images.file("n" * 300, "x"),),
    ],
)
def test_tars_that_mean_nothing_good(tmp_path: Path, members: tuple[tarfile.TarInfo, ...]) -> None:
    with pytest.raises(ContextError):
        TarTree(io.BytesIO(images.layer(*members)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_attributes_are_those_a_directory_would_give(tmp_path: Path) -> None:
    names = ("user.mine", "user.overlay.opaque", "trusted.overlay.opaque", "security.selinux", "security.capability")
    marked = images.file("f", "x", pax_headers={f"SCHILY.xattr.{name}": "y" for name in names})
    with TarTree(io.BytesIO(images.layer(marked)), tmp_path) as tree:
        entry = tree.lstat("f")
    assert entry is not None
    assert dict(entry.xattrs) == {"user.mine": b"y", "security.capability": b"y"}


def test_whiteout_names_are_plain_files(tmp_path: Path) -> None:
    with TarTree(
        io.BytesIO(images.layer(images.file(".wh.x", "1"), images.file(".wh..wh..opq", "2"))), tmp_path
    ) as tree:
        assert [entry.path for entry in tree.children("")] == [".wh..wh..opq", ".wh.x"]


def test_a_tar_that_breaks_off(tmp_path: Path) -> None:
    with pytest.raises(ContextError):
        _stdin(_TAR[:3000], tmp_path)
    with pytest.raises(ContextError):
        _stdin(gzip.compress(_TAR)[:-20], tmp_path)


def test_holes_take_no_room(tmp_path: Path) -> None:
    data = images.layer(images.file("big", b"\0" * (8 << 20) + b"x"))
    with TarTree(io.BytesIO(data), tmp_path) as tree:
        with tree.open("big") as stream:
            total = sum(len(chunk) for chunk in iter(lambda: stream.read(1 << 16), b""))
        assert total == (8 << 20) + 1


def test_an_open_file_outlives_its_tree(tmp_path: Path) -> None:
    with TarTree(io.BytesIO(_TAR), tmp_path) as tree:
        stream = tree.open("Dockerfile")
    with stream:
        assert stream.read() == b"FROM scratch\n"


def test_a_dockerfile_on_stdin_has_no_files(tmp_path: Path) -> None:
    context = _stdin(b"FROM scratch\nCOPY . .\n", tmp_path)
    assert context.dockerfile == b"FROM scratch\nCOPY . .\n"
    assert paths_of(context.tree) == [""]
    with pytest.raises(ContextError):
        context.tree.open("x")


@pytest.mark.parametrize(
    "data",
    [b"", b" \n", gzip.compress(b"FROM scratch", mtime=0), b"FROM\0x", b"\0" * 100],
    ids=["empty", "blank", "compressed text", "binary", "zeros"],
)
def test_stdin_that_is_neither(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ContextError):
        _stdin(data, tmp_path)


def test_an_empty_tar_is_an_empty_context(tmp_path: Path) -> None:
    context = _stdin(images.layer(), tmp_path)
    assert context.dockerfile is None
    assert paths_of(context.tree) == [""]
    context.close()


def test_without_stdin(tmp_path: Path) -> None:
    with pytest.raises(ContextError, match="standard input"):
        open_context("-", scratch=tmp_path)


def test_what_a_tar_looks_like() -> None:
    assert is_tar(_TAR[:512])
    assert is_tar(bytes(512))
    assert not is_tar(_TAR[:511])
    assert not is_tar(b"FROM scratch\n" * 50)
    assert not is_tar(bytes([_TAR[0] ^ 1]) + _TAR[1:512])


def test_a_directory_with_its_own_ignore_file(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    (tmp_path / "dropped").touch()
    (tmp_path / ".dockerignore").write_text("dropped\n.dockerignore\n")
    context = open_context(str(tmp_path), scratch=tmp_path / "none")
    assert paths_of(context.tree) == ["", "kept"]
    assert context.directory == tmp_path
    context.close()


def test_the_ignore_file_beside_the_dockerfile_replaces_the_other(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("a")
    beside = tmp_path / "other.Dockerfile.dockerignore"
    for text in ("b", ""):
        beside.write_text(text)
        rules = load_rules(tmp_path, tmp_path / "other.Dockerfile")
        assert rules is not None
        assert rules.lines == tuple(filter(None, [text]))
        assert rules.source == str(beside)
    beside.unlink()
    rules = load_rules(tmp_path, tmp_path / "other.Dockerfile")
    assert rules is not None
    assert rules.lines == ("a",)


def test_an_ignore_file_may_be_absent_or_a_link_inside_but_not_outside(tmp_path: Path) -> None:
    root = tmp_path / "c"
    root.mkdir()
    assert load_rules(root) is None
    (tmp_path / "outside").write_text("x")
    os.symlink("../outside", root / ".dockerignore")
    assert load_rules(root) is None
    (root / "outside").write_text("y")
    rules = load_rules(root)
    assert rules is not None
    assert rules.lines == ("y",)


@pytest.mark.parametrize("spec", ["missing", "file", "https://example.org/x.tar"])
def test_what_is_no_context(tmp_path: Path, spec: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ContextError):
        open_context(spec if "://" in spec else str(tmp_path / spec), scratch=tmp_path)

"""Directories as trees, symlinks and wildcards in them."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.context.contenthash import ContentHasher
from builder.context.directory import DirectoryTree
from builder.context.ignore import IgnoreRules
from builder.context.tree import expand, read_file, resolve
from builder.errors import ContextError
from builder.rootfs import rooted
from builder.rootfs.entry import Kind
from tests.support.contexts import paths_of
from tests.support.need import need, need_root


def _fill(root: Path, *paths: str) -> Path:
    for path in paths:
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.write_text(path)
    return root


def _tree(root: Path, ignore: str = "") -> DirectoryTree:
    return DirectoryTree(root, IgnoreRules.parse(ignore.encode()) if ignore else None)


def test_entries_have_no_owner_and_whole_seconds(tmp_path: Path) -> None:
    _fill(tmp_path, "f")
    os.chmod(tmp_path / "f", 0o4751)
    os.utime(tmp_path / "f", ns=(0, -1))
    with _tree(tmp_path) as tree:
        entry = tree.lstat("f")
    assert entry is not None
    assert (entry.kind, entry.mode, entry.uid, entry.gid, entry.size, entry.mtime) == (Kind.FILE, 0o4751, 0, 0, 1, -1)


def test_the_root_is_a_directory_of_empty_name(tmp_path: Path) -> None:
    with _tree(tmp_path) as tree:
        entry = tree.lstat("")
        assert entry is not None
        assert entry.is_dir
        assert entry.path == ""


def test_walks_in_order_directories_first(tmp_path: Path) -> None:
    _fill(tmp_path, "b/x", "a", "b-1", "b/a/z", "empty/")
    with _tree(tmp_path) as tree:
        assert paths_of(tree) == ["", "a", "b", "b/a", "b/a/z", "b/x", "b-1", "empty"]
        assert paths_of(tree, "b/a") == ["b/a", "b/a/z"]
        assert paths_of(tree, "nothing") == []
        assert not tree.children("a")


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff\xfe")).write_bytes(b"odd")
    (tmp_path / "\u00e9").write_bytes(b"plain")
    with _tree(tmp_path) as tree:
        assert [entry.path for entry in tree.children("")] == ["\u00e9", "\udcff\udcfe"]
        with tree.open("\udcff\udcfe") as stream:
            assert stream.read() == b"odd"


def test_no_component_is_followed_by_lstat_and_open(tmp_path: Path) -> None:
    _fill(tmp_path, "real/f")
    os.symlink("real", tmp_path / "link")
    with _tree(tmp_path) as tree:
        entry = tree.lstat("link")
        assert entry is not None
        assert (entry.kind, entry.target, entry.mode) == (Kind.SYMLINK, "real", 0o777)
        assert tree.lstat("link/f") is None
        assert tree.lstat("real/f/x") is None
        with pytest.raises(ContextError, match="link/f"):
            tree.open("link/f")
        with pytest.raises(ContextError):
            tree.open("link")


@pytest.mark.parametrize(
    ("target", "path", "expected"),
    [
        ("a/b", "link/f", "a/b/f"),
        ("/a/b", "link/f", "a/b/f"),
        ("../../../a", "link/b/f", "a/b/f"),
        ("/..", "link", ""),
        ("a/b/..", "link/b/f", "a/b/f"),
        ("/etc/passwd", "link", "etc/passwd"),
        ("gone", "link/x", "gone/x"),
        ("a", "x/../link/./b//f", "a/b/f"),
        ("a", "../../link", "a"),
    ],
)
def test_links_are_followed_inside_the_root(tmp_path: Path, target: str, path: str, expected: str) -> None:
    _fill(tmp_path, "a/b/f")
    os.symlink(target, tmp_path / "link")
    with _tree(tmp_path) as tree:
        assert resolve(tree, path) == expected


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    os.symlink("b", tmp_path / "a")
    os.symlink("a", tmp_path / "b")
    with _tree(tmp_path) as tree, pytest.raises(ContextError, match="symbolic links"):
        resolve(tree, "a/x")


def test_nothing_outside_is_read_when_a_directory_becomes_a_link(tmp_path: Path) -> None:
    outside = _fill(tmp_path / "outside", "f")
    root = _fill(tmp_path / "root", "d/f", "e/f").absolute()
    with _tree(root) as tree:
        assert len(paths_of(tree)) == 5
        for name in ("d", "e"):
            os.rename(root / name, root / f"{name}-was")
            os.symlink(outside, root / name)
        with pytest.raises(ContextError, match="d/f"):
            tree.open("d/f")


def test_a_fifo_in_place_of_a_file_does_not_hang(tmp_path: Path) -> None:
    _fill(tmp_path, "f")
    with _tree(tmp_path) as tree:
        assert tree.lstat("f") is not None
        os.unlink(tmp_path / "f")
        os.mkfifo(tmp_path / "f")
        with pytest.raises(ContextError, match="replaced"):
            tree.open("f")


def test_a_path_of_more_names_than_python_has_frames(tmp_path: Path) -> None:
    root = os.open(tmp_path, os.O_RDONLY)
    here = os.dup(root)
    for _ in range(700):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("f", os.O_CREAT, dir_fd=here))
    os.close(here)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(500)
    try:
        for rules in ("", "*\n!**/f", "*\n!**/g"):
            with _tree(tmp_path, rules) as tree:
                assert (tree.lstat("d/" * 700 + "f") is None) == ("g" in rules)
                assert len(tree.children("")) == ("g" not in rules)
                assert tree.lstat("d/" * 2000 + "f") is None
    finally:
        sys.setrecursionlimit(limit)
        rooted.remove(root, "d")
        os.close(root)


def test_special_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("sock")
    with _tree(tmp_path) as tree:
        fifo, sock = tree.lstat("fifo"), tree.lstat("sock")
        assert fifo is not None
        assert sock is not None
        assert fifo.kind is Kind.FIFO
        assert (sock.kind, sock.size) == (Kind.FILE, 0)
        with tree.open("sock") as stream:
            assert stream.read() == b""


def test_devices_keep_their_numbers(tmp_path: Path) -> None:
    need_root()
    try:
        os.mknod(tmp_path / "null", 0o020666, os.makedev(1, 3))
    except PermissionError:
        need(False, "needs CAP_MKNOD")
    with _tree(tmp_path) as tree:
        entry = tree.lstat("null")
    assert entry is not None
    assert (entry.kind, entry.major, entry.minor) == (Kind.CHAR, 1, 3)


def test_the_names_of_one_file_share_a_key(tmp_path: Path) -> None:
    _fill(tmp_path, "a", "d/", "alone")
    os.link(tmp_path / "a", tmp_path / "d/b")
    with _tree(tmp_path) as tree:
        assert tree.link_key("a") == tree.link_key("d/b") is not None
        assert tree.link_key("alone") is None
        assert tree.link_key("d") is None


def test_attributes_that_an_image_keeps(tmp_path: Path) -> None:
    _fill(tmp_path, "f")
    try:
        os.setxattr(tmp_path / "f", "user.mine", b"\0\xff")
        os.setxattr(tmp_path / "f", "user.overlay.opaque", b"y")
    except OSError:
        need(False, "needs a file system with user attributes")
    with _tree(tmp_path) as tree:
        entry = tree.lstat("f")
    assert entry is not None
    assert dict(entry.xattrs) == {"user.mine": b"\0\xff"}


def test_ignored_paths_are_absent(tmp_path: Path) -> None:
    _fill(tmp_path, "a/b/f", "a/b/g", "a/h", "n/m/z", "top")
    with _tree(tmp_path, "a\n!a/b/f\nn\n") as tree:
        assert paths_of(tree) == ["", "a", "a/b", "a/b/f", "top"]
        for path in ("a/h", "a/b/g", "n", "n/m", "n/m/z"):
            assert tree.lstat(path) is None
            assert not tree.children(path)
            assert resolve(tree, path) == path
        with pytest.raises(ContextError, match="a/h"):
            tree.open("a/h")


def test_an_ignored_directory_is_there_only_for_what_is_in_it(tmp_path: Path) -> None:
    _fill(tmp_path, "x/y/z.txt", "x/deep/empty/", "v/w.txt")
    with _tree(tmp_path, "*\n!**/*.txt\n!v\n") as tree:
        assert paths_of(tree) == ["", "v", "v/w.txt", "x", "x/y", "x/y/z.txt"]
        assert tree.lstat("x/deep") is None


@pytest.fixture
def bound() -> Iterator[Path]:
    """An empty directory, while file modes mean something to this process."""
    with tempfile.TemporaryDirectory(prefix="pybuild-test-", dir="/var/tmp") as name:
        os.chmod(name, 0o777)
        was = os.geteuid()
        if was == 0:
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            os.seteuid(was)


def test_excluded_directories_are_not_walked(bound: Path) -> None:
    """A directory that may not be read shows whether anybody tried."""
    _fill(bound, "closed/f", "open/f")
    os.chmod(bound / "closed", 0)
    for ignore in ("closed\n", "closed\n!closed/f\n", "closed\n!open\n"):
        with _tree(bound, ignore) as tree:
            assert paths_of(tree) == ["", "open", "open/f"]
    with _tree(bound) as tree, pytest.raises(ContextError, match="cannot read closed"):
        paths_of(tree)


@pytest.mark.parametrize("hashed", [False, True])
def test_a_file_that_fails_while_it_is_read_is_named(tmp_path: Path, hashed: bool) -> None:
    """A layer is written meanwhile, and the disk of the store is not to blame."""
    with _tree(_fill(tmp_path, "d/f")) as tree, (ContentHasher(tree) if hashed else tree).open("d/f") as stream:
        failing = os.open(tmp_path, os.O_RDONLY)
        os.dup2(failing, stream.fileno())
        os.close(failing)
        with pytest.raises(ContextError, match="cannot read d/f in the build context: Is a directory"):
            stream.read(1)


def test_unreadable_files_are_named_when_read(bound: Path) -> None:
    _fill(bound, "d/secret")
    os.chmod(bound / "d/secret", 0)
    with _tree(bound) as tree:
        assert paths_of(tree) == ["", "d", "d/secret"]
        with pytest.raises(ContextError, match="cannot read d/secret") as caught:
            tree.open("d/secret")
    assert ".dockerignore" in str(caught.value.hint)


def test_one_listing_lasts_as_long_as_its_tree(tmp_path: Path) -> None:
    _fill(tmp_path, "d/a")
    with _tree(tmp_path) as tree:
        assert paths_of(tree) == ["", "d", "d/a"]
        _fill(tmp_path, "d/b")
        assert paths_of(tree) == ["", "d", "d/a"]
    with _tree(tmp_path) as tree:
        assert paths_of(tree) == ["", "d", "d/a", "d/b"]


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    _fill(tmp_path, "a/b/c/d/e")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with _tree(tmp_path) as tree:
            paths_of(tree)
            tree.open("a/b/c/d/e").close()
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ContextError, match="closed"):
        tree.open("a/b/c/d/e")


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_context_must_be_a_directory(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ContextError, match=name):
        DirectoryTree(tmp_path / name)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.txt", ["a.txt", "b.txt"]),
        ("/./*.txt", ["a.txt", "b.txt"]),
        ("*", [".hidden", "a.txt", "b.txt", "d", "link", "s*r"]),
        ("d/*", ["d/e", "d/f.txt"]),
        ("*/*", ["d/e", "d/f.txt"]),
        ("*/f.txt", ["d/f.txt"]),
        ("**/f.txt", ["d/f.txt"]),
        ("link/*.txt", ["d/f.txt"]),
        ("l*/f.txt", []),
        ("../../?.txt", ["a.txt", "b.txt"]),
        ("[a]*", ["a.txt"]),
        ("zz*", []),
        ("none/*", []),
        ("a.txt/*", []),
        ("d/missing", ["d/missing"]),
        ("s[*]r", ["s*r"]),
    ],
)
def test_wildcards(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    _fill(tmp_path, "a.txt", "b.txt", ".hidden", "d/f.txt", "d/e/g.txt", "s*r")
    os.symlink("d", tmp_path / "link")
    with _tree(tmp_path) as tree:
        assert expand(tree, pattern) == expected


def test_small_files_are_read_through_links_inside(tmp_path: Path) -> None:
    _fill(tmp_path, "d/Dockerfile")
    os.symlink("/d/Dockerfile", tmp_path / "Dockerfile")
    with _tree(tmp_path) as tree:
        assert read_file(tree, "Dockerfile", limit=100) == b"d/Dockerfile"
        assert read_file(tree, "d", limit=100) is None
        assert read_file(tree, "none", limit=100) is None
        with pytest.raises(ContextError, match="larger"):
            read_file(tree, "Dockerfile", limit=3)

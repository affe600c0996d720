from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.rootfs import rooted
from builder.rootfs.entry import UnsafePathError


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[int]:
    root = tmp_path / "root"
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/f").write_text("inside")
    (root / "etc").mkdir()
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/f").write_text("outside")
    for name, target in {
        "rel": "a/b",
        "abs": "/a/b",
        "up": "../../../etc",
        "a/up": "../etc",
        "loop": "loop",
        "out": str(tmp_path / "etc"),
        "dangling": "no/where",
        "file": "a/b/f",
        "chain": "rel",
    }.items():
        (root / name).symlink_to(target)
    os.mkfifo(root / "fifo")
    fd = os.open(root, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ""),
        ("/", ""),
        ("../..", ""),
        ("a//./b/", "a/b"),
        ("rel/f", "a/b/f"),
        ("abs/f", "a/b/f"),
        ("chain/f", "a/b/f"),
        ("up/f", "etc/f"),
        ("a/up", "etc"),
        ("abs/../x", "a/x"),
        ("dangling/x", "no/where/x"),
        ("file", "a/b/f"),
        ("missing/../a", "a"),
        ("/../../etc", "etc"),
    ],
)
def test_resolve(tree: int, path: str, expected: str) -> None:
    assert rooted.resolve(tree, path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [("rel", "rel"), ("rel/.", "a/b"), ("rel/", "a/b"), ("chain/../rel", "a/rel"), ("a/up", "a/up")],
)
def test_the_last_link_can_be_left_alone(tree: int, path: str, expected: str) -> None:
    assert rooted.resolve(tree, path, follow_last=False) == expected


def test_links_without_end(tree: int) -> None:
    with pytest.raises(UnsafePathError, match="loop/x: too many symbolic links"):
        rooted.resolve(tree, "loop/x")


def test_an_absolute_link_stays_inside(tree: int, tmp_path: Path) -> None:
    inside = str(tmp_path / "etc").lstrip("/")
    assert rooted.resolve(tree, "out/f") == f"{inside}/f"
    with pytest.raises(FileNotFoundError):
        rooted.open_parent(tree, "out/f")


def test_open_parent(tree: int, tmp_path: Path) -> None:
    fd, name = rooted.open_parent(tree, "abs/new")
    assert (os.fstat(fd).st_ino, name) == (os.stat(tmp_path / "root/a/b").st_ino, "new")
    os.close(fd)
    with pytest.raises(UnsafePathError, match="names the root"):
        rooted.open_parent(tree, "/..")
    for path, error in (("no/x", FileNotFoundError), ("file/x", NotADirectoryError)):
        with pytest.raises(error):
            rooted.open_parent(tree, path)


def test_a_link_put_there_in_between_is_an_error(tree: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "root/a/b").rename(tmp_path / "root/a/c")
    (tmp_path / "root/a/b").symlink_to(tmp_path / "etc")
    monkeypatch.setattr(rooted, "resolve", lambda _root, path, **_: path)
    with pytest.raises(UnsafePathError, match="became a symbolic link"):
        rooted.open_parent(tree, "a/b/f")


def test_remove_follows_nothing(tree: int, tmp_path: Path) -> None:
    (tmp_path / "root/a/b/out").symlink_to(tmp_path / "etc")
    rooted.remove(tree, "a")
    rooted.remove(tree, "out")
    rooted.remove(tree, "gone already")
    assert (tmp_path / "etc/f").read_text() == "outside"
    assert not (tmp_path / "root/a").exists()


def test_a_tree_that_cannot_be_removed_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    rooted.remove_tree(tmp_path / "link")
    rooted.remove_tree(tmp_path / "no" / "such")
    rooted.remove_tree(Path("/proc/self/task"))
    assert (tmp_path / "a/b").is_dir()
    rooted.remove_tree(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_remove_deep_and_wide(tmp_path: Path) -> None:
    root = os.open(tmp_path, os.O_RDONLY)
    here = os.dup(root)
    for depth in range(3000):
        os.mkdir("d", dir_fd=here)
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        if depth < 20:
            os.mkdir("e", dir_fd=here)
            os.close(os.open("e/f", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    rooted.remove(root, "d")
    os.close(root)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e", "f"]


names = st.sampled_from(["a", "b", "..", ".", "", "l", "m"])
paths = st.lists(names, max_size=6).map("/".join)


@given(paths, st.dictionaries(st.sampled_from(["l", "a/l", "b/m", "m"]), paths))
def test_nothing_leads_out(path: str, links: dict[str, str]) -> None:
    try:
        answer = rooted.resolve_links(path, links.get)
    except UnsafePathError:
        return
    assert all(part not in ("", ".", "..") for part in answer.split("/")) or answer == ""
    assert rooted.resolve_links(answer, links.get) == answer

"""Root filesystems as tars and directories, held against an extractor in memory."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from builder.archive.rootfs_archive import Tree, write_rootfs_directory, write_rootfs_tar
from builder.errors import OutputError
from builder.rootfs.contents import LayerContents
from builder.rootfs.pack import index_layer
from builder.rootfs.toc import Toc
from builder.rootfs.view import View
from tests.support import images, trees
from tests.support.need import need_root

MINE = {"uid": os.geteuid(), "gid": os.getegid()}
BASE = images.layer(
    images.directory("bin", mtime=7),
    images.file("bin/tool", b"tool" * 100_000, 0o4755, mtime=5),
    images.hardlink("bin/alias", "bin/tool"),
    images.file("bin/gone", "x"),
    images.directory("var"),
    images.directory("var/log", 0o1777, mtime=9),
    images.directory("run"),
    images.symlink("var/run", "../run"),
    images.file("secret/implied", "y", 0o600, uid=77, gid=88),
    images.file("opaque/lower", "x"),
    images.member("pipe", tarfile.FIFOTYPE, 0o640),
    images.file("empty"),
    images.file("ümlaut \udcff", "bytes", pax_headers={"SCHILY.xattr.user.note": "hello"}),
)
TOP = images.layer(
    images.file("bin/.wh.gone"),
    images.file("opaque/.wh..wh..opq"),
    images.file("opaque/upper", "z"),
    images.file("var/run/pid", "1"),
    images.hardlink("another", "bin/tool"),
    images.symlink("bin/link", "/etc/passwd"),
)


@contextmanager
def opened(tmp_path: Path, *layers: bytes) -> Iterator[tuple[View, list[LayerContents]]]:
    tocs, contents = [], []
    with ExitStack() as stack:
        for number, layer in enumerate(layers):
            path = tmp_path / f"{number}.toc"
            with path.open("wb") as target:
                index_layer(io.BytesIO(layer), target)
            tocs.append(Toc.open(path))
            reader = LayerContents(lambda layer=layer: io.BytesIO(layer), tocs[-1], tmp_path)
            contents.append(stack.enter_context(reader))
        yield View(tocs), contents


def to_tar(tmp_path: Path, *layers: bytes) -> Path:
    with opened(tmp_path, *layers) as (view, contents):
        write_rootfs_tar([Tree(view, contents)], tmp_path / "out.tar")
    return tmp_path / "out.tar"


def to_directory(tmp_path: Path, *layers: bytes) -> Path:
    with opened(tmp_path, *layers) as (view, contents):
        write_rootfs_directory(Tree(view, contents), tmp_path / "out")
    return tmp_path / "out"


def test_the_tar_is_the_merged_tree(tmp_path: Path) -> None:
    written = to_tar(tmp_path, BASE, TOP)
    assert trees.difference(trees.tree_of_layers([BASE, TOP]), trees.tree_of_tar(written), ignore=(".",)) == []


def test_the_tar_is_sorted_and_deterministic(tmp_path: Path) -> None:
    first = to_tar(tmp_path, BASE, TOP).read_bytes()
    assert to_tar(tmp_path, BASE, TOP).read_bytes() == first
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        names = [os.fsencode(one.name).split(b"/") for one in archive]
    assert names == sorted(names)


def test_the_directory_is_the_merged_tree_and_the_callers(tmp_path: Path) -> None:
    out = to_directory(tmp_path, BASE, TOP)
    expected = trees.tree_of_layers([BASE, TOP])
    found = trees.tree_of_directory(out)
    assert sorted(found) == sorted(expected)
    for path, entry in expected.items():
        if path == ".":
            continue
        mine = found[path]
        assert (mine.type, mine.link, mine.group, mine.sha256) == (entry.type, entry.link, entry.group, entry.sha256)
        assert mine.mtime == entry.mtime, path
        assert (mine.uid, mine.gid) == (os.geteuid(), os.getegid())
    assert os.getxattr(out / "ümlaut \udcff", "user.note") == b"hello"
    assert stat.S_IMODE((out / "var/log").stat().st_mode) == 0o1777


def test_set_id_bits_stay_only_where_they_mean_the_same(tmp_path: Path) -> None:
    layer = images.layer(
        images.file("mine", "x", 0o6755, **MINE), images.file("theirs", "x", 0o6755, uid=12345, gid=12345)
    )
    out = to_directory(tmp_path, layer)
    assert stat.S_IMODE((out / "mine").stat().st_mode) == 0o6755
    assert stat.S_IMODE((out / "theirs").stat().st_mode) == 0o755


def test_a_second_output_replaces_and_keeps_the_rest(tmp_path: Path) -> None:
    out = to_directory(tmp_path, BASE)
    (out / "kept").write_text("mine")
    (out / "bin/tool").write_text("changed through a hard link")
    to_directory(tmp_path, BASE, TOP)
    assert (out / "kept").read_text() == "mine"
    assert (out / "bin/tool").read_bytes() == b"tool" * 100_000
    assert not [name for name in os.listdir(out) if name.startswith(".pybuild")]


def test_nothing_is_written_through_links_that_were_there(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/bin").symlink_to(outside)
    (tmp_path / "out/empty").symlink_to(outside / "file")
    out = to_directory(tmp_path, BASE)
    assert os.listdir(outside) == ["file"]
    assert (outside / "file").read_text() == "mine"
    assert not (out / "bin").is_symlink()
    assert not (out / "empty").is_symlink()


@pytest.mark.parametrize(
    "layers",
    [
        [
            images.layer(images.symlink("a", "/OUTSIDE")),
            images.layer(images.directory("a"), images.file("a/owned", "x")),
        ],
        [images.layer(images.symlink("a", "/OUTSIDE"), images.file("a/owned", "x"))],
        [images.layer(images.symlink("a", "../../.."), images.directory("a/owned"))],
        [images.layer(images.file("f", "x"), images.symlink("a", "f"), images.hardlink("b", "a"))],
    ],
)
def test_an_images_own_links_lead_nowhere(tmp_path: Path, layers: list[bytes]) -> None:
    outside = tmp_path / "OUTSIDE"
    outside.mkdir()
    to_directory(tmp_path, *layers)
    assert os.listdir(outside) == []
    assert not (tmp_path.parent / "owned").exists()
    assert not Path("/OUTSIDE").exists()


def test_a_directory_in_the_place_of_a_file_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "out/empty").mkdir(parents=True)
    (tmp_path / "out/empty/thesis").write_text("mine")
    with pytest.raises(OutputError, match="empty"):
        to_directory(tmp_path, BASE)
    assert (tmp_path / "out/empty/thesis").exists()


def test_the_target_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(OutputError):
        to_directory(tmp_path, BASE)


def test_devices_are_made_as_root(tmp_path: Path) -> None:
    need_root("needs root: mknod")
    device: Any = images.member("null", tarfile.CHRTYPE, 0o666, devmajor=1, devminor=3)
    with opened(tmp_path, images.layer(device)) as (view, contents):
        skipped = write_rootfs_directory(Tree(view, contents), tmp_path / "out")
    made = skipped != ("null",)
    assert (tmp_path / "out/null").exists() is made

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from builder.errors import OutputError
from builder.rootfs.entry import LayerFormatError, UnsafePathError
from builder.rootfs.rooted import remove
from builder.rootfs.unpack import unpack
from builder.rootfs.whiteout import OWNER, decode_owner
from tests.support.need import need_root
from tests.support.overlay import LayerTar, mounted
from tests.support.trees import Tree, difference, tree_of_directory, tree_of_layers

VISIBLE = ("type", "mode", "uid", "gid", "size", "link", "sha256", "xattrs")  # overlay has no stable inode numbers


@pytest.fixture(autouse=True)
def _as_root() -> None:
    need_root("needs root: owners and whiteouts")


def layers(tmp_path: Path, tars: Sequence[bytes]) -> list[Path]:
    done: list[Path] = []
    for number, data in enumerate(tars):
        target = tmp_path / f"layer{number}"
        unpack(io.BytesIO(data), target, lower=done)
        done.append(target)
    return done


def merged(tmp_path: Path, tars: Sequence[bytes]) -> Tree:
    with mounted(tmp_path / "mount", layers(tmp_path, tars)) as root:
        return shown(root)


def shown(root: Path) -> Tree:
    tree = tree_of_directory(root)
    return {
        path: entry._replace(xattrs=tuple(pair for pair in entry.xattrs if not pair[0].startswith("user.overlay.")))
        for path, entry in tree.items()
    }


BASE = (
    LayerTar()
    .dir("tmp", 0o1777)
    .dir("etc", mtime=7)
    .file("etc/passwd", b"root", owner=(0, 42))
    .file("etc/group", b"group")
    .dir("usr/lib", 0o750, owner=(3, 4), mtime=99)
    .file("usr/lib/a", b"aaa", 0o4755, owner=(5, 6))
    .dir("usr/lib/deep/er")
    .file("usr/lib/deep/er/x", b"x")
    .file("usr/lib/deep/y", b"y")
    .symlink("lib", "usr/lib")
    .symlink("abs", "/usr/lib/deep")
    .symlink("up", "../../../../etc")
    .hardlink("usr/lib/b", "usr/lib/a")
    .bytes()
)

CASES = {
    "implied-parent-keeps-mode-owner": LayerTar().file("tmp/new").file("usr/lib/new"),
    "parent-is-a-link-below": LayerTar()
    .file("lib/new")
    .file("abs/z")
    .file("up/hosts")
    .dir("lib/sub")
    .file("lib/sub/f"),
    "parent-is-a-link-of-this-layer": LayerTar().dir("srv").symlink("s", "srv").file("s/f").file("s/g"),
    "dangling-parent": LayerTar().symlink("s", "not/there").file("s/f"),
    "link-over-directory-then-through-it": LayerTar()
    .file("usr/lib/deep/new")
    .symlink("usr/lib/deep", "../../etc")
    .file("usr/lib/deep/in-etc"),
    "directory-over-link": LayerTar().file("lib/before").dir("lib").file("lib/after"),
    "whiteouts": LayerTar().whiteout("etc/group").whiteout("usr/lib/deep").whiteout("lib"),
    "whiteout-of-nothing": LayerTar().whiteout("etc/none").whiteout("none/x").whiteout("etc/passwd/x"),
    "whiteout-and-add-file": LayerTar().whiteout("etc/group").file("etc/group", b"new"),
    "whiteout-and-add-directory": LayerTar().whiteout("usr/lib").dir("usr/lib").file("usr/lib/only"),
    "whiteout-after-add": LayerTar().dir("usr/lib").file("usr/lib/only").whiteout("usr/lib"),
    "whiteout-after-add-file": LayerTar().file("etc/group", b"new").whiteout("etc/group"),
    "whiteout-then-implied": LayerTar().whiteout("usr/lib").file("usr/lib/only"),
    "whiteout-of-link-then-implied": LayerTar().whiteout("lib").file("lib/f"),
    "opaque": LayerTar().opaque("usr/lib").file("usr/lib/n"),
    "opaque-last": LayerTar().file("usr/lib/n").dir("usr/lib/deep").opaque("usr/lib"),
    "opaque-root": LayerTar().opaque("").file("n"),
    "opaque-root-last": LayerTar().file("usr/lib/n").dir("q").opaque(""),
    "file-over-directory": LayerTar().file("usr/lib", b"now a file"),
    "directory-over-file": LayerTar().dir("etc/passwd", 0o700).file("etc/passwd/x"),
    "file-as-parent": LayerTar().file("etc/passwd/x"),
    "file-dir-file": LayerTar().file("q").dir("q").file("q/in").file("q", b"again"),
    "dir-file-dir-over-below": LayerTar().file("usr/lib/n").file("usr/lib").dir("usr/lib").file("usr/lib/m"),
    "duplicates": LayerTar().file("q", b"1").file("q", b"2").dir("r", 0o700).file("r/x").dir("r", 0o711),
    "hard-links": LayerTar().file("one", b"1").hardlink("two", "one").hardlink("etc/three", "two"),
    "hard-link-below": LayerTar().hardlink("c", "etc/passwd").hardlink("d", "c"),
    "hard-link-through-link": LayerTar().hardlink("c", "up/passwd").hardlink("lib/h", "lib/deep/y"),
    "hard-link-to-symlink": LayerTar().hardlink("c", "lib"),
    "hard-link-replaces": LayerTar().file("one", b"1").hardlink("etc/passwd", "one").hardlink("etc/passwd", "one"),
    "hard-link-over-directory": LayerTar().file("one", b"1").dir("d").file("d/x").hardlink("d", "one"),
    "modes": LayerTar().dir("locked", 0).file("locked/f", b"x", 0).file("suid", b"x", 0o6755, owner=(7, 8)),
    "fifo-and-xattrs": LayerTar()
    .add("fifo", tarfile.FIFOTYPE, mode=0o622, owner=(1, 2))
    .file("x", xattrs={"user.k": b"\xff\x00v"})
    .dir("dx", xattrs={"user.d": b"1"}),
    "capability": LayerTar().file(
        "ping", owner=(1, 1), xattrs={"security.capability": bytes.fromhex("0100000200200000000000000000000000000000")}
    ),
    "device": LayerTar().add("null", tarfile.CHRTYPE, mode=0o666, device=(1, 3)),
    "root-entry": LayerTar().dir("./", 0o711, owner=(1, 1)),
    "excess-dots": LayerTar().symlink("e", "../../../../../../tmp").file("e/f"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_mounted_stack_shows_what_extracting_in_order_makes(name: str, tmp_path: Path) -> None:
    tars = [BASE, CASES[name].bytes()]
    assert difference(merged(tmp_path, tars), tree_of_layers(tars), fields=VISIBLE) == []


def test_three_layers_of_changes_to_one_name(tmp_path: Path) -> None:
    tars = [
        BASE,
        LayerTar().whiteout("usr/lib").file("lib2").bytes(),
        LayerTar().dir("usr/lib").file("usr/lib/again").bytes(),
        LayerTar().file("lib/through").hardlink("usr/lib/third", "usr/lib/again").bytes(),
    ]
    assert difference(merged(tmp_path, tars), tree_of_layers(tars), fields=VISIBLE) == []


def test_times_are_the_tars_also_of_directories_filled_later(tmp_path: Path) -> None:
    tars = [LayerTar().dir("d", mtime=5).file("d/f", mtime=-6).symlink("d/s", "f").dir("d/e", mtime=9).bytes()]
    (layer,) = layers(tmp_path, tars)
    times = {name: os.lstat(layer / name).st_mtime_ns for name in ("d", "d/f", "d/s", "d/e", "")}
    second = 1_000_000_000
    assert times == {"d": 5 * second, "d/f": -6 * second, "d/s": second * second, "d/e": 9 * second, "": 0}


def test_implied_parents_have_the_times_of_below(tmp_path: Path) -> None:
    _, top = layers(tmp_path, [BASE, LayerTar().file("usr/lib/new").bytes()])
    assert os.lstat(top / "usr/lib").st_mtime == 99


def test_the_diff_id_covers_all_bytes_and_any_compression(tmp_path: Path) -> None:
    data = BASE + bytes(10240)
    expected = "sha256:" + hashlib.sha256(data).hexdigest()
    assert unpack(io.BytesIO(data), tmp_path / "plain") == expected
    assert unpack(io.BytesIO(gzip.compress(data)), tmp_path / "gzip") == expected


def test_attributes_that_steer_overlay_are_dropped(tmp_path: Path) -> None:
    evil = {
        "user.overlay.opaque": b"y",
        "trusted.overlay.redirect": b"/etc",
        "user.overlay.metacopy": b"",
        OWNER: b"\x08\x01",
    }
    (layer,) = layers(tmp_path, [LayerTar().dir("d", xattrs=evil).file("f", xattrs=evil).bytes()])
    assert [os.listxattr(layer / name) for name in ("d", "f")] == [[], []]


def test_a_layer_that_stands_alone_keeps_its_deletions(tmp_path: Path) -> None:
    lone = (
        LayerTar().whiteout("etc/group").dir("etc").dir("usr").opaque("usr/lib").dir("usr/lib").whiteout("abs").bytes()
    )
    unpack(io.BytesIO(BASE), tmp_path / "base")
    unpack(io.BytesIO(lone), tmp_path / "lone")
    with mounted(tmp_path / "mount", [tmp_path / "base", tmp_path / "lone"]) as root:
        assert difference(shown(root), tree_of_layers([BASE, lone]), fields=VISIBLE) == []


def test_the_bottom_layer_has_nothing_to_hide(tmp_path: Path) -> None:
    unpack(io.BytesIO(LayerTar().dir("d").whiteout("d/x").opaque("d").bytes()), tmp_path / "t", bottom=True)
    assert os.listdir(tmp_path / "t/d") == []
    assert os.listxattr(tmp_path / "t/d") == []


def test_a_whiteout_behind_a_link_deletes_nothing(tmp_path: Path) -> None:
    tree = merged(tmp_path, [BASE, LayerTar().whiteout("lib/a").opaque("abs").bytes()])
    assert {"usr/lib/a", "usr/lib/deep/y"} <= tree.keys()


def test_one_uid_records_owners(tmp_path: Path) -> None:
    data = LayerTar().file("f", owner=(33, 44)).dir("d", owner=(70000, 0)).file("r").symlink("s", "f").bytes()
    top = LayerTar().file("d/x").hardlink("g", "f").bytes()
    for target, source, lower in (("a", data, []), ("b", top, [tmp_path / "a"])):
        unpack(io.BytesIO(source), tmp_path / target, lower=lower, single=True)
    owners = {
        str(path.relative_to(tmp_path)): decode_owner(os.getxattr(path, OWNER))
        for path in (tmp_path / "a/f", tmp_path / "a/d", tmp_path / "b/d", tmp_path / "b/g", tmp_path / "b/f")
    }
    assert owners == {"a/f": (33, 44), "a/d": (70000, 0), "b/d": (70000, 0), "b/g": (33, 44), "b/f": (33, 44)}
    assert OWNER not in os.listxattr(tmp_path / "a/r")
    assert os.lstat(tmp_path / "a/f").st_uid == 0


def test_what_looks_like_a_whiteout_is_none_and_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    data = LayerTar().add("etc/group", tarfile.CHRTYPE).add("new", tarfile.CHRTYPE).bytes()
    unpack(io.BytesIO(BASE), tmp_path / "base")
    unpack(io.BytesIO(data), tmp_path / "top", lower=[tmp_path / "base"], warn=told.append)
    assert len(told) == 2
    assert "etc/group" in told[0]
    assert stat.S_ISCHR(os.lstat(tmp_path / "top/etc/group").st_mode)
    assert not (tmp_path / "top/new").exists()


def test_holes_stay_holes(tmp_path: Path) -> None:
    data = b"a" + bytes(9 << 20) + b"b" + bytes(2 << 20)
    (layer,) = layers(tmp_path, [LayerTar().file("f", data).bytes()])
    assert (layer / "f").read_bytes() == data
    assert os.stat(layer / "f").st_blocks * 512 < 6 << 20


HOSTILE = {
    "link-to-directory": LayerTar().dir("d").hardlink("l", "d"),
    "link-to-nothing": LayerTar().hardlink("l", "nothing"),
    "link-to-deleted": LayerTar().whiteout("etc/passwd").hardlink("l", "etc/passwd"),
    "link-to-root": LayerTar().hardlink("l", "./"),
    "link-below-its-target": LayerTar().file("f").hardlink("f/x", "f"),
    "link-over-its-target": LayerTar().dir("d").file("d/f").hardlink("d", "d/f"),
    "root-is-a-file": LayerTar().file("./"),
    "root-is-a-link": LayerTar().hardlink("./", "etc/passwd"),
    "owner-that-means-unchanged": LayerTar().file("f", owner=(0xFFFFFFFF, 0)),
    "huge-owner": LayerTar().dir("f", owner=(1 << 40, 0)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_layer_may_say(name: str, tmp_path: Path) -> None:
    with pytest.raises(LayerFormatError):
        layers(tmp_path, [BASE, HOSTILE[name].bytes()])


def test_endless_links(tmp_path: Path) -> None:
    with pytest.raises(UnsafePathError, match="too many symbolic links"):
        layers(tmp_path, [LayerTar().symlink("a", "b").symlink("b", "a").file("a/x").bytes()])


@pytest.mark.parametrize("target", ["/outside", "../outside", "../../outside"])
def test_nothing_is_written_outside(target: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("s")
    data = (
        LayerTar()
        .symlink("l", f"{target}" if target != "/outside" else str(outside))
        .file("l/f")
        .dir("l/d")
        .symlink("l/s", "x")
        .whiteout("l/secret")
        .opaque("l")
        .bytes()
    )
    layers(tmp_path, [data])
    assert [path.name for path in outside.iterdir()] == ["secret"]


@pytest.mark.parametrize("link", ["/", "../", "../../.."])
def test_the_hosts_files_cannot_be_linked_in(link: str, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret")
    data = LayerTar().symlink("l", link).hardlink("h", "l/outside").bytes()
    with pytest.raises(LayerFormatError, match="not there"):
        layers(tmp_path, [data])


def test_a_full_or_foreign_place_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot unpack a layer into"):
        unpack(io.BytesIO(BASE), tmp_path / "file")


def remove_deep(tmp_path: Path) -> None:
    """Remove what pytest's own cleaning is not deep enough for."""
    root = os.open(tmp_path, os.O_RDONLY)
    remove(root, "layer0")
    os.close(root)


def test_deep_trees_and_many_directories(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    tar = LayerTar()
    for number in range(6):  # deeper than one path may be, through links
        deep = "/".join([f"s{number}", *["d"] * 250])
        tar.file(f"{deep}/f").file(f"{deep}/g").file(f"{deep}/f/x", b"f is a directory now").symlink(
            f"s{number + 1}", deep
        )
    for number in range(450):
        tar.file(f"many/{number}/f")
    (layer,) = layers(tmp_path, [tar.bytes()])
    assert (layer / "many/449/f").exists()
    assert (layer / "s5/d/d").exists()
    assert len(os.listdir("/proc/self/fd")) - before < 50
    remove_deep(tmp_path)


def test_a_truncated_layer(tmp_path: Path) -> None:
    with pytest.raises(LayerFormatError):
        layers(tmp_path, [LayerTar().file("f", bytes(100_000)).bytes()[:5000]])


def test_device_nodes_that_cannot_be_made_are_told_where_a_run_would_look_for_them(tmp_path):
    data = LayerTar().dir("dev").dir("srv")
    for name in ("dev/zero", "srv/zero"):
        data.add(name, tarfile.CHRTYPE, device=(0, 0))  # nobody can make it: overlay's own mark
    told: list[str] = []
    unpack(io.BytesIO(data.bytes()), tmp_path / "layer", lower=[], warn=told.append)
    assert [line.partition(" (")[0] for line in told] == ["device node srv/zero"]

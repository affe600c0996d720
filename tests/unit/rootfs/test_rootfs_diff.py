from __future__ import annotations

import io
import os
import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from builder.rootfs.diff import diff
from builder.rootfs.entry import Entry, Kind, LayerFormatError
from builder.rootfs.pack import Item
from builder.rootfs.rooted import remove
from builder.rootfs.unpack import unpack
from builder.rootfs.whiteout import OWNER, encode_owner
from tests.support.commands import run
from tests.support.need import need_root
from tests.support.overlay import LayerTar, mounted

BASE = (
    LayerTar()
    .dir("etc", mtime=50)
    .file("etc/passwd", b"root:x\n")
    .file("etc/group", b"group")
    .file("etc/dup", b"group")
    .dir("usr/lib", 0o2755, owner=(0, 8))
    .file("usr/lib/a", b"aaa", 0o4755, owner=(5, 6))
    .file("usr/lib/b", b"bbb")
    .dir("usr/lib/deep/er")
    .file("usr/lib/deep/er/x")
    .symlink("lib", "usr/lib")
    .file("capable", xattrs={"user.k": b"1"})
    .bytes()
)
SECOND = LayerTar().file("usr/lib/c", b"ccc").whiteout("usr/lib/b").file("etc/hosts").bytes()


@pytest.fixture(autouse=True)
def _as_root() -> None:
    need_root("needs root: overlay mounts")


def change(tmp_path: Path, work: Callable[[Path], object], tars: Sequence[bytes] = (BASE, SECOND)) -> list[Item]:
    """Return the diff of what ``work`` does to a mounted stack."""
    done: list[Path] = []
    for number, data in enumerate(tars):
        unpack(io.BytesIO(data), tmp_path / f"layer{number}", lower=done)
        done.append(tmp_path / f"layer{number}")
    upper = tmp_path / "upper"
    upper.mkdir()
    with mounted(tmp_path / "mount", done, upper) as root:
        work(root)
    return list(diff(upper, done))


def brief(items: Sequence[Item]) -> list[str]:
    return [f"{item.entry.kind.value} {item.entry.path}" for item in items]


def shell(command: str) -> Callable[[Path], object]:
    return lambda root: run(["/bin/sh", "-ec", command], cwd=root)


NO_CHANGE = {
    "nothing": ":",
    "chmod-to-the-same": "chmod 644 etc/passwd; chmod 755 etc",
    "chown-to-the-same": "chown 0:0 etc/passwd; chown -h 0:0 lib",
    "touch-access-time": "touch -a etc/passwd",
    "there-and-back": "mv etc/passwd x; mv x etc/passwd",
    "made-and-removed": "mkdir -p n/m; touch n/m/f; rm -r n",
    "directory-time": "touch etc; touch -d @1 usr/lib",
    "in-a-directory-and-out": "touch etc/x; rm etc/x",
    "copied-with-everything": "cp -p etc/passwd x; rm etc/passwd; cp -p x etc/passwd; rm x",
    "socket": "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"etc/sock\")'",
}


@pytest.mark.parametrize("name", NO_CHANGE)
def test_no_change(name: str, tmp_path: Path) -> None:
    assert brief(change(tmp_path, shell(NO_CHANGE[name]))) == []


CHANGES = {
    "time": ("touch etc/passwd", ["d etc", "f etc/passwd"]),
    "rewritten": ("cat etc/passwd > x; cat x > etc/passwd; rm x", ["d etc", "f etc/passwd"]),
    "mode": ("chmod 600 etc/passwd", ["d etc", "f etc/passwd"]),
    "owner": ("chown 0:1 etc/passwd", ["d etc", "f etc/passwd"]),
    "directory-mode": ("chmod 700 usr/lib/deep", ["d usr", "d usr/lib", "d usr/lib/deep"]),
    "directory-attribute": ("setfattr -n user.x -v 1 usr/lib", ["d usr", "d usr/lib"]),
    "attribute": ("setfattr -n user.k -v 2 capable", ["f capable"]),
    "attribute-gone": ("setfattr -x user.k capable", ["f capable"]),
    "same-size-and-time": (
        "printf 'toor:x\n' > etc/passwd; touch -d @1000000000 etc/passwd",
        ["d etc", "f etc/passwd"],
    ),
    "new-in-root": ("touch -d @1 n", ["f n"]),
    "link-target": ("ln -sfn usr lib", ["s lib"]),
    "deleted": ("rm etc/group", ["d etc", "w etc/group"]),
    "deleted-tree": ("rm -r usr", ["w usr"]),
    "deleted-file-of-two-layers": ("rm usr/lib/c", ["d usr", "d usr/lib", "w usr/lib/c"]),
    "emptied-and-made-again": (
        "rm -r usr/lib; mkdir -m 2755 usr/lib; chgrp 8 usr/lib; chmod 2755 usr/lib",
        ["d usr", "d usr/lib", "w usr/lib/a", "w usr/lib/c", "w usr/lib/deep"],
    ),
    "opaque-below": (
        "cp -a usr/lib/deep k; rm -r usr/lib/deep; mv k usr/lib/deep; rm usr/lib/deep/er/x; touch usr/lib/deep/er/y",
        ["d usr", "d usr/lib", "d usr/lib/deep", "d usr/lib/deep/er", "w usr/lib/deep/er/x", "f usr/lib/deep/er/y"],
    ),
    "file-for-directory": ("rm -r usr/lib; echo > usr/lib", ["d usr", "f usr/lib"]),
    "directory-for-file": (
        "rm etc/passwd; mkdir etc/passwd; touch etc/passwd/f",
        ["d etc", "d etc/passwd", "f etc/passwd/f"],
    ),
    "directory-for-link": ("rm lib; mkdir lib; touch lib/a", ["d lib", "f lib/a"]),
    "whiteouts-before-adds": (
        "rm etc/passwd etc/hosts; touch etc/a etc/z",
        ["d etc", "w etc/hosts", "w etc/passwd", "f etc/a", "f etc/z"],
    ),
    "new-link-of-unchanged": ("ln etc/passwd etc/p2", ["d etc", "f etc/p2", "h etc/passwd"]),
    "links-across": ("ln etc/passwd a; ln etc/passwd z", ["f a", "d etc", "h etc/passwd", "h z"]),
    "equal-files-become-one": ("ln -f etc/group etc/dup", ["d etc", "f etc/dup", "h etc/group"]),
    "fifo-and-device": ("mkfifo -m 600 p; mknod n c 1 3", ["c n", "p p"]),
    "socket-for-file": (
        "rm etc/group; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"etc/group\")'",
        ["d etc", "w etc/group"],
    ),
    "moved-tree": ("mv usr/lib/deep d", ["d d", "d d/er", "f d/er/x", "d usr", "d usr/lib", "w usr/lib/deep"]),
    "order-of-names": ("mkdir a; touch a/x a.b a-b", ["d a", "f a/x", "f a-b", "f a.b"]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_change(name: str, tmp_path: Path) -> None:
    command, expected = CHANGES[name]
    assert brief(change(tmp_path, shell(command))) == expected


def find(items: Sequence[Item], path: str) -> Entry:
    return next(item.entry for item in items if item.entry.path == path)


def test_parents_have_the_metadata_one_sees(tmp_path: Path) -> None:
    entry = find(change(tmp_path, shell("touch usr/lib/new")), "usr/lib")
    assert (entry.mode, entry.uid, entry.gid) == (0o2755, 0, 8)


def test_links_say_where_the_file_is_and_repeat_its_attributes(tmp_path: Path) -> None:
    items = change(tmp_path, shell("ln capable z; setfattr -n user.k -v 3 z"))
    entry = find(items, "z")
    assert (entry.kind, entry.target, entry.size, entry.xattrs) == (Kind.HARDLINK, "capable", 0, {"user.k": b"3"})
    assert items[1].content is None


def test_only_attributes_of_layers(tmp_path: Path) -> None:
    command = (
        f"mkdir d; touch d/f; setfattr -n {OWNER} -v x d/f; setfattr -n trusted.x -v 1 d/f; setfattr -n user.y -v 1 d"
    )
    items = change(tmp_path, shell(command))
    assert (find(items, "d").xattrs, find(items, "d/f").xattrs) == ({"user.y": b"1"}, {})


def test_times_are_whole_seconds_and_clamped(tmp_path: Path) -> None:
    change(tmp_path, shell("touch -d @100.9 old; touch -d @-1.5 older; touch -d @300 new; rm etc/group"))
    lowers = [tmp_path / "layer0", tmp_path / "layer1"]
    free = {item.entry.path: item.entry.mtime for item in diff(tmp_path / "upper", lowers)}
    clamped = {item.entry.path: item.entry.mtime for item in diff(tmp_path / "upper", lowers, clamp=200)}
    assert (free["old"], free["older"], free["new"], free["etc/group"]) == (100, -2, 300, 0)
    assert clamped == {"old": 100, "older": -2, "new": 200, "etc": 200, "etc/group": 200}


def test_small_contents_are_there_and_others_are_opened_when_asked_for(tmp_path: Path) -> None:
    small, large = change(tmp_path, shell("echo hello > f; yes | head -c 65537 > g"))
    assert small.content == b"hello\n"
    assert callable(large.content)
    with large.content() as stream:
        assert stream.read() == b"y\n" * 32768 + b"y"


@pytest.mark.parametrize("name", [".wh.x", ".wh..wh..opq"])
def test_a_name_that_layers_reserve(name: str, tmp_path: Path) -> None:
    with pytest.raises(LayerFormatError, match=rf"etc/{re.escape(name)}: names that begin with \.wh\. mean deletions"):
        change(tmp_path, shell(f"touch etc/{name}"))


def test_only_the_kernels_mark_makes_a_directory_opaque(tmp_path: Path) -> None:
    need_root("needs root: trusted attributes")
    unpack(io.BytesIO(BASE), tmp_path / "base")
    etc = tmp_path / "upper/etc"
    etc.mkdir(parents=True)
    (etc / "n").touch()
    for name in ("trusted.overlay.opaque", "user.fuseoverlayfs.opaque"):
        os.setxattr(etc, name, b"y")
    assert brief(list(diff(tmp_path / "upper", [tmp_path / "base"]))) == ["d etc", "f etc/n"]
    os.setxattr(etc, "user.overlay.opaque", b"y")
    assert brief(list(diff(tmp_path / "upper", [tmp_path / "base"]))) == [
        "d etc",
        "w etc/dup",
        "w etc/group",
        "w etc/passwd",
        "f etc/n",
    ]


def test_no_whiteout_for_what_was_never_there(tmp_path: Path) -> None:
    unpack(io.BytesIO(BASE), tmp_path / "base")
    unpack(io.BytesIO(LayerTar().whiteout("etc/group").bytes()), tmp_path / "top", lower=[tmp_path / "base"])
    upper = tmp_path / "upper"
    (upper / "etc").mkdir(parents=True)
    for name in ("none", "etc/none", "etc/group"):
        os.mknod(upper / name, 0o020000, 0)
    assert brief(list(diff(upper, [tmp_path / "base", tmp_path / "top"]))) == []


def test_recorded_owners(tmp_path: Path) -> None:
    unpack(io.BytesIO(BASE), tmp_path / "base", single=True)
    upper = tmp_path / "upper"
    with mounted(tmp_path / "mount", [tmp_path / "base"], upper_made(upper)) as root:
        os.chmod(root / "usr/lib/a", 0o4755)  # copied up with the record of its owner, and the same
        (root / "new").touch()
        os.setxattr(root / "new", OWNER, encode_owner(33, 0))
        (root / "etc/plain").touch()
    items = list(diff(upper, [tmp_path / "base"], single=True))
    assert brief(items) == ["d etc", "f etc/plain", "f new"]
    assert [(item.entry.uid, item.entry.gid) for item in items] == [(0, 0), (0, 0), (33, 0)]


def upper_made(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("name", ["d", "d" * 200])
def test_a_tree_too_deep_for_a_layer(name: str, tmp_path: Path) -> None:
    here = os.open(upper_made(tmp_path / "upper"), os.O_RDONLY)
    for _ in range(300):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(LayerFormatError, match=r"directories deep|too long"):
        list(diff(tmp_path / "upper", []))
    root = os.open(tmp_path, os.O_RDONLY)
    remove(root, "upper")
    os.close(root)


def test_a_plain_directory_needs_no_layers_below(tmp_path: Path) -> None:
    (tmp_path / "t/a").mkdir(parents=True)
    (tmp_path / "t/a/f").touch()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "t/s"))
    assert brief(list(diff(tmp_path / "t", []))) == ["d a", "f a/f"]

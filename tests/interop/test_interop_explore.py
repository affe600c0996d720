"""What exploring says is there after each layer, and what it counts, is what umoci unpacks."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from builder.cli.main import main
from tests.support import images
from tests.support.commands import run
from tests.support.need import need_tool

_Member = Any

_D, _F, _S, _H = images.directory, images.file, images.symlink, images.hardlink

# Each case has its own directory of one image; the members of its layers, in order.
CASES: dict[str, list[list[_Member]]] = {
    "opaque": [
        [_D("a"), _F("a/x", "11"), _D("a/s"), _F("a/s/y", "22")],
        [_D("a"), _F("a/.wh..wh..opq"), _F("a/x", "4")],
    ],
    "opaque-last": [[_D("a"), _F("a/x", "11")], [_D("a"), _F("a/z", "3"), _F("a/.wh..wh..opq")]],
    "opaque-alone": [[_D("a", mode=0o700), _F("a/x", "11")], [_F("a/.wh..wh..opq"), _F("a/z", "3")]],
    "again": [[_D("a"), _F("a/x", "11"), _F("a/k", "5")], [_F(".wh.a")], [_D("a"), _F("a/x", "11")]],
    "again-at-once": [[_D("a"), _F("a/x", "11"), _F("a/k", "5")], [_F(".wh.a"), _D("a"), _F("a/x", "11")]],
    "whiteout-after": [[_D("a"), _F("a/x", "11")], [_D("a"), _F("a/x", "22"), _F("a/.wh.x")]],
    "file-and-whiteout": [[_D("a"), _F("a/x", "11")], [_F("a", "22"), _F(".wh.a")]],
    "link": [[_F("a", "1" * 10), _H("b", "a")], [_F(".wh.a")]],
    "link-replaced": [[_F("a", "1" * 10), _H("b", "a")], [_F("a", "2" * 7)], [_F(".wh.a")]],
    "link-below": [[_F("a", "1" * 10)], [_H("b", "a")], [_F(".wh.a")]],
    "links-gone": [[_F("a", "1" * 10), _H("b", "a"), _H("c", "b")], [_F(".wh.a")], [_F(".wh.b"), _F(".wh.c")]],
    "through-symlink": [[_D("usr"), _D("usr/bin"), _S("bin", "usr/bin"), _F("usr/bin/t", "1")], [_F("bin/t", "22")]],
    "over-symlink": [[_D("usr"), _S("bin", "usr"), _F("usr/t", "1")], [_D("bin"), _F("bin/u", "3")]],
    "kinds": [[_D("a"), _F("a/x", "1")], [_F("a", "file")], [_D("a"), _F("a/y", "2")]],
    "implied": [[_F("x/y/z", "1")], [_F("x/y/.wh.z")], [_F("x/.wh.y")]],
    "written": [[_F("./a", "1"), _D("./b/")], [_D("./b", mode=0o700), _F("/b/c", "x")], [_F("b//c", "yy")]],
    "often": [[_F("a", "1")], [_F("a", "22"), _F(".wh.none")], [_F("a", "333")], [_F(".wh.a")], [_F("a", "1")]],
    "empty": [[], [_F("a", "1")], []],
}


def _layers() -> list[bytes]:
    layers: list[list[_Member]] = [[] for _ in range(max(map(len, CASES.values())))]
    for name, case in CASES.items():
        layers[0].append(_D(name))
        for layer, members in zip(layers, case, strict=False):
            for one in members:
                header, data = one if isinstance(one, tuple) else (one, b"")
                header.name = f"{name}/{header.name}"
                if header.islnk():
                    header.linkname = f"{name}/{header.linkname}"
                layer.append((header, data))
    return [images.layer(*members) for members in layers]


def _unpacked(layers: list[bytes], folder: Path) -> tuple[dict[str, tuple[object, ...]], int]:
    """Return what umoci makes of layers, and the bytes of all files, each counted once."""
    images.write_layout(folder / "layout", layers)
    run([need_tool("umoci"), "raw", "unpack", "--image", f"{folder / 'layout'}:latest", str(folder / "root")])
    found: dict[str, tuple[object, ...]] = {}
    sizes = {}
    for above, directories, files in os.walk(folder / "root"):
        for path in (Path(above) / name for name in directories + files):
            status = path.lstat()
            known: tuple[object, ...] = (status.st_mode,)
            if stat.S_ISREG(status.st_mode):
                sizes[status.st_ino] = status.st_size
                known += (status.st_size,)
            elif stat.S_ISLNK(status.st_mode):
                known += (str(path.readlink()),)
            found["/" + str(path.relative_to(folder / "root"))] = known
    return found, sum(sizes.values())


_TYPES = {"file": stat.S_IFREG, "hardlink": stat.S_IFREG, "directory": stat.S_IFDIR, "symlink": stat.S_IFLNK}


def _explored(value: dict[str, Any], layer: int) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for one in value["files"]:
        versions = [version for version in one["versions"] if version["layer"] <= layer]
        if versions and versions[-1]["change"] != "removed" and one["path"] != "/":
            last = versions[-1]
            known: tuple[object, ...] = (_TYPES[last["kind"]] | int(last["mode"], 8),)
            if last["kind"] in ("file", "hardlink"):
                known += (last["size"],)
            elif last["kind"] == "symlink":
                known += (last["target"],)
            found[one["path"]] = known
    return found


def test_what_is_there_after_each_layer(tmp_path: Path, store_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layers = _layers()
    images.write_layout(tmp_path / "all", layers)
    assert main(["explore", "--json", str(tmp_path / "all")]) == 0
    value = json.loads(capsys.readouterr().out)
    seen = 0
    for number in range(len(layers)):
        (tmp_path / str(number)).mkdir()
        there, seen = _unpacked(layers[: number + 1], tmp_path / str(number))
        assert _explored(value, number) == there, f"after layer {number + 1}"
    (image,) = value["images"]
    assert image["bytes"] == seen
    stored = sum(
        len(one[1]) for case in CASES.values() for members in case for one in members if isinstance(one, tuple)
    )
    assert image["bytes"] + image["hiddenBytes"] == stored

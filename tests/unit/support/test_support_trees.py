"""The judges are judged first: trees read from directories, tars and layouts agree."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

from tests.support import images, trees


def test_a_directory_its_tar_and_its_layout_are_the_same_tree(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "d/e").mkdir(parents=True)
    (root / "d/file").write_text("contents")
    os.link(root / "d/file", root / "d/other")
    (root / "d/link").symlink_to("../nowhere")
    os.mkfifo(root / "d/fifo")
    (root / "d/e").chmod(0o1777)
    data = images.tar_directory(root)
    (tmp_path / "root.tar").write_bytes(data)
    images.write_layout(tmp_path / "layout", [data])

    there = trees.tree_of(root)
    archived = trees.tree_of(tmp_path / "root.tar")

    owner = [name for name in trees.Entry._fields if name not in ("uid", "gid")]
    assert trees.difference(there, archived, fields=owner) == []
    assert trees.tree_of(tmp_path / "layout") == archived
    assert archived["d/file"].group == ("d/file", "d/other")
    assert archived["d/e"].mode == 0o1777


def test_a_difference_names_path_and_field() -> None:
    ours = trees.tree_of_layers([images.layer(images.file("a", "1"), images.file("only"))])
    theirs = trees.tree_of_layers([images.layer(images.file("a", "1", mode=0o600), images.directory("skip"))])

    assert trees.difference(ours, theirs, ignore=["skip"]) == [
        "a: mode 0o644 in ours, 0o600 in theirs",
        "only: only in ours (file 644)",
    ]


def test_layers_are_applied_with_whiteouts_links_and_symlinked_parents() -> None:
    lower = images.layer(
        images.directory("run"),
        images.symlink("var/run", "/run"),
        images.file("gone/x"),
        images.file("opaque/old"),
        images.file("was-dir/x"),
        images.directory("kept", 0o700),
        images.file("kept/x"),
    )
    upper = images.layer(
        images.file(".wh.gone"),
        images.file("opaque/new"),
        images.file("opaque/.wh..wh..opq"),
        images.file("was-dir"),
        images.directory("kept", 0o711),
        images.file("var/run/pid", "1"),
        images.hardlink("pid", "run/pid"),
    )

    tree = trees.tree_of_layers([lower, upper])

    assert sorted(tree) == [
        *(".", "kept", "kept/x", "opaque", "opaque/new", "pid", "run", "run/pid", "var", "var/run", "was-dir"),
    ]
    assert tree["was-dir"].type == "file"
    assert tree["kept"].mode == 0o711
    assert tree["pid"].group == ("pid", "run/pid")


def test_xattrs_come_from_pax_headers() -> None:
    member = images.member("x", tarfile.REGTYPE, pax_headers={"SCHILY.xattr.user.a": "b"})

    assert trees.tree_of_layers([images.layer(member)])["x"].xattrs == (("user.a", b"b"),)

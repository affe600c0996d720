"""Stacks of layers as one tree: the cases that builders get wrong, each by name. The law is in tests/property."""

from __future__ import annotations

import pytest

from builder.rootfs.entry import Entry, Kind, LayerFormatError, UnsafePathError
from builder.rootfs.pack import Item
from builder.rootfs.view import Located, View
from tests.support.layers import layer, made, toc_of

D, F, S, H, W, O = Kind.DIRECTORY, Kind.FILE, Kind.SYMLINK, Kind.HARDLINK, Kind.WHITEOUT, Kind.OPAQUE  # noqa: E741  no zero near it


def view(*layers: list[Entry]) -> View:
    return View([toc_of(*entries) for entries in layers])


def paths(tree: View, path: str = "") -> list[str]:
    return [located.entry.path for located in tree.walk(path)]


def at(tree: View, path: str) -> Located:
    located = tree.lookup(path)
    assert located is not None
    return located


def test_nothing() -> None:
    empty = View([])
    assert paths(empty) == [""]
    assert at(empty, "").entry.is_dir
    assert empty.lookup("x") is None
    assert list(empty.children("")) == list(empty.children("x")) == list(empty.walk("x")) == []
    assert empty.resolve("/a/../../b/./c/") == "b/c"


def test_an_implied_directory_never_overrides() -> None:
    tree = view([made(D, "tmp", mode=0o1777, uid=3, mtime=4)], [made(F, "tmp/x")], [made(F, "tmp/y"), made(F, "new/z")])
    assert (at(tree, "tmp").entry.mode, at(tree, "tmp").layer) == (0o1777, 0)
    assert (at(tree, "new").entry.mode, at(tree, "new").layer, at(tree, "new").offset) == (0o755, -1, -1)
    assert [child.entry.path for child in tree.children("tmp")] == ["tmp/x", "tmp/y"]


def test_a_directory_entry_updates_and_merges() -> None:
    tree = view([made(D, "a", mode=0o700), made(F, "a/x")], [made(D, "a", mode=0o711), made(F, "a/y")])
    assert (at(tree, "a").entry.mode, at(tree, "a").layer) == (0o711, 1)
    assert paths(tree, "a") == ["a", "a/x", "a/y"]


def test_whiteouts_hide_only_lower_layers() -> None:
    tree = view(
        [made(D, "a"), made(F, "a/x"), made(F, "b")], [made(W, "a"), made(W, "b"), made(F, "a/y"), made(F, "b", size=2)]
    )
    assert paths(tree) == ["", "a", "a/y", "b"]
    assert at(tree, "b").entry.size == 2
    assert at(tree, "a").layer == -1
    tree = view([made(F, "a")], [made(W, "a")], [made(F, "a", size=3)], [made(W, "none"), made(W, "none/x")])
    assert paths(tree) == ["", "a"]


def test_a_whiteout_makes_no_directory() -> None:
    assert paths(view([made(F, "a")], [made(W, "d/x"), made(W, "a/b"), made(O, "e")])) == ["", "a"]


def test_an_opaque_directory_keeps_itself_and_its_layers_entries() -> None:
    tree = view([made(D, "a", mode=0o700), made(F, "a/x")], [made(F, "a/y"), made(O, "a")])
    assert paths(tree, "a") == ["a", "a/y"]
    assert at(tree, "a").entry.mode == 0o700
    assert paths(view([made(F, "x")], [made(O, ""), made(F, "y")])) == ["", "y"]


def test_type_changes() -> None:
    assert paths(view([made(D, "a"), made(F, "a/x")], [made(F, "a")])) == ["", "a"]
    assert paths(view([made(D, "a"), made(F, "a/x")], [made(F, "a")], [made(D, "a")])) == ["", "a"]
    assert paths(view([made(F, "a")], [made(F, "a/x")])) == ["", "a", "a/x"]
    assert at(view([made(S, "a", "b"), made(D, "b"), made(F, "b/x")], [made(D, "a")]), "a").entry.kind is D


def test_parents_follow_symlinks_of_lower_layers() -> None:
    base = [made(D, "run"), made(D, "var"), made(S, "var/run", "/../../run"), made(S, "lib", "usr/lib")]
    tree = view(base, [made(F, "var/run/pid"), made(F, "lib/x/y"), made(W, "var/run/none")])
    assert paths(tree) == ["", "lib", "run", "run/pid", "usr", "usr/lib", "usr/lib/x", "usr/lib/x/y", "var", "var/run"]
    assert tree.lookup("var/run/pid") is None
    assert tree.resolve("var/run/pid") == "run/pid"
    assert at(tree, "run/pid").group == "run/pid"


def test_whiteouts_follow_no_symlink() -> None:
    tree = view([made(D, "b"), made(F, "b/x"), made(S, "a", "b")], [made(W, "a/x"), made(O, "a")])
    assert paths(tree) == ["", "a", "b", "b/x"]


def test_an_explicit_directory_replaces_a_lower_symlink() -> None:
    tree = view([made(D, "b"), made(S, "a", "b")], [made(D, "a"), made(F, "a/x")])
    assert paths(tree) == ["", "a", "a/x", "b"]


def test_hard_links_show_the_file_they_were_made_of() -> None:
    tree = view(
        [made(D, "d"), made(F, "d/f", size=3, uid=7)],
        [made(H, "link", "d/f"), made(H, "link2", "link")],
        [made(F, "d/f", size=9)],
    )
    first, second = at(tree, "link"), at(tree, "link2")
    assert (first.entry.kind, first.entry.size, first.entry.uid, first.layer) == (F, 3, 7, 0)
    assert (first.entry.path, second.entry.path) == ("link", "link2")
    assert first.group == second.group
    assert first.group != at(tree, "d/f").group == "d/f"
    assert "\0" in first.group
    tree = view([made(F, "f", size=3)], [made(H, "l", "f")])
    assert at(tree, "l").group == at(tree, "f").group == "f"
    assert (at(tree, "l").layer, at(tree, "l").offset) == (0, at(tree, "f").offset)
    assert tree.kind_of("l") == (F, "")


def test_hard_links_to_nothing_or_to_directories_are_refused_when_met() -> None:
    for entries in ([made(H, "l", "none")], [made(D, "d"), made(H, "l", "d")], [made(F, "d/x"), made(H, "l", "d")]):
        tree = view(entries)
        with pytest.raises(LayerFormatError, match="hard link"):
            tree.lookup("l")


def test_hard_links_to_symlinks() -> None:
    tree = view([made(S, "s", "d"), made(D, "d"), made(F, "d/x")], [made(H, "t", "s")], [made(F, "t/y")])
    assert at(tree, "t").entry.target == "d"
    assert paths(tree) == ["", "d", "d/x", "d/y", "s", "t"]


def test_resolution() -> None:
    tree = view(
        [
            made(D, "a"),
            made(S, "a/up", "../../../b/./c"),
            made(S, "abs", "/a"),
            made(S, "loop", "loop/x"),
            made(S, "gone", "none/../x"),
            made(F, "file"),
            made(S, "last", "abs/up"),
        ]
    )
    assert tree.resolve("/abs/up/z") == "b/c/z"
    assert tree.resolve("last") == "b/c"
    assert tree.resolve("../../abs/..") == ""
    assert tree.resolve("gone") == "x"
    assert tree.resolve("file/../a") == "a"
    assert tree.resolve("") == tree.resolve("/") == tree.resolve(".") == ""
    with pytest.raises(UnsafePathError, match="too many symbolic links"):
        tree.resolve("loop")


def test_small_files_come_from_the_layer_that_wins() -> None:
    def passwd(path: str, data: bytes) -> Item:
        return Item(made(F, path, size=len(data)), data)

    first = layer([passwd("etc/passwd", b"one"), passwd("etc/group", b"g")])[1]
    second = layer([passwd("etc/passwd", b"two"), Item(made(S, "link", "/etc/passwd"))])[1]
    third = layer([Item(made(W, "etc/group")), Item(made(D, "usr")), Item(made(F, "usr/x"))])[1]
    tree = View([first, second, third])
    assert tree.small_file("etc/passwd") == tree.small_file("link") == b"two"
    assert tree.small_file("etc/group") is None
    assert tree.small_file("usr/x") is None
    moved = View([first, layer([Item(made(S, "etc", "usr/etc")), passwd("etc/passwd", b"moved")])[1]])
    assert moved.lookup("usr/etc/passwd") is not None


def test_order_is_that_of_keys_and_parents_come_first() -> None:
    tree = view([made(F, "a.b"), made(F, "a/z")], [made(F, "a-b"), made(F, "a/b/c"), made(F, "é")])
    assert paths(tree) == ["", "a", "a/b", "a/b/c", "a/z", "a-b", "a.b", "é"]


def test_many_layers() -> None:
    tree = view(*([made(D, "d", mtime=i), made(F, f"d/{i:03}"), made(W, f"d/{i - 1:03}")] for i in range(127)))
    assert paths(tree) == ["", "d", "d/126"]
    assert at(tree, "d").entry.mtime == 126


def test_a_deep_tree_needs_no_deep_recursion() -> None:
    deep = "/".join(["d"] * 256)
    tree = view([made(F, deep)], [made(W, "x"), made(S, "s", "d")], [made(F, f"s/{deep[4:]}x")])
    assert len(paths(tree)) == 257 + 2
    assert at(tree, deep).layer == 0

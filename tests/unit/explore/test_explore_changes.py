"""What each layer did to each path."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from builder.errors import InterruptedBuildError
from builder.explore.changes import Change, Difference, walk
from builder.explore.counting import COPIES_LIMIT, Counts
from builder.explore.reading import Stack, read_stack
from builder.image.artifact import Artifact
from builder.image.digest import DigestMismatchError
from builder.rootfs.entry import Kind, LayerFormatError
from tests.support import images

ADDED, CHANGED, METADATA, REMOVED, REWRITTEN = Change


def _artifact(target: Path) -> Artifact:
    from builder.archive.files import open_files
    from builder.archive.oci_layout import read_layout

    return read_layout(open_files(target, target), "")


def _stack(target: Path, layers: Iterable[bytes]) -> Stack:
    target.mkdir(parents=True)
    images.write_layout(target, list(layers))
    return read_stack(_artifact(target).image().layers, target, lambda: None)


def _changes(stack: Stack) -> dict[str, list[tuple[int, Change]]]:
    return {node.path: [(one.layer, one.change) for one in node.stacks[0]] for node in walk([stack])}


def test_each_kind_of_change(tmp_path: Path) -> None:
    stack = _stack(
        tmp_path / "a",
        (
            images.layer(
                images.directory("d"),
                *(images.file(f"d/{name}", "12345") for name in ("contents", "mode", "time", "gone", "link")),
            ),
            images.layer(
                images.directory("d", mtime=9),
                images.file("d/contents", "54321"),
                images.file("d/mode", "12345", mode=0o600),
                images.file("d/time", "12345", mtime=7),
                images.file("d/.wh.gone"),
                images.symlink("d/link", "time"),
                images.file("d/new"),
            ),
        ),
    )
    assert _changes(stack) == {
        "": [(0, ADDED)],
        "d": [(0, ADDED), (1, REWRITTEN)],
        "d/contents": [(0, ADDED), (1, CHANGED)],
        "d/gone": [(0, ADDED), (1, REMOVED)],
        "d/link": [(0, ADDED), (1, CHANGED)],
        "d/mode": [(0, ADDED), (1, METADATA)],
        "d/new": [(1, ADDED)],
        "d/time": [(0, ADDED), (1, REWRITTEN)],
    }


@pytest.mark.parametrize(
    "hiding",
    [
        [images.file(".wh.d")],
        [images.directory("d"), images.file("d/.wh..wh..opq")],
        [images.file("d", "now a file")],
    ],
    ids=["whiteout", "opaque", "replaced"],
)
def test_what_hides_a_directory_removes_all_in_it(hiding: list[tuple[object, bytes]], tmp_path: Path) -> None:
    first = images.layer(images.directory("d"), images.directory("d/e"), images.file("d/e/f", "12"))
    stack = _stack(tmp_path / "a", (first, images.layer(*hiding), images.layer(images.file("d/e/f", "12"))))
    changes = _changes(stack)
    assert changes["d/e"] == [(0, ADDED), (1, REMOVED), (2, ADDED)]
    assert changes["d/e/f"] == [(0, ADDED), (1, REMOVED), (2, ADDED)]


def test_paths_are_those_of_the_tree_and_not_of_the_tar(tmp_path: Path) -> None:
    first = images.layer(images.directory("usr/bin"), images.symlink("bin", "usr/bin"))
    stack = _stack(tmp_path / "a", (first, images.layer(images.file("bin/tool", "12"))))
    assert _changes(stack)["usr/bin/tool"] == [(1, ADDED)]
    assert "bin/tool" not in _changes(stack)


def test_two_images_and_where_they_differ(tmp_path: Path) -> None:
    common = images.layer(images.file("same", "1"), images.file("mode", "1"), images.file("old", "1"))
    a = _stack(tmp_path / "a", (common, images.layer(images.file("text", "aa"))))
    b = _stack(
        tmp_path / "b",
        (
            images.layer(images.file("same", "1", mtime=4), images.file("mode", "1", mode=0o777)),
            images.layer(images.file("text", "bb"), images.file("new", "1")),
        ),
    )
    assert {node.path: node.difference for node in walk([a, b])} == {
        "": Difference.NONE,
        "mode": Difference.METADATA,
        "new": Difference.ADDED,
        "old": Difference.REMOVED,
        "same": Difference.NONE,
        "text": Difference.CHANGED,
    }


def test_bytes_that_nobody_sees_are_counted_in_the_layer_that_has_them(tmp_path: Path) -> None:
    stack = _stack(
        tmp_path / "a",
        (
            images.layer(images.file("a", "x" * 100), images.file("b", "y" * 10)),
            images.layer(images.file("a", "x" * 200), images.file(".wh.b")),
            images.layer(images.file("a", "z" * 5)),
        ),
    )
    counts = Counts(stack)
    for node in walk([stack]):
        counts.add(node.path, node.stacks[0])
    assert (counts.size, counts.hidden, counts.hidden_files, counts.files) == (5, 310, 2, 1)
    assert [(one.size, one.hidden) for one in counts.layers] == [(110, 110), (200, 200), (5, 0)]
    assert [(one.path, one.bytes, one.layers, one.by, one.removed) for one in counts.most_hidden()] == [
        ("a", 300, (0, 1), 2, False),
        ("b", 10, (0,), 1, True),
    ]
    assert counts.efficiency == 5 / 315


LINKED = (images.file("a", "x" * 10), images.hardlink("b", "a"), images.hardlink("c", "b"))


@pytest.mark.parametrize(
    ("layers", "seen", "hidden", "files"),
    [
        ([LINKED], 10, [], 1),
        ([LINKED, [images.file(".wh.a")]], 10, [], 1),
        ([LINKED, [images.file("a", "y" * 7)]], 17, [], 2),
        ([LINKED, [images.file(".wh.b"), images.file(".wh.c")]], 10, [], 1),
        ([LINKED, [images.file(f".wh.{name}") for name in "abc"]], 0, [("a", 10, (0,))], 0),
        ([LINKED[:1], [images.hardlink("z", "a")], [images.file(".wh.a")]], 10, [], 1),
        ([LINKED, [images.file("a", "y" * 7)], [images.file(".wh.a")]], 10, [("a", 7, (1,))], 1),
        ([[*LINKED, images.file("a", "y" * 7)]], 17, [], 2),
        ([[*LINKED, images.file("a/in", "y" * 7)]], 17, [], 2),
        ([LINKED, LINKED], 10, [("a", 10, (0,))], 1),
    ],
)
def test_a_file_is_there_as_long_as_one_of_its_names(
    layers: list[list[tuple[object, bytes]]],
    seen: int,
    hidden: list[tuple[str, int, tuple[int, ...]]],
    files: int,
    tmp_path: Path,
) -> None:
    stack = _stack(tmp_path / "a", [images.layer(*members) for members in layers])
    counts = Counts(stack)
    for node in walk([stack]):
        counts.add(node.path, node.stacks[0])
    assert (counts.size, counts.files) == (seen, files)
    assert [(one.path, one.bytes, one.layers) for one in counts.most_hidden()] == hidden
    assert sum(one.size for one in counts.layers) == counts.total
    assert sum(one.hidden for one in counts.layers) == counts.hidden == sum(cost for _, cost, _ in hidden)


def test_a_hard_link_changes_with_its_file(tmp_path: Path) -> None:
    first = [images.file("a", "11", mode=0o640, uid=5), images.hardlink("b", "a"), images.file("c", "33")]
    second = [images.file("a", "22", mode=0o640, uid=5), images.hardlink("b", "a"), images.hardlink("c", "a")]
    third = [images.file("b", "22", mode=0o640, uid=5), images.file("c", "22", mode=0o600)]
    stack = _stack(tmp_path / "a", [images.layer(*members) for members in (first, second, third)])
    changes = _changes(stack)
    assert changes["b"] == [(0, ADDED), (1, CHANGED), (2, REWRITTEN)]
    assert changes["c"] == [(0, ADDED), (1, CHANGED), (2, METADATA)]
    (link,) = (node.stacks[0][0].entry for node in walk([stack]) if node.path == "b")
    assert link is not None
    assert (link.kind, link.target, link.mode, link.uid, link.size) == (Kind.HARDLINK, "a", 0o640, 5, 2)


def test_equal_files_are_counted_and_named(tmp_path: Path) -> None:
    names = [f"copy{number:02}" for number in range(COPIES_LIMIT + 5)]
    stack = _stack(
        tmp_path / "a",
        (
            images.layer(images.file("alone", "1"), images.file("e1"), images.file("e2")),
            images.layer(*(images.file(name, "same") for name in names)),
        ),
    )
    counts = Counts(stack)
    for node in walk([stack]):
        counts.add(node.path, node.stacks[0])
    (group,) = counts.equal()
    assert (group.size, group.count, group.wasted) == (4, len(names), 4 * (len(names) - 1))
    assert group.paths == names[:COPIES_LIMIT]
    assert counts.equal_bytes == group.wasted


def test_holes_are_what_a_reader_sees_and_a_terabyte_of_them_takes_no_time(tmp_path: Path) -> None:
    def sparse(size: int, data: str) -> bytes:
        headers = {"GNU.sparse.map": f"0,{len(data)}", "GNU.sparse.size": str(size)}
        return images.layer(images.file("f", data, pax_headers=headers))

    plain = images.layer(images.file("f", b"data" + bytes(9_996)))
    assert _changes(_stack(tmp_path / "a", (sparse(10_000, "data"), plain)))["f"] == [(0, ADDED), (1, REWRITTEN)]
    large = [sparse(1 << 40, data) for data in ("data", "data", "else")]
    large[1] += bytes(512)  # another layer
    assert _changes(_stack(tmp_path / "b", large))["f"] == [(0, ADDED), (1, REWRITTEN), (2, CHANGED)]


def test_a_layer_is_checked_also_where_another_has_its_name(tmp_path: Path) -> None:
    one, other = (images.layer(images.file(name)) for name in "ab")
    claimed = images.layer_digests([one, one])
    images.write_layout(tmp_path, [one, other], config={"rootfs": {"type": "layers", "diff_ids": claimed}})
    with pytest.raises(DigestMismatchError, match="unpacks to"):
        read_stack(_artifact(tmp_path).image().layers, tmp_path, lambda: None)


def test_layers_that_are_not_what_the_config_names(tmp_path: Path) -> None:
    one, other = (images.layer(images.file(name)) for name in "ab")
    images.write_layout(
        tmp_path, [one], config={"rootfs": {"type": "layers", "diff_ids": images.layer_digests([other])}}
    )
    with pytest.raises(DigestMismatchError, match="unpacks to"):
        read_stack(_artifact(tmp_path).image().layers, tmp_path, lambda: None)


def test_a_layer_that_is_no_tar(tmp_path: Path) -> None:
    images.write_layout(tmp_path, [b"x" * 2000])
    with pytest.raises(LayerFormatError):
        read_stack(_artifact(tmp_path).image().layers, tmp_path, lambda: None)


def test_an_image_without_layers(tmp_path: Path) -> None:
    stack = _stack(tmp_path / "a", ())
    assert list(walk([stack])) == []
    assert Counts(stack).efficiency == 1.0


def test_the_same_layer_twice_is_read_once_and_writes_everything_again(tmp_path: Path) -> None:
    one = images.layer(images.directory("d"), images.file("d/f", "123"))
    stack = _stack(tmp_path / "a", (one, one))
    assert _changes(stack)["d/f"] == [(0, ADDED), (1, REWRITTEN)]
    assert stack.view.tables[0] is stack.view.tables[1]


def test_reading_stops_when_it_is_told_to(tmp_path: Path) -> None:
    images.write_layout(tmp_path, [images.layer(images.file("f", "123"))])

    def stop() -> None:
        raise InterruptedBuildError("interrupted")

    with pytest.raises(InterruptedBuildError):
        read_stack(_artifact(tmp_path).image().layers, tmp_path, stop)

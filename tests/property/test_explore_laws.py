"""What exploring says of a stack of layers is what views of it say, for every number of its layers."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from builder.errors import ImageError
from builder.explore.changes import Change, Node, final, walk
from builder.explore.counting import Counts
from builder.explore.reading import Contents, Stack
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.toc import Toc
from builder.rootfs.tocformat import to_key
from builder.rootfs.view import View
from tests.property.test_rootfs_view_laws import STACKS
from tests.support.layers import toc_of


def _tocs(stack: list[list[Entry]]) -> list[Toc] | None:
    try:
        return [toc_of(*entries) for entries in stack]
    except ImageError:
        return None


def _explored(tocs: list[Toc]) -> list[Node]:
    return list(walk([Stack(tocs, [Contents()] * len(tocs))]))


@given(STACKS)
def test_what_is_there_after_each_layer_is_what_its_view_shows(stack: list[list[Entry]]) -> None:
    tocs = _tocs(stack)
    if tocs is None:
        return
    try:
        views = [View(tocs[: number + 1]) for number in range(len(tocs))]
        seen = [{one.entry.path: one for one in view.walk()} for view in views]
    except ImageError:  # a hard link to nothing, which exploring shows as it is
        with contextlib.suppress(ImageError):
            _explored(tocs)
        return
    nodes = _explored(tocs)
    assert [to_key(one.path) for one in nodes] == sorted(to_key(one.path) for one in nodes)
    for layer, shown in enumerate(seen):
        there = {}
        for node in nodes:
            last = final([one for one in node.stacks[0] if one.layer <= layer])
            if last is not None:
                there[node.path] = last
        # A view without any entry shows the root all the same.
        assert set(there) | {""} == set(shown) | {""}
        for path, version in there.items():
            located, entry = shown[path], version.entry
            assert entry is not None
            assert entry.kind in (located.entry.kind, Kind.HARDLINK), path
            assert (entry.mode, entry.uid, entry.mtime, entry.size) == (
                located.entry.mode,
                located.entry.uid,
                located.entry.mtime,
                located.entry.size,
            )


@given(STACKS)
def test_versions_are_told_in_order_and_only_what_is_there_is_removed(stack: list[list[Entry]]) -> None:
    tocs = _tocs(stack)
    if tocs is None:
        return
    with contextlib.suppress(ImageError):
        for node in _explored(tocs):
            versions = node.stacks[0]
            assert [one.layer for one in versions] == sorted({one.layer for one in versions})
            before = False
            for one in versions:
                assert before == (one.change is not Change.ADDED)
                assert (one.entry is None) == (one.change is Change.REMOVED)
                before = one.entry is not None
            assert versions
            assert node.depth == (node.path.count("/") + 1 if node.path else 0)


_NAME = st.sampled_from("abc")
_LINKED = st.one_of(
    st.builds(Entry, path=_NAME, kind=st.just(Kind.FILE), size=st.integers(0, 9)),
    st.builds(Entry, path=_NAME, kind=st.just(Kind.HARDLINK), target=_NAME),
    st.builds(Entry, path=_NAME, kind=st.just(Kind.WHITEOUT)),
)


@given(STACKS | st.lists(st.lists(_LINKED, max_size=4), min_size=2, max_size=4))
def test_what_is_counted_is_each_file_of_the_view_once(stack: list[list[Entry]]) -> None:
    tocs = _tocs(stack)
    if tocs is None:
        return
    try:
        view = View(tocs)
        files = {one.group: one.entry.size for one in view.walk() if one.entry.kind is Kind.FILE}
    except ImageError:
        return
    explored = Stack(tocs, [Contents()] * len(tocs))
    counts = Counts(explored)
    for node in walk([explored]):
        counts.add(node.path, node.stacks[0])
    assert (counts.files, counts.size) == (len(files), sum(files.values()))
    assert sum(one.size for one in counts.layers) == counts.total
    assert sum(one.hidden for one in counts.layers) == counts.hidden >= 0


@given(STACKS, st.integers(0, 3))
def test_an_image_does_not_differ_from_itself(stack: list[list[Entry]], more: int) -> None:
    tocs = _tocs(stack[: more + 1])
    if tocs is None:
        return
    try:
        one = Stack(tocs, [Contents()] * len(tocs))
    except ImageError:
        return  # entries behind a loop of symlinks
    for node in walk([one, one]):
        assert node.difference == 0
        assert node.stacks[0] == node.stacks[1]

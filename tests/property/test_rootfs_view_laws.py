"""The view of a stack of layers is the tree that extracting them in order gives."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from builder.errors import ImageError
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.toc import Toc
from builder.rootfs.tocformat import to_key
from builder.rootfs.view import Located, View
from tests.support.layers import Inode, NoExtractionError, SlowExtractor, toc_of

NAMES = ("a", "b", "c", "d.x")


def _paths(depth: int = 3) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(NAMES), min_size=1, max_size=depth).map("/".join)


def _targets() -> st.SearchStrategy[str]:
    parts = st.lists(st.sampled_from((*NAMES, "..", ".")), min_size=1, max_size=3).map("/".join)
    return st.tuples(st.sampled_from(("", "/")), parts).map("".join)


def _entries() -> st.SearchStrategy[Entry]:
    number = st.integers(0, 9)

    def made(kind: Kind, **fields: object) -> st.SearchStrategy[Entry]:
        return st.builds(Entry, path=_paths(), kind=st.just(kind), mtime=number, uid=number, **fields)

    return st.one_of(
        made(Kind.DIRECTORY),
        made(Kind.DIRECTORY),
        made(Kind.FILE, size=number),
        made(Kind.FILE, size=number),
        made(Kind.SYMLINK, target=_targets()),
        made(Kind.HARDLINK, target=_paths()),
        made(Kind.CHAR, major=st.just(1), minor=number),
        made(Kind.WHITEOUT),
        made(Kind.OPAQUE),
        st.just(Entry(path="", kind=Kind.DIRECTORY, mode=0o700)),
        st.just(Entry(path="", kind=Kind.OPAQUE)),
    )


STACKS = st.lists(st.lists(_entries(), max_size=7), min_size=1, max_size=4)


def _seen(view: View) -> dict[str, Located]:
    located = list(view.walk())
    found = {one.entry.path: one for one in located}
    assert len(found) == len(located), "a path twice"
    keys = [to_key(path) for path in found]
    assert keys == sorted(keys)
    return found


def _same(path: str, one: Located, inode: Inode) -> None:
    entry = one.entry
    expected = (path, inode.kind, inode.uid, inode.mtime, inode.target)
    assert (entry.path, entry.kind, entry.uid, entry.mtime, entry.target) == expected
    assert entry.mode == inode.mode


def _extracted(stack: list[list[Entry]]) -> SlowExtractor:
    slow = SlowExtractor()
    for entries in stack:
        slow.apply(entries)
    return slow


def _compare(stack: list[list[Entry]], tocs: list[Toc]) -> None:
    try:
        slow = _extracted(stack)
    except NoExtractionError:  # we may notice later than an extractor, or not at all if it was replaced
        with contextlib.suppress(ImageError):
            list(View(tocs).walk())
        return
    view = View(tocs)
    tree, seen = slow.tree(), _seen(view)
    assert sorted(seen) == sorted(tree)
    groups: dict[str, Inode] = {}
    for path, inode in tree.items():
        _same(path, seen[path], inode)
        assert view.lookup(path) == seen[path]
        children = [one.entry.path.rpartition("/")[2] for one in view.children(path)]
        assert children == sorted(inode.names)
        if not inode.is_dir:
            assert groups.setdefault(seen[path].group, inode) is inode
            group = seen[path].group
            assert "\0" in group or tree[group] is inode
        for name in NAMES:
            missing = f"{path}/{name}".strip("/")
            assert (view.lookup(missing) is None) == (missing not in tree)
    assert len({id(inode) for inode in groups.values()}) == len(groups)
    for path in tree:
        try:
            expected = slow.resolve(path + "/b/../c")
        except NoExtractionError:
            continue
        assert view.resolve(path + "/b/../c") == expected


def _toc(entries: list[Entry]) -> Toc | None:
    try:
        return toc_of(*entries)
    except ImageError:
        return None


D, F, S, H, W, O = Kind.DIRECTORY, Kind.FILE, Kind.SYMLINK, Kind.HARDLINK, Kind.WHITEOUT, Kind.OPAQUE  # noqa: E741  no zero near it


def E(kind: Kind, path: str, target: str = "", **fields: int) -> Entry:  # noqa: N802  short, for tables
    return Entry(path=path, kind=kind, target=target, **fields)


@settings(max_examples=300, deadline=None)
@given(STACKS)
@example([[E(D, "tmp", mode=0o1777)], [E(F, "tmp/x")]])
@example([[E(D, "run"), E(D, "var"), E(S, "var/run", "/run")], [E(F, "var/run/x"), E(W, "var/run/y")]])
@example([[E(S, "a", "b"), E(D, "b"), E(F, "b/old")], [E(W, "a/old")]])
@example([[E(D, "a"), E(F, "a/x")], [E(F, "a")], [E(D, "a")]])
@example([[E(D, "a"), E(F, "a/x")], [E(D, "a"), E(F, "a/y"), E(F, "a"), E(D, "a")]])
@example([[E(D, "a"), E(F, "a/x")], [E(O, "a"), E(F, "a/y")]])
@example([[E(F, "a", mtime=1)], [E(H, "b", "a")], [E(F, "a", mtime=2), E(H, "c", "b")]])
@example([[E(F, "a/x")], [E(S, "a", "b"), E(F, "a/y")]])
@example([[E(S, "a", "b/../c"), E(F, "a/x")]])
@example([[E(D, "b"), E(S, "b/d", "/q/r")], [E(S, "a", "b/d/../c"), E(F, "a/x")]])
@example([[E(S, "a", "z")], [E(F, "a/x"), E(D, "a")]])
@example([[E(S, "lib", "usr/lib"), E(F, "usr/lib/x")], [E(H, "y", "lib/x")]])
def test_a_view_is_what_extraction_in_order_gives(stack: list[list[Entry]]) -> None:
    tocs = [_toc(entries) for entries in stack]
    if None in tocs:  # a layer that no extractor takes on its own: refused when it is read
        event("refused")
        with pytest.raises(NoExtractionError):
            _extracted(stack)
        return
    event(f"irregular {any(toc.irregular for toc in tocs if toc)}")
    _compare(stack, [toc for toc in tocs if toc is not None])


PLACES = st.lists(st.lists(_paths(), max_size=4), min_size=4, max_size=4)


@settings(max_examples=300, deadline=None)
@given(STACKS, PLACES)
@example([[E(D, "a"), E(F, "a/x")], [E(F, "a/y")], [E(O, "a"), E(F, "a/z")]], [["a/x"], ["a/y"], [], []])
@example([[E(D, "a"), E(F, "a/b/x")], [E(W, "a")], [E(F, "a/b/y")]], [["a/b/x"], ["a/b/x"], ["a/b/y"], []])
@example([[E(D, "a", uid=1), E(F, "a/x")], [E(F, "b")], [E(O, "a"), E(F, "a/z")]], [["a/x"], ["a/x"], [], []])
@example([[E(D, "a"), E(D, "a/b"), E(F, "a/b/c")], [E(F, "a/b")], [E(F, "a/b/d")]], [["a/b/c"], ["a/b/c"], [], []])
def test_a_view_on_a_view_is_that_of_all_layers(stack: list[list[Entry]], places: list[list[str]]) -> None:
    """Whatever was looked up before, in the one below or in its other successors."""
    tocs = [toc for toc in map(_toc, stack) if toc is not None]
    grown = [View(())]
    with contextlib.suppress(ImageError):
        for count, toc in enumerate(tocs):
            grown.append(View((toc,), grown[-1]))
            other = View((toc,), grown[-2])
            for path in places[count]:
                assert grown[-1].lookup(path) == other.lookup(path) == View(tocs[: count + 1]).lookup(path)
        for count, view in enumerate(grown):
            whole = View(tocs[:count])
            assert view.shows(tocs[:count])
            assert _seen(view) == _seen(whole)
            for path in (one for some in places for one in some):
                assert view.lookup(path) == whole.lookup(path)

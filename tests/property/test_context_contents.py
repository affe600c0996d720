"""What a COPY of a whole directory counts by: the digest made in one go is that over its entries, one by one."""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from builder.cache.keys import Summary, encode
from builder.context.contenthash import ContentHasher, record
from builder.context.directory import DirectoryTree
from builder.context.ignore import IgnoreRules
from builder.context.listing import identity
from builder.context.statcache import StatCache
from builder.engine.contents import content_of
from builder.engine.selecting import Selection, Source, Whole, select
from builder.engine.times import TimePolicy
from builder.rootfs.entry import Entry, Kind
from builder.values import replace

_HOUR = 3600 * 10**9
_names = st.sampled_from(["a", "b", "a-b", "é", "z.o", os.fsdecode(b"\xff"), "sub", "Sub"])
_paths = st.lists(_names, min_size=1, max_size=3).map("/".join)
_things = st.tuples(
    st.sampled_from(["file", "file", "file", "directory", "symlink", "hardlink", "attribute", "socket"]),
    st.binary(max_size=3),
    st.sampled_from([0o644, 0o755, 0o600, 0o4711, 0o777]),
)
_trees = st.dictionaries(_paths, _things, max_size=12)
_policies = st.sampled_from([TimePolicy("keep", None, 7), TimePolicy("clamp", 5, 7), TimePolicy("set", 5, 7)])
_rules = st.sampled_from([b"", b"*.o\n", b"sub\n!sub/a\n", b"*\n!a\n!sub/Sub/b\n"])


def _make(root: Path, tree: dict[str, tuple[str, bytes, int]]) -> None:
    files: list[Path] = []
    for path, (kind, data, mode) in tree.items():
        place = root / path
        if os.path.lexists(place) or not _make_parents(root, place):
            continue
        match kind:
            case "directory":
                place.mkdir(mode=mode | 0o700)
            case "symlink":
                place.symlink_to(os.fsdecode(data.replace(b"\0", b"0") or b"a"))
            case "hardlink" if files:
                place.hardlink_to(files[len(data) % len(files)])
            case "socket":
                os.mkfifo(place, mode)
            case _:
                place.write_bytes(data)
                place.chmod(mode)
                files.append(place)
                if kind == "attribute":
                    _set_attribute(place, data)


def _make_parents(root: Path, place: Path) -> bool:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        return False
    return place.parent.resolve().is_relative_to(root.resolve()) and not any(
        parent.is_symlink() for parent in place.parents
    )


def _set_attribute(place: Path, data: bytes) -> None:
    try:
        os.setxattr(place, "user.test", data)
    except OSError:  # not on this file system
        return


def _learn(root: Path, cache_path: Path) -> None:
    """Fill the stat cache with all files, as if they had been left alone for an hour."""
    cache = StatCache.load(cache_path, root)
    if cache is None:
        return
    with DirectoryTree(root) as tree:
        hasher = ContentHasher(tree)
        for directory, nodes in tree.walk(""):
            for name, node in nodes:
                path = f"{directory}/{name}" if directory else name
                entry = tree.lstat(path)
                if entry is not None and tree.file(path) is not None:
                    digests = b"".join(hasher.digest(entry))
                    record = cache.record(node[1], digests, started=time.time_ns() + _HOUR, plain=not entry.xattrs)
                    assert record is not None
                    assert tree.learn(directory, name, node, record)
        assert cache.save(tree.records)


def _below(value: object) -> list[Summary]:
    assert isinstance(value, tuple)
    return [one[3] for one in value[1]]


def _slow(selection: Selection, source: Source, times: TimePolicy | None) -> bytes:
    """The definition: paths, records, and for other names of a file seen before its first path."""
    items: list[bytes] = []
    seen: dict[object, str] = {}
    for one in selection.picked[1:]:
        entry = one.entry if times is None else times.of_context(one.entry)
        sha256 = source.hasher.digest(one.entry)[0] if entry.kind is Kind.FILE else None
        link = source.tree.link_key(entry.path) if entry.kind is Kind.FILE else None
        first = one.relative if link is None else seen.setdefault(link, one.relative)
        items.append(encode((one.relative, record(entry, sha256), None if first == one.relative else first)))
    return hashlib.sha256(b"".join(items)).digest()


def _digests(
    root: Path, rules: bytes, sources: Sequence[str], times: TimePolicy, cache: Path | None
) -> Iterator[bytes]:
    with DirectoryTree(root, IgnoreRules.parse(rules)) as tree:
        source = Source(tree, ContentHasher(tree, cache), mutable=True)
        for path in sources:
            if (entry := tree.lstat(path)) is None or not entry.is_dir:
                continue
            [selection] = select(tree, path)
            assert isinstance(selection.picked, Whole)
            listed = Selection(selection.name, tuple(selection.picked))
            [fast] = _below(content_of([selection], source, times))
            [slow] = _below(content_of([listed], source, times))
            assert fast.digest == slow.digest == _slow(selection, source, times)
            assert len(list(fast)) == len(selection.picked) - 1
            yield fast.digest


@settings(deadline=None)
@given(_trees, _policies, _rules)
def test_one_go_and_one_by_one_agree_with_and_without_what_was_learnt(
    tree: dict[str, tuple[str, bytes, int]], times: TimePolicy, rules: bytes
) -> None:
    with tempfile.TemporaryDirectory() as place:
        root, cache = Path(place, "root"), Path(place, "stat")
        root.mkdir()
        _make(root, tree)
        told = functools.partial(_digests, root, rules, ["", "sub", "a", "a/b"], times)
        without = list(told(None))
        cold = list(told(cache))
        _learn(root, cache)
        assert list(told(cache)) == cold == without
        with DirectoryTree(root) as one, DirectoryTree(root) as two:
            # Entries are the same, whether the cache spares a look at them or not.
            ContentHasher(two, cache)
            assert _entries(one) == _entries(two)


@settings(deadline=None)
@given(_trees, st.integers(0, 3))
def test_what_never_changes_counts_as_it_is(tree: dict[str, tuple[str, bytes, int]], owner: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        _make(Path(place), tree)
        with DirectoryTree(Path(place)) as opened:
            source = Source(opened, ContentHasher(opened), mutable=False)
            [whole] = select(opened, ".")
            chosen = [replace(one, entry=replace(one.entry, uid=len(one.relative) & owner)) for one in whole.picked]
            listed = Selection(whole.name, tuple(chosen))
            [fast] = _below(content_of([listed], source, TimePolicy("set", 5, 7)))
            assert fast.digest == _slow(listed, source, None)


def _entries(tree: DirectoryTree) -> list[Entry]:
    return [entry for directory, _ in tree.walk("") for entry in tree.children(directory)]


@settings(deadline=None)
@given(_trees, _trees, _policies)
def test_other_trees_have_other_digests(
    first: dict[str, tuple[str, bytes, int]], second: dict[str, tuple[str, bytes, int]], times: TimePolicy
) -> None:
    with tempfile.TemporaryDirectory() as place:
        values = []
        for name, tree in (("one", first), ("two", second)):
            root = Path(place, name)
            root.mkdir()
            _make(root, tree)
            _learn(root, Path(place, name + ".stat"))
            with DirectoryTree(root) as opened:
                source = Source(opened, ContentHasher(opened, Path(place, name + ".stat")), mutable=True)
                [summary] = _below(content_of(select(opened, "."), source, times))
                values.append((summary.digest, list(summary)))
        assert (values[0][0] == values[1][0]) == (values[0][1] == values[1][1])


def test_a_file_that_changed_after_it_was_learnt_counts_anew(tmp_path: Path) -> None:
    root, cache = tmp_path / "root", tmp_path / "stat"
    (root / "d").mkdir(parents=True)
    for name in ("d/a", "d/b", "c"):
        (root / name).write_bytes(b"old")
    _learn(root, cache)
    times = TimePolicy("keep", None, 7)
    [before] = _digests(root, b"", [""], times, cache)
    info = os.stat(root / "d/b")
    while identity(os.stat(root / "d/b")) == identity(info):  # the file system's clock ticks every few ms
        (root / "d/b").write_bytes(b"new")
        os.utime(root / "d/b", ns=(info.st_atime_ns, info.st_mtime_ns))
    [after] = _digests(root, b"", [""], times, cache)
    assert after != before
    info = os.stat(root / "c")
    while identity(os.stat(root / "c")) == identity(info):
        (root / "c").chmod(0o755)
    [again] = _digests(root, b"", [""], times, cache)
    assert again not in (before, after)

"""Digests of contents, what is remembered of them, and records for keys."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
import xxhash

from builder.context import statcache
from builder.context.contenthash import ContentHasher, record
from builder.context.directory import DirectoryTree
from builder.context.listing import identity
from builder.context.statcache import PLAIN, StatCache
from builder.errors import ContextError
from builder.rootfs.entry import Entry, Kind
from tests.support.need import need

_HOUR = 3600 * 10**9


def _digests(data: bytes) -> tuple[bytes, bytes]:
    return hashlib.sha256(data).digest(), xxhash.xxh3_128_digest(data)


def _cache(path: Path, root: Path) -> StatCache:
    cache = StatCache.load(path, root)
    need(cache is not None, "needs a local file system that the mount table knows")
    assert cache is not None
    return cache


def _put(cache: StatCache, path: Path, digests: bytes, *, later: int = _HOUR) -> bool:
    """Save a record of one file of a context, as if that had been read some time after its last change."""
    info = os.stat(path)
    key = identity(info)
    record = cache.record(key, digests, started=info.st_ctime_ns + later, plain=True)
    return record is not None and cache.save(lambda: [("", key + record)])


def test_digests_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 3_000_000)
    with DirectoryTree(tmp_path) as tree:
        entry = tree.lstat("f")
        assert entry is not None
        assert ContentHasher(tree).digest(entry) == _digests(b"x" * 3_000_000)


def test_only_files_have_contents(tmp_path: Path) -> None:
    with DirectoryTree(tmp_path) as tree, pytest.raises(ContextError):
        ContentHasher(tree).digest(Entry(path="", kind=Kind.DIRECTORY))


def test_a_file_that_went_away_is_named(tmp_path: Path) -> None:
    (tmp_path / "gone").touch()
    with DirectoryTree(tmp_path) as tree:
        entry = tree.lstat("gone")
        os.unlink(tmp_path / "gone")
        assert entry is not None
        with pytest.raises(ContextError, match="gone"):
            ContentHasher(tree).digest(entry)


@pytest.mark.parametrize("waits", [False, True], ids=["unsettled", "settled"])
def test_what_is_read_later_must_be_what_was_known_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    """Two steps read a file at the same time, while it changes: their keys and layers are of one content."""
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + _HOUR * waits)
    root = tmp_path / "c"
    root.mkdir()
    for name in ("taken", "opened", "hashed"):
        (root / name).write_bytes(b"before")
    with DirectoryTree(root) as tree:
        hasher = ContentHasher(tree, tmp_path / "stat")
        nodes = dict(tree.nodes(""))
        assert hasher.take("", "taken", nodes["taken"]) == b"before"
        with hasher.open("opened") as stream:
            assert stream.read(6) + stream.read(1) == b"before"
        assert hasher.listed("", "hashed", nodes["hashed"])[:32] == _digests(b"before")[0]
        for name in nodes:
            (root / name).write_bytes(b"after!")
        # Nodes as somebody has them who listed them before anything was known.
        for name, node in nodes.items():
            with pytest.raises(ContextError, match=f"{name} changed while it was being packed"):
                hasher.take("", name, node)
            with hasher.open(name) as stream:
                assert stream.read(6) == b"after!"
                with pytest.raises(ContextError, match=f"{name} changed while it was being packed"):
                    stream.read(1)
            assert hasher.listed("", name, node)[:48] == b"".join(_digests(b"before"))


def test_what_was_learnt_is_found_by_the_next_build(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"data")
    place = tmp_path / "stat" / "context"
    key = identity(os.stat(tmp_path / "f"))
    assert _put(_cache(place, tmp_path), tmp_path / "f", b"".join(_digests(b"data")))
    assert place.stat().st_mode & 0o777 == 0o600
    second = _cache(place, tmp_path)
    assert second.take("elsewhere") == {}
    assert second.take("") == {key: b"".join((*_digests(b"data"), PLAIN))}
    assert second.take("") == {}


def test_the_hasher_believes_the_cache(tmp_path: Path) -> None:
    root = tmp_path / "c"
    root.mkdir()
    (root / "f").write_bytes(b"data")
    place = tmp_path / "stat"
    lie = (b"s" * 32, b"x" * 16)
    assert _put(_cache(place, root), root / "f", b"".join(lie))
    with DirectoryTree(root) as tree:
        hasher = ContentHasher(tree, place)
        entry = tree.lstat("f")
        assert entry is not None
        assert hasher.digest(entry) == lie
    with DirectoryTree(root) as tree:
        entry = tree.lstat("f")
        assert entry is not None
        assert ContentHasher(tree).digest(entry) == _digests(b"data")
    (root / "f").write_bytes(b"other")
    with DirectoryTree(root) as tree:
        hasher = ContentHasher(tree, place)
        entry = tree.lstat("f")
        assert entry is not None
        assert hasher.digest(entry) == _digests(b"other")


def test_a_hasher_fills_the_cache_with_what_has_settled(tmp_path: Path) -> None:
    root = tmp_path / "c"
    root.mkdir()
    (root / "new").write_bytes(b"new")
    place = tmp_path / "stat"
    _cache(place, root)
    with DirectoryTree(root) as tree:
        hasher = ContentHasher(tree, place)
        entry = tree.lstat("new")
        assert entry is not None
        hasher.digest(entry)
        hasher.save()
    # Just written: a change within the same tick would not show, so it must not be believed.
    assert _cache(place, root).take("") == {}


@pytest.mark.parametrize(
    ("age", "kept"), [(0, False), (10**6, False), (49 * 10**6, False), (51 * 10**6, True), (-1, False)]
)
def test_files_changed_within_a_tick_are_not_recorded(tmp_path: Path, age: int, kept: bool) -> None:
    (tmp_path / "f").touch()
    need(os.stat(tmp_path / "f").st_ctime_ns % 10**9, "needs a file system with fine times")
    cache = _cache(tmp_path / "stat", tmp_path)
    assert _put(cache, tmp_path / "f", b"".join(_digests(b"")), later=age) is kept


@pytest.mark.parametrize("damage", ["empty", "short", "flipped", "magic", "longer", "directory", "link"])
def test_a_damaged_cache_is_an_empty_one(tmp_path: Path, damage: str) -> None:
    (tmp_path / "f").touch()
    place = tmp_path / "stat"
    assert _put(_cache(place, tmp_path), tmp_path / "f", bytes(48))
    data = place.read_bytes()
    place.unlink()
    match damage:
        case "empty":
            place.touch()
        case "short":
            place.write_bytes(data[:-1])
        case "flipped":
            place.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
        case "magic":
            place.write_bytes(b"X" + data[1:])
        case "longer":
            place.write_bytes(data + b"\0")
        case "directory":
            place.mkdir()
        case _:
            (tmp_path / "elsewhere").write_bytes(data)
            place.symlink_to("elsewhere")
    again = _cache(place, tmp_path)
    assert again.take("") == {}
    assert _put(again, tmp_path / "f", bytes(48)) is (damage != "directory")


def test_another_boot_or_mount_starts_anew(tmp_path: Path) -> None:
    place = tmp_path / "stat"
    old = StatCache(place, b"another world".ljust(32), os.stat(tmp_path).st_dev, {})
    assert _put(old, tmp_path, bytes(48))
    assert _cache(place, tmp_path).take("") == {}


@pytest.mark.parametrize(("records", "kept"), [(2, False), (3, True)])
def test_directories_that_nobody_took_are_kept_as_far_as_others_are_as_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: int, kept: bool
) -> None:
    monkeypatch.setattr(statcache, "_SLACK", 0)
    pieces = [bytes([number]) * 96 for number in range(9)]
    place = tmp_path / "stat"
    assert _cache(place, tmp_path).save(lambda: [("a", b"".join(pieces[:3])), ("empty", b"")])
    assert _cache(place, tmp_path).save(lambda: [("b/c", b"".join(pieces[3 : 3 + records]))])
    left = _cache(place, tmp_path)
    assert (len(left.take("a")), len(left.take("b/c"))) == (3 if kept else 0, records)
    # What was taken and is not given back is gone.
    assert _cache(place, tmp_path).save(lambda: [("a", pieces[0])])
    assert len(_cache(place, tmp_path).take("a")) == 1


def test_a_directory_that_is_listed_is_remembered_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + _HOUR)
    root, place = tmp_path / "c", tmp_path / "stat"
    (root / "d").mkdir(parents=True)
    for name in ("d/a", "d/b", "c"):
        (root / name).write_bytes(name.encode())
    for gone in ("", "d/b"):
        if gone:
            os.unlink(root / gone)
            (root / "new").write_bytes(b"")
        with DirectoryTree(root) as tree:
            hasher = ContentHasher(tree, place)
            for directory, nodes in tree.walk(""):
                for name, node in nodes:
                    if tree.file(f"{directory}/{name}".lstrip("/")) is not None:
                        hasher.listed(directory, name, node)
            hasher.save()
    left = _cache(place, root)
    assert left.take("d").keys() == {identity(os.stat(root / "d/a"))}
    assert left.take("").keys() == {identity(os.stat(root / name)) for name in ("c", "new")}


def test_an_unwritable_place_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = _cache(tmp_path / "file" / "stat", tmp_path)
    assert not _put(cache, tmp_path, bytes(48))


_FILE = Entry(path="a", kind=Kind.FILE, mode=0o644, size=3, mtime=7)


@pytest.mark.parametrize(
    "change",
    [
        {"mode": 0o755},
        {"uid": 1},
        {"gid": 1},
        {"size": 4},
        {"kind": Kind.FIFO},
        {"kind": Kind.SYMLINK, "target": "x"},
        {"major": 1},
        {"minor": 1},
        {"xattrs": {"user.a": b""}},
        {"xattrs": {"security.capability": b"1"}},
    ],
)
def test_records_differ_in_what_a_copy_shows(change: dict[str, object]) -> None:
    assert record(replace(_FILE, **change), b"") != record(_FILE, b"")  # type: ignore[arg-type]  # a table of fields


@pytest.mark.parametrize(
    "change", [{"mtime": 8}, {"path": "b"}, {"xattrs": {"security.selinux": b"x", "system.y": b""}}]
)
def test_records_do_not_know_time_and_place(change: dict[str, object]) -> None:
    assert record(replace(_FILE, **change), b"") == record(_FILE, b"")  # type: ignore[arg-type]  # a table of fields


def test_contents_are_part_of_a_record() -> None:
    assert record(_FILE, b"1") != record(_FILE, b"2")

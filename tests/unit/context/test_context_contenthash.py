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


def test_a_second_attempt_reads_again(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"one")
    with DirectoryTree(tmp_path) as tree:
        hasher = ContentHasher(tree)
        for data in (b"one", b"two"):
            (tmp_path / "f").write_bytes(data)
            tree.refresh()
            hasher.forget()
            entry = tree.lstat("f")
            assert entry is not None
            assert hasher.digest(entry) == _digests(data)


def test_what_was_learnt_is_found_by_the_next_build(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"data")
    place = tmp_path / "stat" / "context"
    key = identity(os.stat(tmp_path / "f"))
    first = _cache(place, tmp_path)
    first.put(key, _digests(b"data"), started=time.time_ns() + _HOUR, plain=True)
    assert first.save()
    assert place.stat().st_mode & 0o777 == 0o600
    second = _cache(place, tmp_path)
    assert second.get(key) == _digests(b"data")
    assert (second.record(key) or b"").endswith(PLAIN)
    assert second.get(key[:-1] + bytes([key[-1] ^ 1])) is None


def test_the_hasher_believes_the_cache(tmp_path: Path) -> None:
    root = tmp_path / "c"
    root.mkdir()
    (root / "f").write_bytes(b"data")
    place = tmp_path / "stat"
    cache = _cache(place, root)
    lie = (b"s" * 32, b"x" * 16)
    cache.put(identity(os.stat(root / "f")), lie, started=time.time_ns() + _HOUR, plain=True)
    cache.save()
    with DirectoryTree(root) as tree:
        entry = tree.lstat("f")
        assert entry is not None
        assert ContentHasher(tree, place).digest(entry) == lie
        assert ContentHasher(tree).digest(entry) == _digests(b"data")
    (root / "f").write_bytes(b"other")
    with DirectoryTree(root) as tree:
        entry = tree.lstat("f")
        assert entry is not None
        assert ContentHasher(tree, place).digest(entry) == _digests(b"other")


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
    assert _cache(place, root).get(identity(os.stat(root / "new"))) is None


@pytest.mark.parametrize(
    ("age", "kept"), [(0, False), (10**6, False), (49 * 10**6, False), (51 * 10**6, True), (-1, False)]
)
def test_files_changed_within_a_tick_are_not_recorded(tmp_path: Path, age: int, kept: bool) -> None:
    (tmp_path / "f").touch()
    info = os.stat(tmp_path / "f")
    need(info.st_ctime_ns % 10**9, "needs a file system with fine times")
    key = identity(info)
    cache = _cache(tmp_path / "stat", tmp_path)
    cache.put(key, _digests(b""), started=info.st_ctime_ns + age, plain=True)
    assert (cache.get(key) is not None) is kept


@pytest.mark.parametrize("damage", ["empty", "short", "flipped", "magic", "longer", "directory", "link"])
def test_a_damaged_cache_is_an_empty_one(tmp_path: Path, damage: str) -> None:
    (tmp_path / "f").touch()
    key = identity(os.stat(tmp_path / "f"))
    place = tmp_path / "stat"
    cache = _cache(place, tmp_path)
    cache.put(key, _digests(b""), started=time.time_ns() + _HOUR, plain=True)
    cache.save()
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
    assert again.get(key) is None
    again.put(key, _digests(b""), started=time.time_ns() + _HOUR, plain=True)
    assert again.save() is (damage != "directory")


def test_another_boot_or_mount_starts_anew(tmp_path: Path) -> None:
    place = tmp_path / "stat"
    key = identity(os.stat(tmp_path))
    _cache(place, tmp_path)
    old = StatCache(place, b"another world".ljust(32), os.stat(tmp_path).st_dev, {})
    old.put(key, _digests(b""), started=time.time_ns() + _HOUR, plain=True)
    assert old.save()
    assert _cache(place, tmp_path).get(key) is None


def test_what_was_seen_outlives_what_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statcache, "_SLACK", 0)
    keys = []
    for number in range(9):
        (tmp_path / str(number)).touch()
        keys.append(identity(os.stat(tmp_path / str(number))))
    for used, seen in ((9, 0), (1, 2)):
        cache = _cache(tmp_path / "stat", tmp_path)
        for key in keys[:used]:
            cache.put(key, _digests(b""), started=time.time_ns() + _HOUR, plain=True)
        assert cache.save([*keys[used : used + seen], b"something else"])
    left = _cache(tmp_path / "stat", tmp_path)
    assert [left.get(key) is not None for key in keys] == [True] * 3 + [False] * 6


def test_an_unwritable_place_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = _cache(tmp_path / "file" / "stat", tmp_path)
    cache.put(identity(os.stat(tmp_path)), _digests(b""), started=time.time_ns() + _HOUR, plain=True)
    assert cache.save() is False


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

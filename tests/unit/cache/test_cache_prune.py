"""What is removed from a store, in which order, and that what somebody uses stays."""

import os
import time
from pathlib import Path

import pytest

from builder.cache.lastuse import MARGIN, RECENT
from builder.cache.prune import Limits, choose, remove_all, unused_since
from builder.cache.store import Store
from builder.cache.usage import KINDS, Item, Named, everything, total
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID, Digest

NOW = 1_800_000_000.0
DAY = 86400.0


def item(kind="layer", name="a", size=10, age=DAY, named=False):
    return Item(kind, name, Path(name), Path(name), size, NOW - age, named)


def chosen(items, before=NOW, **limits):
    return [one.name for one in choose(items, Limits(**limits), before, NOW)]


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "store") as store:
        yield store


@pytest.fixture
def other(store):
    """Another process that has been at work for an hour, as far as its lease says."""
    with Store.open(store.root) as other:
        other.hold_lease()
        (lease,) = (store.root / "leases").iterdir()
        os.utime(lease, (time.time() - 3600, time.time() - 3600))
        yield other


def aged(path, age):
    os.utime(path, (time.time() - age, time.time() - age))


def blob(store, data, age):
    digest = store.blobs.put(data)
    aged(store.blobs.path(digest), age)
    return digest


def found(store, named=frozenset()):
    return list(everything(store.root, Named(frozenset(named))))


# Choosing


def test_without_limits_everything_goes_but_what_names_keep_and_temporary_files():
    items = [item(name="a"), item(name="b", named=True), item("temporary", "c"), item("mount", "d")]
    assert chosen(items) == ["a", "d"]


def test_what_may_be_in_use_stays():
    assert chosen([item(name="a", age=10), item(name="b", age=30)], before=NOW - 20) == ["b"]


def test_an_age_takes_what_is_older():
    assert chosen([item(name="a", age=DAY), item(name="b", age=3 * DAY)], age=2 * DAY) == ["b"]


def test_a_size_takes_the_least_recently_used_until_it_fits_and_counts_what_stays_anyway():
    items = [item(name=str(age), age=age) for age in (1, 2, 3, 4)] + [item(name="kept", named=True, age=9)]
    assert chosen(items, size=50) == []
    assert chosen(items, size=31) == ["4", "3"]
    assert chosen(items, size=0) == ["4", "3", "2", "1"]


def test_what_is_cheap_to_have_again_goes_first_when_it_is_two_days_old():
    items = [item(name="layer", age=9 * DAY), item("parsed", "old", age=3 * DAY), item("http", "new", age=DAY)]
    assert chosen(items, size=20) == ["old"]
    assert chosen(items, size=10) == ["old", "layer"]


def test_a_kind_only_looks_at_its_own():
    items = [item(name="a"), item("mount", "b"), item("mount", "c", age=2 * DAY)]
    assert chosen(items, kinds=frozenset({"mount"})) == ["c", "b"]
    assert chosen(items, kinds=frozenset({"mount"}), size=10) == ["c"]


def test_age_and_size_together():
    items = [item(name=str(age), age=age * DAY) for age in (1, 2, 3, 4)]
    assert chosen(items, age=3.5 * DAY, size=20) == ["4", "3"]


# Removing


def test_items_are_removed_and_counted(store):
    digest = blob(store, b"layer", DAY)
    done = remove_all(store, found(store), unused_since(store))
    assert [one.name for one in done.removed] == [str(digest)]
    assert done.size == total(done.removed) > 0
    assert not store.blobs.path(digest).exists()
    assert found(store) == []


def test_no_directory_is_left_of_a_layers_forms(store):
    forms = [Descriptor(media_type="a", digest=Digest.of(data), size=1) for data in (b"1", b"2")]
    for name, form in zip("ab", forms, strict=True):
        store.variants.put(DiffID(Digest.of(b"d")), name, form)
    (first, second) = found(store)
    remove_all(store, [first], time.time() + 1)
    assert len(list(store.variants.all(DiffID(Digest.of(b"d"))))) == 1
    remove_all(store, [second], time.time() + 1)
    assert list((store.root / "variants").iterdir()) == []
    store.variants.put(DiffID(Digest.of(b"d")), "a", forms[0])
    assert list(store.variants.all(DiffID(Digest.of(b"d")))) == [forms[0]]


def test_what_was_used_after_it_was_chosen_stays(store, other):
    digest = blob(store, b"layer", DAY)
    items = found(store)
    assert other.blobs.contains(digest)
    done = remove_all(store, items, unused_since(store))
    assert (done.removed, done.busy) == ([], items)
    assert store.blobs.contains(digest)


def test_what_was_used_while_another_process_ran_stays(store, other):
    used = blob(store, b"used", 3600 - MARGIN / 2)
    old = blob(store, b"old", 3600 + 2 * MARGIN)
    items = found(store)
    assert choose(items, Limits(), unused_since(store), time.time()) == [one for one in items if old.hex in one.name]
    remove_all(store, items, time.time())
    assert store.blobs.contains(used)
    assert not store.blobs.contains(old)


def test_with_nobody_else_at_work_what_was_just_used_goes_too(store):
    digest = blob(store, b"layer", 0)
    remove_all(store, choose(found(store), Limits(), unused_since(store), time.time()), unused_since(store))
    assert not store.blobs.contains(digest)


def test_a_process_that_comes_meanwhile_is_respected(store):
    digest = blob(store, b"layer", 0)
    items, before = found(store), unused_since(store)
    with Store.open(store.root) as late:
        late.hold_lease()
        assert late.blobs.contains(digest)
        assert remove_all(store, items, before).busy == items
        assert late.blobs.contains(digest)


def test_using_moves_the_time_once_a_minute(store):
    digest = blob(store, b"layer", RECENT / 2)
    path = store.blobs.path(digest)
    before = path.stat().st_mtime
    assert store.blobs.contains(digest)
    assert path.stat().st_mtime == before
    aged(path, 2 * RECENT)
    assert store.blobs.contains(digest)
    assert path.stat().st_mtime > time.time() - RECENT


def test_looking_is_not_using(store):
    digest = blob(store, b"{}", DAY)
    store.blobs.read(digest, used=False)
    list(store.variants.everything())
    found(store)
    assert store.blobs.path(digest).stat().st_mtime < time.time() - DAY / 2


def test_it_ends_when_it_is_told(store):
    blob(store, b"a", DAY)
    blob(store, b"b", DAY)
    answers = iter([True, False])
    done = remove_all(store, found(store), unused_since(store), lambda: next(answers))
    assert len(done.removed) == 1


# Trees


def unpacked(store, name="ab.0", age=DAY):
    home = store.root / "layers" / "root"
    (home / ".locks").mkdir(parents=True, exist_ok=True)
    (home / name / "etc").mkdir(parents=True)
    (home / name / "etc" / "passwd").write_text("root")
    (home / ".locks" / name).write_text("12345\n")
    aged(home / ".locks" / name, age)
    return home / name


def test_an_unpacked_layer_says_its_size_and_goes_as_a_whole(store):
    tree = unpacked(store)
    (one,) = found(store)
    assert (one.kind, one.name, one.size) == ("unpacked", "root/ab.0", 12345)
    assert remove_all(store, [one], unused_since(store)).removed == [one]
    assert os.listdir(tree.parent) == [".locks"]
    assert os.listdir(tree.parent / ".locks") == []


def test_a_locked_tree_stays(store):
    from builder.cache.locks import hold

    tree = unpacked(store)
    with hold(tree.parent / ".locks" / tree.name, shared=True):
        assert remove_all(store, found(store), unused_since(store)).removed == []
    assert tree.is_dir()


def test_what_a_killed_prune_left_is_removed_by_the_next(store):
    tree = unpacked(store)
    tree.rename(tree.with_name(".gone-0123"))
    (one,) = found(store)
    assert one.kind == "unpacked"
    remove_all(store, [one], unused_since(store))
    assert os.listdir(tree.parent) == [".locks"]


def test_cache_mounts_say_their_ids_and_stay_while_they_are_used(store):
    with store.acquire_mount("root/m2") as path:
        (path / "file").write_text("x")
        (one,) = found(store)
        assert (one.kind, one.name) == ("mount", "root/m2/0")
        assert remove_all(store, [one], unused_since(store)).busy == [one]
        assert (path / "file").exists()
    remove_all(store, [one], unused_since(store))
    assert os.listdir(store.root / "mounts") == []
    with store.acquire_mount("root/m2") as path:
        assert os.listdir(path) == []


def test_links_are_not_followed(store, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    for place in (
        "blobs/sha256/ab/link",
        "toc/link",
        "layers/root/link",
        "mounts/ab/link",
        "imported/link",
        "tmp/link",
    ):
        path = store.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(precious)
    tree = unpacked(store)
    (tree / "etc" / "link").symlink_to(precious)
    remove_all(store, found(store), unused_since(store))
    assert (precious / "file").exists()
    assert not tree.exists()


# Looking


def test_every_kind_is_told_apart(store):
    store.blobs.put(b'{"a": 1}')
    store.blobs.put(b"\x1f\x8b")
    store.parsed.put(store.parsed.name(b"FROM", "1"), b"x")
    with store.acquire_mount("m"):
        pass
    unpacked(store)
    for kind, path in (
        ("toc", store.toc_path(DiffID(Digest.of(b"d")))),
        ("result", store.root / "selectors" / "ab" / "abc"),
        ("stat", store.root / "stat" / "x"),
        ("http", store.root / "http" / "x"),
        ("record", store.root / "records" / "ab" / "x"),
        ("log", store.root / "logs" / "x"),
        ("imported", store.root / "imported" / "x" / "name"),
        ("temporary", store.root / "tmp" / "x"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(kind)
    assert sorted(one.kind for one in found(store)) == sorted(KINDS)
    digest = Digest.of(b"\x1f\x8b")
    assert [one.name for one in found(store, {digest.hex}) if one.named] == [str(digest)]

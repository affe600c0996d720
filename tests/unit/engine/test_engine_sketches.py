"""Files whose like was never copied here are read once; those that may be known are hashed first (docs/adr/0015)."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from builder.context.directory import DirectoryTree
from builder.events import Event, Notice
from builder.rootfs.pack import pack
from builder.streams import CHUNK
from tests.support.builds import Files, Recording, Workshop, hash_first, pack_at_once

EPOCH = 1_000_000_000
TEXT = "FROM scratch\nCOPY --exclude=*.no . /all\nCOPY large small /two/\nCOPY --link tree /linked\n"
FILES: Files = {
    "large": bytes(range(256)) * (3 * CHUNK // 256) + b"end",
    "middle": b"m" * (CHUNK // 2),
    "small": "s",
    "empty": "",
    "out.no": "n",
    "tree/a": "a",
    "tree/b/c": "c",
    "tree/b/other": lambda path: path.hardlink_to(path.parent.parent / "a"),
    "tree/l": lambda path: path.symlink_to("a"),
    **{f"tree/many/{number}": str(number) for number in range(100)},
}


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pack_at_once(monkeypatch)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each name was opened below a directory's descriptor."""
    counted: Counter[str] = Counter()
    really = os.open

    def counting(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if more.get("dir_fd") is not None and not flags & os.O_DIRECTORY:
            counted[os.fsdecode(path)] += 1
        return really(path, flags, *rest, **more)

    monkeypatch.setattr("builder.context.directory.os.open", counting)
    return counted


def elsewhere(shop: Workshop, name: str, store: str = "") -> Workshop:
    """Return a shop with a copy of the context, of which no file is known."""
    context = shop.context.with_name(name)
    shutil.copytree(shop.context, context, symlinks=True, copy_function=shutil.copy2)
    (context / "tree/b/other").unlink(missing_ok=True)
    if (context / "tree/a").exists():
        (context / "tree/b/other").hardlink_to(context / "tree/a")
    return Workshop(shop.store.with_name(store) if store else shop.store, context)


def test_both_ways_make_the_same_image_and_find_each_others_results(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.put(FILES)
    pack_at_once(monkeypatch)
    made = shop.build(TEXT, epoch=EPOCH)
    assert elsewhere(shop, "again").build(TEXT, epoch=EPOCH).seen.executed == []
    hash_first(monkeypatch)
    assert elsewhere(shop, "hashed").build(TEXT, epoch=EPOCH).seen.executed == []
    other = elsewhere(shop, "there", "other-store")
    assert other.build(TEXT, epoch=EPOCH).digest == made.digest
    pack_at_once(monkeypatch)
    assert elsewhere(other, "back").build(TEXT, epoch=EPOCH).seen.executed == []


@pytest.mark.parametrize("copy", ["d /d", "--exclude=*.no d /d", "d/file* /d/", "--parents d/file* /"])
def test_a_tree_that_was_never_seen_is_read_once(
    shop: Workshop, at_once: None, opened: Counter[str], copy: str
) -> None:
    shop.put({f"d/file-{number}": f"{number:05}" for number in range(1000)})
    shop.build(f"FROM scratch\nCOPY {copy}")
    files = {name: count for name, count in opened.items() if name.startswith("file-")}
    assert len(files) == 1000
    assert sum(count == 1 for count in files.values()) >= 900
    assert max(files.values()) == 2  # those that were looked into


def test_a_large_file_that_was_never_seen_is_read_once(shop: Workshop, at_once: None, opened: Counter[str]) -> None:
    shop.put({"large": FILES["large"], "other": "o"})
    shop.build("FROM scratch\nCOPY large /x")
    assert opened["large"] == 2  # its beginning, and all of it


def test_a_tree_that_may_be_known_is_hashed_before_it_is_packed(
    shop: Workshop, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.put(FILES)
    shop.build(TEXT, epoch=EPOCH)
    monkeypatch.setattr("builder.rootfs.pack.pack", None)  # nothing may be packed
    assert elsewhere(shop, "again").build(TEXT, epoch=EPOCH).seen.executed == []


@pytest.mark.parametrize("change", ["name", "size", "first bytes", "last bytes", "mode"])
def test_whatever_changed_is_in_the_image_and_found_again(shop: Workshop, at_once: None, change: str) -> None:
    shop.put(FILES)
    before = shop.build(TEXT, epoch=EPOCH)
    other = elsewhere(shop, "changed")
    large = other.context / "large"
    data = large.read_bytes()
    if change == "name":
        large.with_name("small").rename(other.context / "tree/renamed")
        (other.context / "small").write_text("s")
    elif change == "size":
        large.write_bytes(data + b".")
    elif change == "first bytes":
        large.write_bytes(b"." + data[1:])
    elif change == "last bytes":
        large.write_bytes(data[:-1] + b".")
    else:
        large.chmod(0o755)
    changed = other.build(TEXT, epoch=EPOCH)
    assert changed.seen.executed
    fresh = elsewhere(other, "fresh", "fresh-store").build(TEXT, epoch=EPOCH)
    assert changed.tree == fresh.tree
    assert changed.tree != before.tree
    assert elsewhere(other, "once more").build(TEXT, epoch=EPOCH).seen.executed == []


def test_a_file_that_changes_while_it_waits_is_packed_as_it_is_read(
    shop: Workshop, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is that of the bytes in the layer, not of those that were there when the directory was listed."""
    shop.put({"f": "before", "g": "g"})

    def packing_now(items: Any, *rest: Any, **more: Any) -> Any:
        (shop.context / "f").write_text("after!")
        return pack(items, *rest, **more)

    monkeypatch.setattr("builder.rootfs.pack.pack", packing_now)
    text = "FROM scratch\nCOPY . /"
    built = shop.build(text, epoch=EPOCH)
    monkeypatch.setattr("builder.rootfs.pack.pack", pack)
    hash_first(monkeypatch)
    again = shop.build(text, epoch=EPOCH)
    assert (again.digest, again.seen.executed) == (built.digest, [])
    shop.put({"f": "before"})
    assert shop.build(text, epoch=EPOCH).seen.executed


@pytest.mark.parametrize("copy", ["COPY . /c", "COPY --exclude=*.no . /c", "COPY f g /c/", "COPY . f /c/"])
def test_a_file_that_is_known_and_changes_while_it_waits_is_looked_at_again(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, copy: str
) -> None:
    """What an earlier build has learnt of it decides about the key: nothing else may get into the layer."""
    monkeypatch.setattr("builder.context.statcache._TICK", -(1 << 40))
    shop.put({"f": "before", "g": "g"})
    shop.build("FROM scratch\nCOPY f /")
    pack_at_once(monkeypatch)
    shop.put({"g": "new"})

    def packing_now(items: Any, *rest: Any, **more: Any) -> Any:
        (shop.context / "f").write_text("after!")
        return pack(items, *rest, **more)

    monkeypatch.setattr("builder.rootfs.pack.pack", packing_now)
    text = f"FROM scratch\n{copy}"
    assert shop.build(text, epoch=EPOCH).text("c/f") == "after!"
    monkeypatch.setattr("builder.rootfs.pack.pack", pack)
    hash_first(monkeypatch)
    assert shop.build(text, epoch=EPOCH).text("c/f") == "after!"
    shop.put({"f": "before"})
    assert shop.build(text, epoch=EPOCH).text("c/f") == "before"


def test_a_file_that_is_copied_twice_and_changes_in_between_is_the_same_in_both_places(
    shop: Workshop, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.put({"d/f": "before", "g": "g"})
    opened: list[str] = []
    really = DirectoryTree.open

    def opening(tree: DirectoryTree, path: str) -> BinaryIO:
        opened.append(path)
        if opened.count("d/f") == 2:
            shop.put({"d/f": "after!"})
        return really(tree, path)

    monkeypatch.setattr(DirectoryTree, "open", opening)
    built = shop.build("FROM scratch\nCOPY . d /c/", epoch=EPOCH)
    assert (built.text("c/f"), built.text("c/d/f")) == ("after!", "after!")


def test_without_cache_files_are_read_once_too(shop: Workshop, at_once: None, opened: Counter[str]) -> None:
    shop.put({f"d/file-{number}": f"{number:05}" for number in range(1000)})
    shop.build("FROM scratch\nCOPY d /d")
    opened.clear()
    again = elsewhere(shop, "again").build("FROM scratch\nCOPY d /d", no_cache=True)
    assert again.seen.executed
    assert max(count for name, count in opened.items() if name.startswith("file-")) == 2


def test_a_result_without_a_sketch_is_found_after_packing_and_at_once_from_then_on(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.put(FILES)
    made = shop.build("FROM scratch\nCOPY . /")
    pack_at_once(monkeypatch)
    again = elsewhere(shop, "again").build("FROM scratch\nCOPY . /")
    assert again.digest == made.digest
    monkeypatch.setattr("builder.rootfs.pack.pack", None)
    assert elsewhere(shop, "once more").build("FROM scratch\nCOPY . /").digest == made.digest


def test_steps_of_one_build_that_take_the_same_files_do_not_wait_for_each_other(
    shop: Workshop, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.put(FILES)
    both, packed = threading.Barrier(2), itertools.count()

    def packing(items: Any, *rest: Any, **more: Any) -> Any:
        if next(packed) < 2:
            both.wait(20)
        return pack(items, *rest, **more)

    monkeypatch.setattr("builder.rootfs.pack.pack", packing)
    built = shop.build("FROM scratch AS a\nCOPY . /a\nFROM scratch\nCOPY . /b\nCOPY --from=a /a/small /c\n")
    assert [one for one in built.seen.events if isinstance(one, Notice)] == []


def test_a_build_waits_for_another_one_that_is_packing_the_same(
    shop: Workshop, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.put(FILES)
    begun, waited = threading.Event(), threading.Event()
    packed: list[int] = []

    def packing(items: Any, *rest: Any, **more: Any) -> Any:
        packed.append(1)
        begun.set()
        assert waited.wait(60)
        return pack(items, *rest, **more)

    class Waiting(Recording):
        def emit(self, event: Event) -> None:
            super().emit(event)
            if isinstance(event, Notice) and "another build is doing the same" in event.message:
                waited.set()

    monkeypatch.setattr("builder.rootfs.pack.pack", packing)
    other = elsewhere(shop, "other")
    text = "FROM scratch\nCOPY . /"
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(shop.build, text, epoch=EPOCH)
        assert begun.wait(60)
        second = other.try_build(Waiting(), text, epoch=EPOCH)
    assert second.built.digest == first.result().result.built.digest
    assert packed == [1]


def test_few_files_have_no_sketch(shop: Workshop) -> None:
    shop.put({"f": "1"})
    shop.build("FROM scratch\nCOPY . /")
    assert len(selectors(shop.store)) == 1


def selectors(store: Path) -> list[Path]:
    return [path for path in (store / "selectors").rglob("*") if path.is_file()]

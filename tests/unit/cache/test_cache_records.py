"""Records: what is put in comes out, damage and strangers' bytes are no record, places remember so much and no more."""

from __future__ import annotations

import json
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.cache import record as record_module
from builder.cache import records
from builder.cache.keys import Key, key
from builder.cache.record import Place, Record, coarse, grouped, pack, unpack
from builder.cache.records import bundle, unbundle
from builder.cache.store import Store

PLACE = Place("project", "build", "RunCommand", 2)
RECORD = Record(PLACE, "base", {"command": "make", "variable A": "", "file x": "file mode=644"}.items())
_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=8)


def key_of(number: int) -> Key:
    return key("test", 1, number)


def packed(record: Record = RECORD) -> bytes:
    data = pack(record)
    assert data is not None
    return data


@given(st.dictionaries(_text, _text, max_size=5), _text, _text)
def test_what_is_packed_is_unpacked(components: dict[str, str], base: str, stage: str) -> None:
    record = Record(Place("", stage, "CopyFiles", 1), base, components.items())
    found = unpack(packed(record))
    assert found is not None
    assert found.base == base
    assert found.place == record.place
    plain = {name.replace("\0", "\ufffd"): text.replace("\0", "\ufffd") for name, text in components.items()}
    assert dict(found.components) == plain


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        zlib.compress(b""),
        zlib.compress(b"\xff"),
        zlib.compress(b"[]"),
        zlib.compress(b"[" * 100_000),
        zlib.compress(json.dumps({"version": 2, "place": ["", "", 1], "base": "", "by_directory": False}).encode()),
        zlib.compress(json.dumps({"version": 1, "place": ["", ""], "base": "", "by_directory": False}).encode()),
        zlib.compress(zlib.decompress(packed()) + b"\0odd"),
        zlib.compress(b"0" * (65 << 20)),
        packed()[:-3],
    ],
)
def test_other_bytes_are_no_record(data: bytes, tmp_path: Path) -> None:
    assert unpack(data) is None
    with Store.open(tmp_path) as store:
        store.records.receive(key_of(1), data)
        assert store.records.find(key_of(1)) is None
    assert not (tmp_path / "records").exists()


def test_a_record_is_found_under_its_key_and_place(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        assert store.records.find(key_of(1)) is None
        store.records.add(key_of(1), packed(), PLACE)
        assert store.records.has(key_of(1))
        found = store.records.find(key_of(1))
        assert found is not None
        assert dict(found.components) == dict(RECORD.components)
        assert list(store.records.near(PLACE)) == [(key_of(1), "there")]


def test_steps_of_the_same_place_come_first_and_others_are_told_apart(tmp_path: Path) -> None:
    other = Place("other", "build", "RunCommand", 2)
    with Store.open(tmp_path) as store:
        store.records.add(key_of(1), packed(), PLACE)
        store.records.add(key_of(2), packed(), Place("project", "build", "RunCommand", 5))
        store.records.add(key_of(3), packed(), other)
        store.records.add(key_of(4), packed(), PLACE)
        store.records.add(key_of(5), packed(), Place("project", "build", "CopyFiles", 2))
        store.records.add(key_of(6), packed(), Place("project", "test", "RunCommand", 2), "mark")
        store.records.add(key_of(7), packed(), Place("project", "build", "RunCommand", 3), "another")
        near, far = (key_of(4), "there"), (key_of(2), "project")
        assert list(store.records.near(PLACE)) == [
            near,
            (key_of(1), "there"),
            far,
            (key_of(7), "there"),
            (key_of(3), "elsewhere"),
        ]
        assert next(store.records.near(PLACE, "another")) == (key_of(7), "there")
        assert (key_of(7), "there") not in store.records.near(PLACE, taken=["another"])
        assert (key_of(7), "there") in store.records.near(PLACE, "another", taken=["another"])
        assert (key_of(6), "project") in store.records.near(PLACE, "mark")
        store.records.add(key_of(8), packed(), PLACE, latest=True)
        assert key_of(8) not in dict(store.records.near(PLACE))


def test_steps_of_stages_that_are_executed_at_once_are_all_remembered(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store, ThreadPoolExecutor(8) as pool:

        def add(number: int) -> None:
            store.records.add(
                key_of(number), packed(), Place("project", f"stage{number % 8}", "RunCommand", number), "m"
            )

        list(pool.map(add, range(100)))
        assert len(list(store.records.near(PLACE, "m"))) == 100


def test_what_another_machine_made_is_near_too(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a") as there, Store.open(tmp_path / "b") as here:
        there.records.add(key_of(1), packed(), PLACE)
        data = there.records.packed(key_of(1))
        assert data is not None
        here.records.receive(key_of(1), data)
        assert list(here.records.near(PLACE)) == [(key_of(1), "elsewhere")]


def test_a_place_remembers_its_latest_keys_and_a_stage_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_MOST_PLACES", 20)
    with Store.open(tmp_path) as store:
        for number in range(18):
            store.records.add(key_of(number), packed(), PLACE)
        store.records.add(key_of(5), packed(), PLACE)
        found = [one for one, _ in store.records.near(PLACE)]
        assert found == [key_of(5), *(key_of(number) for number in range(17, 1, -1) if number != 5)]
        for number in range(100, 120):
            store.records.add(key_of(number), packed(), Place("project", "build", "RunCommand", number))
        assert len(list(store.records.near(PLACE))) == 20


def test_a_damaged_record_is_dropped_with_a_warning(tmp_path: Path) -> None:
    warnings: list[str] = []
    with Store.open(tmp_path, warn=warnings.append) as store:
        store.records.add(key_of(1), packed(), PLACE)
        path = tmp_path / "records" / key_of(1)[:2] / key_of(1)
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        assert store.records.find(key_of(1)) is None
        assert str(path) in warnings[0]
        assert not path.exists()


def test_a_store_that_refuses_records_is_no_error(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        (tmp_path / "records").write_text("in the way")
        store.records.add(key_of(1), packed(), PLACE)
        assert not store.records.has(key_of(1))
        assert list(store.records.near(PLACE)) == []


def test_records_are_for_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Store.open(tmp_path) as store:
            store.records.add(key_of(1), packed(), PLACE)
    finally:
        os.umask(before)
    for path in (tmp_path / "records").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_too_many_files_are_told_by_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_module, "_MOST", 10)
    files = {f"file d{number % 3}/f{number}": "file mode=644" for number in range(30)}
    found = unpack(packed(Record(PLACE, "", {"destination": "/x", **files}.items())))
    assert found is not None
    assert found.by_directory
    components = dict(found.components)
    assert set(components) == {"destination", "file d0/", "file d1/", "file d2/"}
    assert components == coarse({"destination": "/x", **files}.items())
    assert coarse({**files, "file d1/new": ""}.items())["file d1/"] != components["file d1/"]
    assert coarse({**files, "file d1/new": ""}.items())["file d0/"] == components["file d0/"]
    monkeypatch.setattr(record_module, "_MOST", 2)
    assert pack(Record(PLACE, "", {"destination": "/x", **files}.items())) is None


def test_components_go_through_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_module, "_PIECE", 7)
    components = [("a", "1"), ("é" * 20, ""), ("", "x" * 50), ("\udc80", "z")]
    found = unpack(packed(Record(PLACE, "", components)))
    assert found is not None
    assert list(found.components) == components == list(found.components)


def test_names_that_repeat_are_packed_together() -> None:
    found = unpack(packed(Record(PLACE, "", [("a", "1"), ("b", "2"), ("a", "3")])))
    assert found is not None
    assert list(found.components) == [("a", "1\n3"), ("b", "2")]


def test_texts_of_one_name_are_kept_together() -> None:
    assert grouped([("a", "1"), ("b", "2"), ("a", "1")]) == {"a": "1\n1", "b": "2"}


def test_a_bundle_brings_records_to_another_store(tmp_path: Path) -> None:
    large = Record(PLACE, "", {"command": os.urandom(2 << 20).hex()}.items())
    data = bundle([(key_of(1), packed()), (key_of(2), packed(large)), (key_of(3), packed())])
    assert [key for key, _ in unbundle(data)] == [key_of(1), key_of(3)]
    with Store.open(tmp_path) as store:
        for key_, one in unbundle(data):
            store.records.receive(key_, one)
        found = store.records.find(key_of(3))
        assert found is not None
        assert (found.place, found.base) == (Place("", "build", "RunCommand", 2), "base")
        assert list(found.components) == list(RECORD.components)
    many = bundle((key_of(number), os.urandom(1 << 20)) for number in range(20))
    assert len(many) <= 8 << 20
    assert len(list(unbundle(many))) == 7


@pytest.mark.parametrize("damage", [b"", b"x", b"0" * 72, b"g" * 80, b"f" * 72, "\u0661".encode() * 72])
def test_a_damaged_bundle_gives_what_comes_before_the_damage(damage: bytes) -> None:
    whole = bundle([(key_of(1), packed())])
    assert [key for key, _ in unbundle(whole + damage)][:1] == [key_of(1)]
    assert list(unbundle(whole[:-1])) == []
    assert all(unpack(data) is None for key, data in unbundle(damage))


def listing(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in root.rglob("*")}


def test_records_of_a_second_store_are_read_and_never_touched(tmp_path: Path) -> None:
    warnings: list[str] = []
    with Store.open(tmp_path / "warm") as store:
        for number in (1, 2, 3):
            store.records.add(key_of(number), packed(), PLACE)
    damaged = next(path for path in (tmp_path / "warm/records").rglob(key_of(3)))
    damaged.write_bytes(b"rot")
    for path in (tmp_path / "warm").rglob("*"):
        os.utime(path, (1 << 30, 1 << 30))
    before = listing(tmp_path / "warm")
    with Store.open(tmp_path / "own", warn=warnings.append, second=tmp_path / "warm") as store:
        found = store.records
        found.add(key_of(4), packed(), PLACE)
        found.add(key_of(1), packed(), PLACE)
        assert [number for number in range(6) if found.find(key_of(number)) is not None] == [1, 2, 4]
        assert [found.has(key_of(number)) for number in (2, 5)] == [True, False]
        assert list(found.near(PLACE)) == [
            (key_of(1), "there"),
            (key_of(4), "there"),
            (key_of(3), "there"),
            (key_of(2), "there"),
        ]
        elsewhere = Place("other", PLACE.stage, PLACE.kind, PLACE.ordinal)
        found.add(key_of(5), packed(), elsewhere)
        assert list(found.near(PLACE))[-1] == (key_of(5), "elsewhere"), "after this project's in both stores"
    assert listing(tmp_path / "warm") == before
    assert len(warnings) == 1
    assert str(damaged) in warnings[0]
    with Store.open(tmp_path / "own") as store:
        assert [key for key, _ in store.records.near(PLACE)] == [key_of(1), key_of(4), key_of(5)], (
            "nothing was taken over"
        )


def _near(store: Store) -> list[Key]:
    return [found for found, _ in store.records.near(PLACE)]


def test_places_of_several_builds_at_once_are_all_kept(tmp_path: Path) -> None:
    """None of them writes at each step, and what the others wrote meanwhile stays."""
    with Store.open(tmp_path) as one, Store.open(tmp_path) as two:
        for number in range(0, 8, 2):
            one.records.add(key_of(number), packed(), PLACE)
            two.records.add(key_of(number + 1), packed(), PLACE)
        assert {key_of(number) for number in range(0, 8, 2)} <= {*_near(one)}
        assert {key_of(number) for number in range(1, 8, 2)} <= {*_near(two)}
    with Store.open(tmp_path) as after:
        assert {*_near(after)} == {key_of(number) for number in range(8)}


def test_places_are_written_once_for_many_steps(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store, Store.open(tmp_path) as other:
        store.records.add(key_of(0), packed(), PLACE)
        assert _near(other) == [key_of(0)]
        with store.records._remembering:
            store.records._due = float("inf")
        store.records.add(key_of(1), packed(), PLACE)
        assert (_near(store), _near(other)) == ([key_of(1), key_of(0)], [key_of(0)])
        store.records.flush()
        assert _near(other) == [key_of(1), key_of(0)]

"""What caches exchange: tables there and back, unions, and the names of entries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.cache import exchange
from builder.cache.exchange import (
    ABOUT_TYPE,
    PART,
    TOC_TYPE,
    Claim,
    EntryTag,
    Exchange,
    Record,
    documents,
    entry_tags,
    index_of,
    manifests_of,
    merged,
    parse_table,
    table_of,
    uncovered,
)
from builder.cache.keys import Key
from builder.cache.selectors import Selector
from builder.cache.store import Store
from builder.errors import ImageError
from builder.image.artifact import Artifact, Parts
from builder.image.descriptor import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, Descriptor
from builder.image.digest import DiffID, Digest

_hex = st.integers(0, 5).map(lambda number: f"{number:064x}")
_digests = _hex.map(Digest.from_hex)
_times = st.integers(0, 50)


def _described(*types: str) -> st.SearchStrategy[Descriptor]:
    return st.builds(
        lambda kind, digest, size: Descriptor(media_type=kind, digest=digest, size=size),
        st.sampled_from(types), _digests, st.integers(0, 9),
    )  # fmt: skip


_keys = st.lists(_hex.map(Key), min_size=1, max_size=3, unique=True).map(tuple)
_plain = st.builds(lambda k, c, s: Record(keys=k, diff_id=None, created=c, shared=s), _keys, _times, _times)
_layers = st.builds(
    lambda k, c, s, d, blob: Record(keys=k, diff_id=DiffID(d), created=c, shared=s, layer=blob, compressor="gzip-x"),
    _keys, _times, _times, _digests, _described(OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD),
)  # fmt: skip
_claims = st.dictionaries(_digests.map(DiffID), st.builds(Claim, _described(TOC_TYPE), _digests, _times), max_size=3)
_exchanges = st.builds(
    lambda records, claims, about: Exchange(records=tuple(records), claims=claims, about=tuple(about)),
    st.lists(_plain | _layers, max_size=8), _claims, st.lists(_described(ABOUT_TYPE), max_size=2, unique=True),
)  # fmt: skip


def there_and_back(one: Exchange) -> list[Exchange]:
    root, found = documents(one)
    manifests = [found[part.digest] for part in manifests_of(root)] or [root]
    return [parse_table(found[table_of(raw).digest]) for raw in manifests]


@given(_exchanges)
def test_what_is_written_is_what_is_read(one: Exchange) -> None:
    (back,) = there_and_back(one)
    assert back == one


@given(_exchanges)
def test_registries_keep_what_is_named(one: Exchange) -> None:
    root, found = documents(one)
    artifact = Artifact.of(Parts(where="x", documents=found), root)
    named = {blob.digest for document in artifact.documents() for blob in document.blobs}
    assert {blob.digest for blob in one.blobs()} <= named


def test_many_records_come_in_parts_that_registries_take() -> None:
    records = tuple(
        Record(keys=(Key(f"{number:064x}"),), diff_id=None, created=1, shared=number) for number in range(2 * PART + 1)
    )
    one = Exchange(records=records, includes=("cache-e-0",))
    root, found = documents(one)
    assert len(manifests_of(root)) == 3
    assert max(map(len, found.values())) < 1 << 20
    back = there_and_back(one)
    assert [record for part in back for record in part.records] == list(records)
    assert [part.includes for part in back] == [("cache-e-0",), (), ()]


@given(st.lists(_exchanges, max_size=3))
def test_a_union_says_of_every_key_what_was_said_last(parts: list[Exchange]) -> None:
    whole = merged(parts)
    found = index_of(whole)
    said = [record for part in parts for record in part.records]
    assert found.keys() == {key for record in said for key in record.keys}
    for key, records in found.items():
        assert records[0].shared == max(record.shared for record in said if key in record.keys)
        assert len({record.diff_id for record in records}) == 1
    assert merged([whole]) == whole
    assert whole.claims.keys() == {diff_id for part in parts for diff_id in part.claims}


def test_the_oldest_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "RECORD_LIMIT", 3)
    records = tuple(Record(keys=(Key(f"{n:064x}"),), diff_id=None, created=1, shared=n) for n in range(10))
    assert {one.shared for one in merged([Exchange(records=records)]).records} == {7, 8, 9}


def test_what_a_wrong_clock_says_is_now() -> None:
    record = Record(keys=(Key("0" * 64),), diff_id=None, created=1, shared=1 << 40)
    _, found = documents(Exchange(records=(record,)))
    raw = next(one for one in found.values() if b"schemaVersion" not in one)
    assert parse_table(raw, 100).records[0].shared == 100


def test_tables_of_contents_of_other_versions_are_passed_over() -> None:
    digest = Digest.of(b"x")
    claim = Claim(Descriptor(media_type=TOC_TYPE, digest=digest, size=1), digest, 1)
    _, found = documents(Exchange(claims={DiffID(digest): claim}))
    raw = next(one for one in found.values() if b"schemaVersion" not in one)
    assert parse_table(raw.replace(TOC_TYPE.encode(), b"application/vnd.pybuild.toc.v99+zlib")).claims == {}
    with pytest.raises(ImageError):
        parse_table(raw.replace(TOC_TYPE.encode(), b"text/html"))


def test_a_layer_comes_from_nowhere_else() -> None:
    """A table names blobs of its own repository: URLs and annotations in it are not taken over."""
    digest = Digest.of(b"x")
    layer = Descriptor(media_type=OCI_LAYER, digest=digest, size=1)
    _, found = documents(
        Exchange(records=(Record(keys=(Key("0" * 64),), diff_id=DiffID(digest), created=1, shared=1, layer=layer),))
    )
    value = json.loads(next(one for one in found.values() if b"schemaVersion" not in one))
    value["records"][0]["layer"] |= {"urls": ["http://evil.example/"], "annotations": {"a": "b"}, "data": "eA=="}
    (record,) = parse_table(json.dumps(value).encode()).records
    assert record.layer == layer
    value["records"][0]["layer"]["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar"
    with pytest.raises(ImageError):
        parse_table(json.dumps(value).encode())


def test_names_of_entries() -> None:
    one = EntryTag.of("main", b"root", 100, merged=False)
    two = EntryTag.of("main", b"root", 200, merged=True)
    others = ["main", "main-e-", "main2-e-00000000c8-0000000000000000", "main-x-00000000c8-0000000000000000"]
    assert entry_tags("main", [str(one), *others, str(two), str(one)]) == [two, one]
    assert str(one) == f"main-e-0000000064-{Digest.of(b'root').hex[:16]}"
    assert entry_tags("ma.n", [str(one)]) == []
    assert uncovered([two, one], [str(one)]) == [two]


# --- what a store keeps of a source


def test_sources_are_kept_apart_from_the_store_and_from_each_other(tmp_path: Path) -> None:
    key, result = Key("0" * 64), Selector(None, 7)
    with Store.open(tmp_path / "store") as store:
        one, two = store.imported("r.example/a:cache"), store.imported("r.example/b:cache")
        one.selectors.record(key, result)
        assert one.selectors.find(key) == result
        assert two.selectors.find(key) is None
        assert store.selectors.find(key) is None
        one.remember("cache-e-1", Digest.of(b"root"), [Digest.of(b"table")])
        assert store.imported("r.example/a:cache").tables_of("cache-e-1") == (
            Digest.of(b"root"),
            (Digest.of(b"table"),),
        )
        assert two.tables_of("cache-e-1") is None


def test_what_is_distrusted_stays_so_and_takes_everything_along(tmp_path: Path) -> None:
    warnings: list[str] = []
    with Store.open(tmp_path / "store", warn=warnings.append) as store:
        source = store.imported("r.example/a:cache")
        source.selectors.record(Key("0" * 64), Selector(None, 7))
        source.distrust(["cache-e-1"])
        source.distrust(["cache-e-2"])
        again = store.imported("r.example/a:cache")
        assert again.distrusted() == {"cache-e-1", "cache-e-2"}
        assert again.selectors.find(Key("0" * 64)) is None
        for path in again.directory.rglob("distrusted"):
            path.write_bytes(b"damaged")
        assert again.distrusted() == frozenset()
        assert "distrusted" in warnings[0]

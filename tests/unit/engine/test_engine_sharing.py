"""Shared results: what goes to a cache, what comes back, and whom it is believed (ADR 0012)."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from builder.cache.exchange import TOC_TYPE, Claim, EntryTag, Exchange, Record, documents, parse_table
from builder.cache.keys import Key
from builder.cache.store import Store
from builder.engine.explaining import explain
from builder.engine.places import Reader, RegistryPlace
from builder.engine.request import BuildRequest, CachePlace, CacheTarget, Output
from builder.engine.sharing import Pruned, prune_remote
from builder.errors import ImageError
from builder.events import Notice
from builder.image import descriptor as media
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID, Digest
from builder.image.reference import Reference
from builder.registry.client import Registry
from builder.registry.errors import RegistryError
from builder.registry.retry import RetryPolicy
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.pack import Item, index_layer, pack
from builder.rootfs.toc import Toc
from tests.support.builds import NATIVE, Built, Recording, Workshop
from tests.support.fake_registry import FakeRegistry, Fault, Seen, digest_of
from tests.support.images import directory, file, layer, read_image, symlink, write_layout
from tests.support.trees import tree_of_layers

FILES = {"src/a": "a", "src/b/c": "c"}


@dataclass
class Machines:
    """Machines with a store each, which all build the same context."""

    root: Path
    connect: Any

    def __getitem__(self, name: str) -> Workshop:
        return Workshop(self.root / name, self.root / "context", self.connect)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    with ExitStack() as closing:

        def connect() -> Registry:
            made = Registry(retry=RetryPolicy(sleep=lambda _: None), hasty_seconds=0.3)
            closing.callback(made.close)
            return made

        yield Machines(tmp_path, connect)


@pytest.fixture
def base(fake: FakeRegistry, tmp_path: Path) -> str:
    """The name of an image with /etc/kind and /dir in one layer."""
    layout = tmp_path / "base"
    members = [directory("etc"), file("etc/kind", "base"), directory("dir"), file("etc/passwd", "u:x:5:6::/:\n")]
    write_layout(layout, [layer(*members)])
    image = read_image(layout)
    for blob in (image.raw_config, *image.layers):
        fake.put_blob("base", blob)
    fake.put_manifest("base", "1", image.raw_manifest, media.OCI_MANIFEST)
    return f"{fake.host}/base:1"


def place(fake: FakeRegistry, name: str = "cache/x", prefix: str = "cache") -> CachePlace:
    return CachePlace(kind="registry", reference=Reference.parse(f"{fake.host}/{name}"), prefix=prefix)


def to(where: CachePlace, *, everything: bool = True, ignore_error: bool = False) -> tuple[CacheTarget, ...]:
    return (CacheTarget(place=where, everything=everything, ignore_error=ignore_error),)


def entries(fake: FakeRegistry, name: str = "cache/x") -> list[str]:
    return sorted(one for one in fake.manifests.get(name, {}) if ":" not in one)


def fetched(fake: FakeRegistry) -> set[str]:
    """Return the blobs that were downloaded, by repository and digest."""
    return {one.path.removeprefix("/v2/").replace("/blobs/", " ") for one in fake.asked("GET", "/blobs/")}


def layers_of(built: Built) -> set[str]:
    return {str(one.digest) for one in built.image.manifest.layers}


def shown(built: Built) -> dict[str, str]:
    return built.shown("mode", "uid", "sha256", "link")


def added(built: Built, count: int) -> set[str]:
    """Return the paths in the topmost layers, and open no others."""
    raw = []
    for one in built.image.layers[-count:]:
        with one.open() as stream:
            raw.append(stream.read())
    return set(tree_of_layers(raw))


def text(base: str) -> str:
    return (
        f"FROM {base} AS s\nCOPY src /src\nWORKDIR /made/here\n"
        f"FROM {base}\nCOPY --from=s /src /dir/\nWORKDIR /w\nCOPY <<EOF /doc\nhello\nEOF\nENV A=b\n"
    )


def publish(fake: FakeRegistry, exchange: Exchange, *, now: int = 1 << 31, name: str = "cache/x") -> str:
    """Put an entry into the registry as a stranger with the right to push would; return its tag."""
    root, found = documents(exchange)
    for raw in found.values():
        fake.put_blob(name, raw)
        fake.put_manifest(name, digest_of(raw), raw, media.OCI_MANIFEST)
    tag = str(EntryTag.of("cache", root, now, merged=False))
    kind = json.loads(root)["mediaType"]
    fake.put_manifest(name, tag, root, kind)
    return tag


def read(fake: FakeRegistry, name: str = "cache/x") -> list[Exchange]:
    """Return the tables of all entries."""
    found = []
    for tag in entries(fake, name):
        _, raw = fake.manifests[name][tag]
        if "config" in (value := json.loads(raw)):
            found.append(parse_table(fake.blobs[name][value["config"]["digest"]]))
    return found


def selectors(store: Path) -> list[str]:
    return sorted(path.name for path in (store / "selectors").rglob("*") if path.is_file())


# --- the ordinary case


def test_a_fresh_store_executes_nothing_and_fetches_no_layer(machines: Machines, fake: FakeRegistry, base: str) -> None:
    cache = place(fake)
    one = machines["one"].build(text(base), FILES, cache_to=to(cache))
    assert len(one.seen.executed) == 5
    fake.seen.clear()
    two = machines["two"].build(text(base), cache_from=(cache,), cache_to=to(cache))
    assert (two.seen.executed, two.digest, two.seen.warnings) == ([], one.digest, [])
    assert not {one.partition(" ")[2] for one in fetched(fake)} & layers_of(one)
    assert not fake.asked("PUT"), "everything was there"
    assert selectors(machines["two"].store) == []
    # And then from its own store, which knows the base by now: the same again.
    assert machines["two"].build(text(base), cache_from=(cache,)).digest == one.digest


def test_a_pushed_image_gets_its_layers_by_mounts(machines: Machines, fake: FakeRegistry, base: str) -> None:
    cache = place(fake)
    one = machines["one"].build(text(base), FILES, cache_to=to(cache))
    fake.seen.clear()
    push = {"tags": [f"{fake.host}/app:1"], "outputs": (Output("registry"),)}
    two = machines["two"].build(text(base), cache_from=(cache,), **push)
    assert two.digest == one.digest
    assert layers_of(two) <= fake.blobs["app"].keys()
    assert not {one.partition(" ")[2] for one in fetched(fake)} & layers_of(one)
    sent = fake.asked("PUT", "/blobs/uploads/")
    assert len(sent) == 1, "the config"


def test_what_is_missing_is_executed_without_the_bytes_of_the_base(
    machines: Machines, fake: FakeRegistry, base: str
) -> None:
    cache = place(fake)
    machines["one"].build(text(base), FILES, cache_to=to(cache))
    fake.seen.clear()
    changed = machines["two"].build(f"FROM {base}\nWORKDIR /dir/new\nCOPY --chown=u src/a /etc/", cache_from=(cache,))
    assert len(changed.seen.executed) == 2
    assert not [one for one in fetched(fake) if one.startswith("base ") and one.split()[1] in layers_of(changed)]
    assert changed.tree["etc/a"].uid == 5
    assert "etc" in changed.tree


def test_an_image_without_steps_has_one_digest_everywhere(machines: Machines, fake: FakeRegistry, base: str) -> None:
    cache = place(fake)
    plain = f"FROM {base}\nLABEL a=b"
    one = machines["one"].build(plain, cache_to=to(cache))
    fake.seen.clear()
    two = machines["two"].build(plain, cache_from=(cache,))
    assert two.digest == one.digest


def test_only_what_the_image_is_made_of_is_shared_unless_all_is_wanted(
    machines: Machines, fake: FakeRegistry, base: str
) -> None:
    machines["one"].build(text(base), FILES, cache_to=to(place(fake), everything=False))
    (table,) = read(fake)
    assert len(table.records) == 3
    machines["one"].build(text(base), FILES, cache_to=to(place(fake)))
    assert sum(len(one.records) for one in read(fake)) == 5, "what was there is not written again"


def test_a_directory_is_a_cache_too(machines: Machines, base: str, tmp_path: Path) -> None:
    cache = CachePlace(kind="local", path=tmp_path / "shared")
    one = machines["one"].build(text(base), FILES, cache_to=to(cache))
    machines["one"].build(text(base), {"src/a": "other"}, cache_to=to(cache))
    machines["one"].put(FILES)
    two = machines["two"].build(text(base), cache_from=(cache,))
    assert (two.seen.executed, two.digest) == ([], one.digest)


def test_an_image_says_what_it_is_made_of(machines: Machines, fake: FakeRegistry, base: str) -> None:
    inline = (CacheTarget(place=CachePlace(kind="inline")),)
    push = {"tags": [f"{fake.host}/app:1"], "outputs": (Output("registry"),), "cache_to": inline}
    one = machines["one"].build(text(base), FILES, **push)
    named = CachePlace(kind="inline", reference=Reference.parse(f"{fake.host}/app:1"), prefix="1")
    two = machines["two"].build(text(base), cache_from=(named,), cache_to=inline)
    assert two.seen.executed == ["[s 2/3] COPY src /src", "[s 3/3] WORKDIR /made/here"]
    assert two.digest == one.digest
    # As Docker's users write it; and an image made on this one does not say it of itself.
    short = CachePlace(kind="registry", reference=Reference.parse(f"{fake.host}/app:1"))
    child = machines["three"].build(text(base), cache_from=(short,))
    assert len(child.seen.executed) == 2
    assert b"pybuild.cache.v1" not in machines["one"].build(f"FROM {fake.host}/app:1\nLABEL a=b").image.raw_config


def test_two_caches_are_asked_in_their_order(machines: Machines, fake: FakeRegistry, base: str) -> None:
    first, second = place(fake), place(fake, "cache/y")
    machines["one"].build(f"FROM {base}\nCOPY src /a", FILES, cache_to=to(first))
    machines["two"].build(f"FROM {base}\nCOPY src /b", cache_to=to(second))
    both = f"FROM {base} AS x\nCOPY src /a\nFROM {base}\nCOPY src /b\nCOPY --from=x /a /a"
    built = machines["three"].build(both, cache_from=(first, second))
    assert built.seen.executed == ["[stage-1 3/3] COPY --from=x /a /a"]


# --- whom it is believed


def test_what_a_cache_says_serves_only_builds_that_name_it(machines: Machines, fake: FakeRegistry, base: str) -> None:
    cache = place(fake)
    machines["one"].build(text(base), FILES, cache_to=to(cache))
    machines["two"].build(text(base), cache_from=(cache,))
    assert len(machines["two"].build(text(base)).seen.executed) == 5


def test_hits_of_one_cache_are_not_passed_on_to_another(machines: Machines, fake: FakeRegistry, base: str) -> None:
    first, second = place(fake), place(fake, "cache/y")
    machines["one"].build(text(base), FILES, cache_to=to(first))
    machines["two"].build(text(base), cache_from=(first,), cache_to=to(second))
    assert entries(fake, "cache/y") == []


def lying_toc(base_layer: bytes, *members: Any) -> tuple[DiffID, bytes, Toc]:
    """Return the table of contents of a layer with ``members``, said to be that of ``base_layer``."""
    diff_id = index_layer(io.BytesIO(base_layer), io.BytesIO())
    written = io.BytesIO()
    index_layer(io.BytesIO(layer(*members)), written)
    lie = written.getvalue()
    own = Toc(lie)
    forged = bytearray(lie.replace(bytes.fromhex(own.diff_id.hex), bytes.fromhex(diff_id.hex)))
    import xxhash

    forged[-16:-8] = xxhash.xxh3_64_intdigest(bytes(forged[:-16])).to_bytes(8, "little")
    return diff_id, bytes(forged), Toc(bytes(forged))


def lie(fake: FakeRegistry, *members: Any, name: str = "cache/x", records: tuple[Record, ...] = ()) -> str:
    """Let a cache claim that the base holds ``members``."""
    manifest = json.loads(fake.manifests["base"]["1"][1])
    honest = fake.blobs["base"][manifest["layers"][0]["digest"]]
    diff_id, raw, toc = lying_toc(honest, *members)
    blob = zlib.compress(raw)
    digest = fake.put_blob(name, blob)
    claim = Claim(Descriptor(media_type=TOC_TYPE, digest=Digest.parse(digest), size=len(blob)), toc.facts(), 1 << 30)
    return publish(fake, Exchange(claims={diff_id: claim}, records=records), name=name)


LIES = (directory("etc"), file("etc/kind", "base"), directory("dir"), symlink("w", "/etc"))


def test_what_is_computed_from_a_claim_is_recorded_under_its_source_only(
    machines: Machines, fake: FakeRegistry, base: str
) -> None:
    lie(fake, *LIES)
    shop = machines["one"]
    plain = f"FROM {base}\nCOPY src/a /w/f\nWORKDIR /w/x"
    wrong = shop.build(plain, FILES, cache_from=(place(fake),))
    assert added(wrong, 2) >= {"etc/f", "etc/x"}, "who can write a cache can write its images"
    assert selectors(shop.store) == []
    assert shop.build(plain, cache_from=(place(fake),)).seen.executed == []
    # Not so whoever does not name it, on the same store.
    right = shop.build(plain)
    assert len(right.seen.executed) == 2
    assert set(right.tree) & {"w/f", "w/x", "etc/f"} == {"w/f", "w/x"}
    # What this store knows for itself counts more from now on.
    assert shop.build(plain, cache_from=(place(fake),)).digest == right.digest


def test_keys_of_contents_that_were_only_claimed_get_no_alias(
    machines: Machines, fake: FakeRegistry, base: str
) -> None:
    """A lie about a directory leads to an honest record of another directory: no short cut to it is remembered."""
    shop = machines["one"]
    shop.build("FROM scratch AS s\nCOPY src/a /dir/innocent\nFROM scratch\nCOPY --from=s /dir /out", FILES)
    known = selectors(shop.store)
    lie(fake, directory("etc"), file("etc/kind", "base"), directory("dir"), directory("dir/sub"))
    empty = "FROM scratch AS s\nWORKDIR /dir/sub\nFROM scratch\nCOPY --from=s /dir /out"
    shop.build(empty)
    before = selectors(shop.store)
    assert set(known) < set(before)
    plain = f"FROM {base} AS s\nFROM scratch\nCOPY --from=s /dir /out"
    shop.build(plain, cache_from=(place(fake),))
    assert selectors(shop.store) == before
    assert "out/sub" not in shop.build(plain).tree


def test_a_lie_comes_out_when_the_bytes_pass_and_everything_is_done_again(
    machines: Machines, fake: FakeRegistry, base: str
) -> None:
    lie(fake, *LIES)
    shop = machines["one"]
    plain = f"FROM {base}\nCOPY src/a /w/f\nFROM {base} AS other\nCOPY --from=0 /w /w\nCOPY --from=0 /etc/kind /k"
    built = shop.build(plain, FILES, cache_from=(place(fake),))
    assert built.tree["w/f"].type == "file"
    assert built.text("k") == "base"
    (warning,) = built.seen.warnings
    assert "something wrong about the layer" in warning
    assert str(place(fake).name) in warning
    assert built.seen.failed == []
    # The entry is never read again, and nothing is left of what it said.
    assert not list((shop.store / "imported").rglob("toc/*"))
    again = shop.build(f"{plain}2", cache_from=(place(fake),))
    assert again.seen.warnings == []
    assert shown(machines["two"].build(plain)) == shown(built)


def test_a_lie_comes_out_in_outputs_too(machines: Machines, fake: FakeRegistry, base: str, tmp_path: Path) -> None:
    lie(fake, *LIES)
    target = tmp_path / "out.tar"
    plain = f"FROM {base}\nCOPY src/a /w/f"
    for output in (Output("oci", target), Output("tar", target)):
        built = machines[output.kind].build(plain, FILES, cache_from=(place(fake),), outputs=(output,))
        assert built.tree["w/f"].type == "file"
        assert len(built.seen.warnings) == 1


def test_a_failure_that_a_lie_is_to_blame_for_is_none(machines: Machines, fake: FakeRegistry, base: str) -> None:
    lie(fake, directory("etc"), file("dir", "a file"))
    plain = f"FROM {base}\nCOPY --chown=u src/a /dir/f"
    built = machines["one"].build(plain, FILES, cache_from=(place(fake),))
    assert built.tree["dir/f"].uid == 5
    assert len(built.seen.warnings) == 1


def test_what_was_computed_from_claims_that_are_true_is_the_stores_own_once_that_is_known(
    machines: Machines, fake: FakeRegistry, base: str, tmp_path: Path
) -> None:
    """So that a job which reads one cache and writes another has something to write."""
    first, second = place(fake), place(fake, "cache/y")
    machines["one"].build(f"FROM {base}\nCOPY src/b /b", FILES, cache_to=to(first))
    changed = f"FROM {base}\nCOPY src/a /dir/new/a"
    shop = machines["two"]
    shop.build(changed, cache_from=(first,), cache_to=to(second))
    assert (selectors(shop.store), entries(fake, "cache/y")) == ([], [])
    # An output reads the base, and what was claimed of it was true.
    output = Output("tar", tmp_path / "out.tar")
    other = changed.replace("/new/", "/other/")
    built = shop.build(other, cache_from=(first,), cache_to=to(second), outputs=(output,))
    assert len(selectors(shop.store)) == 1
    assert shop.build(other).digest == built.digest
    assert len(read(fake, "cache/y")[0].records) == 1
    assert machines["three"].build(other, cache_from=(second,)).digest == built.digest


def test_claims_of_two_caches_are_recorded_under_neither(machines: Machines, fake: FakeRegistry, base: str) -> None:
    one, other = place(fake), place(fake, "cache/y")
    lie(fake, *LIES)
    shop = machines["one"]
    second = f"{fake.host}/base2:1"
    raw = layer(directory("etc"), file("etc/second", "2"))
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}}
    diff_id, forged, toc = lying_toc(raw, directory("etc"), directory("etc/lie"))
    config["rootfs"]["diff_ids"] = [diff_id]  # type: ignore[index]  # a literal of two kinds
    blobs = [json.dumps(config).encode(), raw]
    for blob in blobs:
        fake.put_blob("base2", blob)
    manifest = {
        "schemaVersion": 2,
        "config": {"mediaType": media.OCI_CONFIG, "digest": digest_of(blobs[0]), "size": len(blobs[0])},
        "layers": [{"mediaType": media.OCI_LAYER, "digest": digest_of(raw), "size": len(raw)}],
    }
    fake.put_manifest("base2", "1", json.dumps(manifest).encode(), media.OCI_MANIFEST)
    packed = zlib.compress(forged)
    digest = Digest.parse(fake.put_blob("cache/y", packed))
    claim = Claim(Descriptor(media_type=TOC_TYPE, digest=digest, size=len(packed)), toc.facts(), 1)
    publish(fake, Exchange(claims={diff_id: claim}), name="cache/y")
    plain = f"FROM {second} AS s\nFROM {base}\nCOPY --from=s /etc/lie /w/lie"
    shop.build(plain, FILES, cache_from=(one, other))
    assert selectors(shop.store) == []
    assert not list((shop.store / "imported").rglob("selectors/*/*"))


def forged_record(machines: Machines, fake: FakeRegistry, base: str, **changes: Any) -> Built:
    """Let a cache know the steps of ``text``, with something changed in the record of each layer."""
    cache = place(fake)
    built = machines["one"].build(text(base), FILES, cache_to=to(cache))
    (table,) = read(fake)
    for tag in entries(fake):
        del fake.manifests["cache/x"][tag]
    records = [replace(one, **changes) if one.layer is not None else one for one in table.records]
    publish(fake, replace(table, records=tuple(records)))
    return built


def test_a_layer_that_is_another_than_its_record_says_is_found_out(
    machines: Machines, fake: FakeRegistry, base: str, tmp_path: Path
) -> None:
    wrong = layer(file("evil", "x"))
    digest = Digest.parse(fake.put_blob("cache/x", wrong))
    other = Descriptor(media_type=media.OCI_LAYER, digest=digest, size=len(wrong))
    built = forged_record(machines, fake, base, layer=other, compressor="none")
    output = Output("tar", tmp_path / "out.tar")
    two = machines["two"].build(text(base), cache_from=(place(fake),), outputs=(output,))
    assert shown(two) == shown(built)
    assert len(two.seen.warnings) == 1
    assert len(two.seen.executed) >= 5
    # The same with bytes that are here already, as another layer.
    with Store.open(machines["three"].store) as store:
        store.blobs.put(wrong)
    three = machines["three"].build(text(base), cache_from=(place(fake),))
    assert shown(three) == shown(built)
    assert len(three.seen.warnings) == 1


def test_a_layer_that_is_said_to_be_huge_does_not_end_a_build(
    machines: Machines, fake: FakeRegistry, base: str, tmp_path: Path
) -> None:
    huge = Descriptor(media_type=media.OCI_LAYER, digest=Digest.of(b"huge"), size=1 << 40)
    fake.put_blob("cache/x", b"huge")
    built = forged_record(machines, fake, base, layer=huge, compressor="none")
    output = Output("tar", tmp_path / "out.tar")
    two = machines["two"].build(text(base), cache_from=(place(fake),), outputs=(output,))
    assert shown(two) == shown(built)
    assert two.seen.warnings


def test_a_lie_about_a_base_that_is_known_comes_out_at_once(machines: Machines, fake: FakeRegistry, base: str) -> None:
    shop = machines["one"]
    shop.build(f"FROM {base}\nCOPY src/a /x", FILES)
    lie(fake, *LIES)
    built = shop.build(f"FROM {base}\nCOPY src/a /w/f", cache_from=(place(fake),))
    assert "w/f" in built.tree
    assert len(built.seen.warnings) == 1
    assert shop.build(f"FROM {base}\nCOPY src/a /w/g", cache_from=(place(fake),)).seen.warnings == []


def test_layers_that_are_gone_are_made_again(machines: Machines, fake: FakeRegistry, base: str) -> None:
    cache = place(fake)
    one = machines["one"].build(text(base), FILES, cache_to=to(cache))
    lost = next(iter(layers_of(one) & fake.blobs["cache/x"].keys()))
    del fake.blobs["cache/x"][lost]
    two = machines["two"].build(text(base), cache_from=(cache,))
    assert shown(two) == shown(one)
    (warning,) = two.seen.warnings
    assert "gone" in warning


def test_a_damaged_layer_is_made_again(machines: Machines, fake: FakeRegistry, base: str, tmp_path: Path) -> None:
    cache = place(fake)
    one = machines["one"].build(text(base), FILES, cache_to=to(cache))
    lost = next(iter(layers_of(one) & fake.blobs["cache/x"].keys()))
    fake.blobs["cache/x"][lost] = fake.blobs["cache/x"][lost][:-1] + b"\xff"
    two = machines["two"].build(text(base), cache_from=(cache,), outputs=(Output("oci", tmp_path / "out.tar"),))
    assert shown(two) == shown(one)
    assert two.seen.warnings


# --- what is broken


def test_a_cache_that_nobody_answers_at_is_one_warning(machines: Machines, base: str) -> None:
    nowhere = CachePlace(kind="registry", reference=Reference.parse("localhost:1/nobody/there"))
    built = machines["one"].build(text(base), FILES, cache_from=(nowhere,))
    (warning,) = built.seen.warnings
    assert "localhost:1/nobody/there" in warning
    with pytest.raises(RegistryError, match="the image is done, but"):
        machines["one"].build(text(base), cache_to=to(nowhere))
    ignored = machines["one"].build(text(base), cache_to=to(nowhere, ignore_error=True))
    assert len(ignored.seen.warnings) == 1


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_a_cache_that_refuses_is_one_warning(machines: Machines, fake: FakeRegistry, base: str, status: int) -> None:
    fake.plan = lambda seen: Fault(status=status) if "/cache/x/" in seen.path else None
    built = machines["one"].build(text(base), FILES, cache_from=(place(fake),))
    assert len(built.seen.warnings) == 1


def test_a_cache_that_is_not_there_yet_is_no_warning(machines: Machines, fake: FakeRegistry, base: str) -> None:
    assert machines["one"].build(text(base), FILES, cache_from=(place(fake),)).seen.warnings == []


def test_a_cache_that_fails_in_the_middle_of_a_build_only_slows_it(
    machines: Machines, fake: FakeRegistry, base: str, tmp_path: Path
) -> None:
    cache = place(fake)
    one = machines["one"].build(text(base), FILES, cache_to=to(cache))
    own = layers_of(one) & fake.blobs["cache/x"].keys()
    fake.plan = lambda seen: Fault(status=404) if _asks_for(seen, own) else None
    output = Output("oci", tmp_path / "out.tar")
    two = machines["two"].build(text(base), cache_from=(cache,), outputs=(output,))
    assert shown(two) == shown(one)
    assert len(two.seen.warnings) == 1
    assert two.seen.failed == []


@pytest.mark.parametrize("part", ["/tags/", "/manifests/", "GET /blobs/", "HEAD /blobs/"])
def test_a_cache_that_stalls_is_waited_for_once(
    machines: Machines, fake: FakeRegistry, base: str, tmp_path: Path, part: str
) -> None:
    cache, method, part = place(fake), part.rpartition(" ")[0], part.rpartition(" ")[2]
    one = machines["one"].build(text(base), FILES, cache_to=to(cache))
    tables = {json.loads(raw)["config"]["digest"] for _, raw in fake.manifests["cache/x"].values()}
    stalled: list[Seen] = []

    def stall(seen: Seen) -> Fault | None:
        hit = seen.path.startswith("/v2/cache/x/") and part in seen.path and method in ("", seen.method)
        if not hit or (method and seen.path.rpartition("/")[2] in tables):
            return None
        stalled.append(seen)
        return Fault(stall=True)

    fake.plan = stall
    output = Output("oci", tmp_path / "out.tar")
    two = machines["two"].build(text(base), cache_from=(cache,), outputs=(output,))
    assert shown(two) == shown(one)
    (warning,) = two.seen.warnings
    assert "stopped answering" in warning
    assert cache.name in warning
    assert two.seen.failed == []
    # Those that were under way together.
    assert 0 < len(stalled) <= 8


def test_a_stalled_table_of_contents_is_one_warning(machines: Machines, fake: FakeRegistry, base: str) -> None:
    cache = place(fake)
    machines["one"].build(text(base), FILES, cache_to=to(cache))
    claims = {str(claim.blob.digest) for table in read(fake) for claim in table.claims.values()}
    fake.plan = lambda seen: Fault(stall=True) if _asks_for(seen, claims) else None
    plain = f"FROM {base} AS s\nCOPY src/a /x/new\nFROM {base}\nCOPY src/b /new\nCOPY --from=s /x /y"
    two = machines["two"].build(plain, FILES, cache_from=(cache,))
    assert shown(two) == shown(machines["three"].build(plain))
    assert len(two.seen.warnings) == 1
    assert len([one for one in fake.seen if _asks_for(one, claims)]) == 1


def test_records_that_stall_are_one_warning_of_explain(machines: Machines, fake: FakeRegistry, base: str) -> None:
    cache = place(fake)
    for number in range(3):
        machines["one"].build(f"FROM {base}\nCOPY src/a /{number}", FILES, cache_to=to(cache))
    abouts = {str(one.digest) for table in read(fake) for one in table.about}
    assert len(abouts) == 3
    fake.plan = lambda seen: Fault(stall=True) if _asks_for(seen, abouts) else None
    path, seen = machines.root / "Dockerfile.test", Recording()
    path.write_text(f"FROM {base}\nCOPY src/b /b")
    request = BuildRequest(
        context=str(machines.root / "context"),
        platforms=(NATIVE,),
        build_platform=NATIVE,
        dockerfile=str(path),
        cache_from=(cache,),
    )
    with machines["two"].environment(seen) as env:
        *_, step = explain(request, env)
    assert step.cause == "never"
    (warning,) = seen.warnings
    assert "stopped answering" in warning
    assert len([one for one in fake.seen if _asks_for(one, abouts)]) == 1


def test_entries_are_read_for_a_limited_time(fake: FakeRegistry, tmp_path: Path) -> None:
    for number in range(30):
        publish(fake, some_records(number, 1), now=1000 + number)
    now = [0.0]
    warned: list[str] = []

    def tick() -> float:
        now[0] += 25.0
        return now[0]

    with Store.open(tmp_path / "store") as store, Registry() as client:
        where = RegistryPlace(place(fake), store, lambda: client, Recording())
        reader = Reader(where, "cache", store.imported("x"), store, warned.append, clock=tick)
        found = reader.read()
    assert len(found.exchange.records) == 16
    assert warned == ["14 entries are not read: it takes too long"]
    assert {str(one) for one in found.tags} == {one for one in entries(fake) if f"-{1000 + 14:010x}-" <= one[7:]}


def _asks_for(seen: Seen, digests: set[str]) -> bool:
    return seen.method == "GET" and "/cache/x/blobs/" in seen.path and seen.path.rpartition("/")[2] in digests


BAD_TABLES = [
    b"",
    b"[]",
    b"{}",
    b'{"version":2}',
    b'{"version":1,"records":{}}',
    b'{"version":1,"records":[{"keys":[]}]}',
    b'{"version":1,"records":[{"keys":["../../etc/passwd"],"created":1,"shared":1}]}',
    b'{"version":1,"records":[{"keys":["%s"],"created":-1,"shared":1}]}' % (b"a" * 64),
    b'{"version":1,"records":[{"keys":["%s"],"created":1,"shared":1,"diff_id":"sha256:zz"}]}' % (b"a" * 64),
    b'{"version":1,"records":[{"keys":["%s"],"created":1,"shared":1,"diff_id":"sha256:%s"}]}' % (b"a" * 64, b"b" * 64),
    b'{"version":1,"includes":["a/b"]}',
    b'{"version":1,"tocs":[{}]}',
    b'{"version":1,"about":[{"mediaType":"text/html","digest":"sha256:%s","size":1}]}' % (b"a" * 64),
    b'{"version":1,"created":1e999}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("raw", BAD_TABLES, ids=range(len(BAD_TABLES)))
def test_hostile_tables_are_a_warning_each(machines: Machines, fake: FakeRegistry, base: str, raw: bytes) -> None:
    with pytest.raises(ImageError):
        parse_table(raw)
    _, found = documents(Exchange())
    table = next(one for one in found.values() if b"schemaVersion" not in one)
    manifest = next(one for one in found.values() if b"schemaVersion" in one)
    manifest = manifest.replace(digest_of(table).encode(), digest_of(raw).encode())
    manifest = manifest.replace(f'"size":{len(table)}'.encode(), f'"size":{len(raw)}'.encode())
    fake.put_blob("cache/x", raw)
    tag = EntryTag.of("cache", manifest, 5, merged=False)
    fake.put_manifest("cache/x", str(tag), manifest, media.OCI_MANIFEST)
    built = machines["one"].build(text(base), FILES, cache_from=(place(fake),))
    (warning,) = built.seen.warnings
    assert str(tag) in warning


def test_an_entry_whose_tag_was_moved_is_not_used(machines: Machines, fake: FakeRegistry, base: str) -> None:
    machines["one"].build(text(base), FILES, cache_to=to(place(fake)))
    (tag,) = entries(fake)
    root, found = documents(Exchange())
    for raw in found.values():
        fake.put_blob("cache/x", raw)
    fake.put_manifest("cache/x", tag, root, media.OCI_MANIFEST)
    built = machines["two"].build(text(base), cache_from=(place(fake),))
    assert len(built.seen.executed) == 5
    assert "never be moved" in built.seen.warnings[0]


# --- many


def some_records(number: int, count: int, when: int = 1 << 30) -> Exchange:
    records = tuple(
        Record(keys=(Key(f"{number:032x}{index:032x}"),), diff_id=None, created=1, shared=when)
        for index in range(count)
    )
    return Exchange(records=records)


def test_many_entries_are_merged_and_none_is_lost(machines: Machines, fake: FakeRegistry, base: str) -> None:
    now = 1 << 31
    for number in range(40):
        publish(fake, some_records(number, 250), now=now - 100 + number)
    shop = machines["one"]
    shop.build(text(base), FILES, cache_from=(place(fake),), cache_to=to(place(fake)))
    added = [tag for tag in entries(fake) if "cache-m-" in tag]
    assert len(added) == 1
    # A reader with nothing at hand needs the merged entry only.
    fake.seen.clear()
    two = machines["two"].build(text(base), cache_from=(place(fake),))
    assert two.seen.executed == []
    asked = [one.path for one in fake.asked("GET", "/manifests/cache-")]
    assert len(asked) == 1
    with Store.open(machines["two"].store) as store, machines["two"].environment(Recording()) as env:
        del store
        pruned = prune_remote(f"{fake.host}/cache/x", 10**9, env)
    assert pruned.kept == 40 * 250 + 5


def test_what_is_old_is_removed_and_what_is_used_stays(machines: Machines, fake: FakeRegistry, base: str) -> None:
    machines["one"].build(text(base), FILES, cache_to=to(place(fake)))
    for number in range(3):
        publish(fake, some_records(number, 10, when=1000), now=1000 + number)
    name = f"{fake.host}/cache/x"
    with machines["one"].environment(Recording()) as env:
        assert prune_remote(name, 86400, env, dry_run=True) == Pruned(3, 30, 5)
        assert len(entries(fake)) == 4
        done = prune_remote(name, 86400, env)
        assert (done.entries, done.records, done.kept) == (3, 30, 5)
        assert len(entries(fake)) == 2
        assert done.written in entries(fake)
        assert prune_remote(name, 86400, env) == Pruned(0, 0, 5)
    assert machines["two"].build(text(base), cache_from=(place(fake),)).seen.executed == []


def test_a_merged_entry_leaves_out_what_is_gone(machines: Machines, fake: FakeRegistry, base: str) -> None:
    machines["one"].build(text(base), FILES, cache_to=to(place(fake)))
    lost = next(one.layer.digest for table in read(fake) for one in table.records if one.layer is not None)
    del fake.blobs["cache/x"][lost]
    for number in range(20):
        publish(fake, some_records(number, 1))
    shop = machines["two"]
    shop.build(f"FROM {base}\nCOPY src /other", cache_to=to(place(fake)))
    assert len([tag for tag in entries(fake) if "cache-m-" in tag]) == 1
    built = machines["three"].build(text(base), cache_from=(place(fake),))
    assert 0 < len(built.seen.executed) < 5
    assert built.seen.warnings == []


def test_an_export_says_where_it_went(machines: Machines, fake: FakeRegistry, base: str) -> None:
    built = machines["one"].build(text(base), FILES, cache_to=to(place(fake)))
    (tag,) = entries(fake)
    assert any(isinstance(one, Notice) and tag in one.message for one in built.seen.events)


# --- tables of contents


def test_a_table_says_the_same_however_it_was_made() -> None:
    entries = [
        Entry(path="etc", kind=Kind.DIRECTORY, mode=0o755),
        Entry(path="etc/passwd", kind=Kind.FILE, mode=0o644, size=9, xattrs={"user.a": b"1", "user.b": b"2"}),
        Entry(path="l", kind=Kind.SYMLINK, mode=0o777, target="etc"),
        Entry(path="gone", kind=Kind.WHITEOUT, mode=0),
        Entry(path="a/b/c", kind=Kind.FILE, mode=0o4755, size=3 << 20, mtime=5, uid=70000, gid=1),
    ]
    contents: dict[str, bytes] = {"etc/passwd": b"r:x:0:0::", "a/b/c": bytes(3 << 20)}
    blob, toc = io.BytesIO(), io.BytesIO()
    pack([Item(one, contents.get(one.path)) for one in entries], blob, toc)
    again = io.BytesIO()
    blob.seek(0)
    index_layer(blob, again)
    assert Toc(toc.getvalue()).facts() == Toc(again.getvalue()).facts()
    other = io.BytesIO()
    entries[2] = replace(entries[2], target="usr")
    pack([Item(one, contents.get(one.path)) for one in entries], io.BytesIO(), other)
    assert Toc(toc.getvalue()).facts() != Toc(other.getvalue()).facts()

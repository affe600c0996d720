"""Names in a store, and the blobs behind them, without any registry."""

from __future__ import annotations

from typing import Any

import pytest

from builder.cache.refs import RefRecord
from builder.cache.store import Store
from builder.engine.build import Environment
from builder.errors import ImageError, UsageError
from builder.image.digest import DiffID, Digest
from builder.image.reference import Reference
from builder.images.listing import listed, reachable
from builder.images.naming import drop_unneeded, find_record, names_of, passing_through, remove, tag
from builder.images.storing import keep
from tests.support.artifacts import TARS, Held


def name(text: str) -> Reference:
    return Reference.parse(text)


def kept(env: Environment, held: Held, descriptor: dict[str, Any], *names: str) -> Digest:
    artifact = held.artifact(descriptor)
    keep(env, artifact, [name(one) for one in names])
    return artifact.digest


def test_what_an_image_leads_to(env: Environment) -> None:
    held = Held()
    root = held.index([held.image(), held.attestation("sha256:" + "0" * 64)])
    kept(env, held, root, "a:1")
    assert set(reachable(env.store, held.artifact(root).root)) == set(held.blobs)


def test_names_by_digest_and_by_the_beginning_of_an_id(env: Environment) -> None:
    held = Held()
    digest = kept(env, held, held.image(), "a:1")
    (one,) = listed(env.store)
    for text in ("a:1", "docker.io/library/a:1", "localhost/a:1", digest.hex[:4], str(one.identity), one.identity.hex):
        record = find_record(env.store, text)
        assert record is not None, text
        assert record.descriptor.digest == digest
    for text in ("a:2", f"a:1@sha256:{'0' * 64}", digest.hex[:3], "UPPER", "sha256:" + "0" * 64):
        assert find_record(env.store, text) is None, text


def test_two_images_that_begin_alike(env: Environment) -> None:
    held = Held()
    seen: dict[str, str] = {}
    for number in range(2000):  # by their manifests' first four digits, two of this many meet
        descriptor = held.image(tars=(b"x",), annotations={"n": str(number)})
        start = descriptor["digest"][7:11]
        if start in seen:
            kept(env, held, descriptor, "b:1")
            kept(env, held, {**descriptor, "digest": seen[start], "size": len(held.blobs[seen[start]])}, "a:1")
            break
        seen[start] = descriptor["digest"]
    # The image ID is the same; one of the two is meant whichever it is.
    with pytest.raises(ImageError, match="several names"):
        names_of(env.store, start, force=False)
    assert len(names_of(env.store, start, force=True)) == 2


def test_a_layer_that_the_cache_knows_stays(env: Environment) -> None:
    held = Held()
    descriptor = held.image()
    kept(env, held, descriptor, "a:1")
    first = held.artifact(descriptor).image().layers[0]
    env.store.variants.put(DiffID(Digest.of(TARS[0])), "gzip", first.descriptor)

    removed = remove(env.store, names_of(env.store, "a:1", force=False))

    assert removed.names == ("a:1",)
    assert set(removed.blobs) == set(map(Digest, held.blobs)) - {first.descriptor.digest}
    assert env.store.blobs.contains(first.descriptor.digest)


def test_built_and_pulled_names_go_together(env: Environment) -> None:
    held = Held()
    kept(env, held, held.image(), "a:1")
    pulled = held.artifact(held.image(tars=TARS[:1]))
    keep(env, pulled, [])
    env.store.refs.put(RefRecord(str(name("a:1")), pulled.root, 0, built_here=False))
    assert len(names_of(env.store, "a:1", force=False)) == 2
    remove(env.store, names_of(env.store, "a:1", force=False))
    assert list(env.store.refs.records()) == []
    assert not list(env.store.root.glob("blobs/sha256/*/*"))


def test_a_tag_takes_the_place_of_no_name(env: Environment) -> None:
    held = Held()
    digest = kept(env, held, held.image(), "a:1")
    with pytest.raises(UsageError, match="its digest is what it is"):
        tag(env.store, "a:1", [name("b"), name(f"b@{digest}")])
    with pytest.raises(ImageError, match="is not in the store"):
        tag(env.store, "x:1", [name("b")])
    assert len(list(listed(env.store))) == 1
    assert tag(env.store, "a:1", [name("b"), name("registry.example/c:2")]).descriptor.digest == digest
    assert sorted(one.record.reference for one in listed(env.store)) == [
        "docker.io/library/a:1",
        "docker.io/library/b:latest",
        "registry.example/c:2",
    ]


def test_blobs_that_pass_through(env: Environment) -> None:
    held = Held()
    first, second = held.image(tars=TARS[:1]), held.image()
    kept(env, held, first, "stays:1")
    artifact = held.artifact(second)
    with passing_through(env.store, artifact):
        for document in artifact.documents():
            for blob in document.blobs:
                if not env.store.blobs.contains(blob.digest):
                    env.store.blobs.put(held.blobs[blob.digest])
    here = {blob.digest for document in held.artifact(first).documents() for blob in document.blobs}
    for blob in artifact.documents()[-1].blobs:
        assert env.store.blobs.contains(blob.digest) == (blob.digest in here)


def test_others_may_need_what_is_there(env: Environment) -> None:
    digest = env.store.blobs.put(b"whatever")
    with Store.open(env.store.root) as other:
        other.hold_lease()
        assert drop_unneeded(env.store, [digest]) is None
    assert env.store.blobs.contains(digest)
    assert drop_unneeded(env.store, [digest, Digest("sha256:" + "0" * 64)]) == (digest,)


def test_a_damaged_record_is_passed_over(env: Environment) -> None:
    held = Held()
    kept(env, held, held.image(), "a:1", "b:1")
    files = sorted(env.store.root.glob("refs/built/*"))
    files[0].write_bytes(b"noise")
    (env.store.root / "refs/built/stray").write_bytes(files[1].read_bytes())
    assert len(list(env.store.refs.records())) == 1
    assert len(list(listed(env.store))) == 1

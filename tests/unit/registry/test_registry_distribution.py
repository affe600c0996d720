"""Rules of the distribution specification that no other module's tests are about (docs/distribution.md)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from builder.events import SilentReporter
from builder.image import descriptor as media
from builder.image.artifact import Artifact, Parts
from builder.image.digest import Digest, DigestMismatchError
from builder.registry.client import Registry
from builder.registry.push import push_artifact
from tests.support.fake_registry import FakeRegistry, Fault, at
from tests.support.pushing import push_image

Connect = Callable[..., Registry]
QUIET = SilentReporter()
DATA = bytes(range(256)) * 4096


def test_what_is_accepted(fake: FakeRegistry, connect: Connect, stored: Any, pushed: Any, layer: Any) -> None:
    stored("a/b", "1", pushed(layer(DATA)))
    connect().manifest(at(fake))
    connect().resolve(at(fake))
    for seen in fake.seen:
        assert {one.strip() for one in seen.headers["accept"].split(",")} == media.MANIFESTS | media.INDEXES


@pytest.mark.parametrize("claimed", ["sha256:" + "0" * 64, "sha256:short"])
def test_a_digest_header_that_is_wrong(
    fake: FakeRegistry, connect: Connect, stored: Any, pushed: Any, layer: Any, claimed: str
) -> None:
    image = pushed(layer(DATA))
    stored("a/b", "1", image)
    headers = {"Content-Type": image.media_type, "Docker-Content-Digest": claimed}
    fake.plan = lambda _: Fault(status=200, body=image.raw_manifest, headers=headers)
    with pytest.raises(DigestMismatchError, match="expected sha256:"):
        connect().manifest(at(fake))


def test_a_digest_header_of_another_algorithm_or_none(
    fake: FakeRegistry, connect: Connect, pushed: Any, layer: Any
) -> None:
    image = pushed(layer(DATA))
    for extra in ({}, {"Docker-Content-Digest": "sha512:" + "0" * 128}):
        headers = {"Content-Type": image.media_type, **extra}
        fake.plan = lambda _, headers=headers: Fault(status=200, body=image.raw_manifest, headers=headers)  # type: ignore[misc]  # bound now
        assert connect().manifest(at(fake))[2] == Digest.of(image.raw_manifest)


def test_an_upload_begins_with_an_empty_body(fake: FakeRegistry, connect: Connect, layer: Any) -> None:
    one = layer(DATA)
    connect().upload(at(fake), one.descriptor, one.open)
    (post,) = fake.asked("POST")
    assert (post.headers["content-length"], post.body) == ("0", b"")
    assert "transfer-encoding" not in post.headers


def test_a_blob_is_put_whole(fake: FakeRegistry, connect: Connect, layer: Any) -> None:
    one = layer(DATA)
    connect().upload(at(fake), one.descriptor, one.open)
    (put,) = fake.asked("PUT")
    assert put.headers["content-length"] == str(len(DATA))
    assert put.headers["content-type"] == "application/octet-stream"
    assert "transfer-encoding" not in put.headers
    assert put.query["digest"] == [one.descriptor.digest]
    assert not fake.asked("PATCH")


def index_of(*images: Any) -> Artifact:
    """Return an index of images of tests, as something to push."""
    documents = {Digest.of(raw): raw for one in images for raw in (one.raw_manifest, one.raw_config)}
    entries = [
        {"mediaType": one.media_type, "digest": Digest.of(one.raw_manifest), "size": len(one.raw_manifest)}
        for one in images
    ]
    raw = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries}).encode()
    layers = {layer.descriptor.digest: layer for one in images for layer in one.layers}
    return Artifact.of(Parts(where="the test", documents=documents, layers=layers), raw)


def test_an_index_is_pushed_after_its_images(fake: FakeRegistry, connect: Connect, pushed: Any, layer: Any) -> None:
    shared = layer(DATA)
    images = [pushed(shared, layer(b"one")), pushed(shared, layer(b"two"))]
    digest = push_artifact(connect(), [at(fake), at(fake, "a/b:2")], index_of(*images), QUIET)
    targets = [one.path.rpartition("/")[2] for one in fake.asked("PUT", "/manifests/")]
    assert targets == [*(Digest.of(one.raw_manifest) for one in images), "1", "2"]
    assert set(fake.manifests["a/b"]) == {*targets, digest}
    assert shared.opened == [1], "what two images share is pushed once"
    kinds = ["/manifests/" in one.path for one in fake.seen]
    assert kinds == sorted(kinds), "every blob is there before the first manifest"


@pytest.mark.parametrize("foreign", [True, False])
def test_foreign_layers_are_pushed_when_asked_for(
    fake: FakeRegistry, connect: Connect, pushed: Any, layer: Any, foreign: bool
) -> None:
    one = layer(DATA, media_type=media.OCI_FOREIGN_LAYER_GZIP, urls=("https://vendor.example/layer",))
    image = pushed(one)
    push_image(connect(), [at(fake)], image, QUIET, foreign=foreign)
    assert one.opened == ([1] if foreign else [])
    assert (one.descriptor.digest in fake.blobs["a/b"]) is foreign
    assert fake.manifests["a/b"]["1"][1] == image.raw_manifest, "the URLs stay in the manifest"


def test_a_foreign_layer_without_an_url_is_a_layer_like_others(
    fake: FakeRegistry, connect: Connect, pushed: Any, layer: Any
) -> None:
    one = layer(DATA, media_type=media.OCI_FOREIGN_LAYER_GZIP)
    push_image(connect(), [at(fake)], pushed(one), QUIET)
    assert one.opened == [1]

"""Blobs that only a registry has come several at a time, wherever they go; those of vendors stay where they are."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.cache.store import Store
from builder.engine.build import Environment
from builder.events import SilentReporter
from builder.image import descriptor as media
from builder.image.digest import Digest
from builder.images.deliver import deliver
from builder.images.locate import from_registry, locate
from builder.images.storing import missing_blobs
from builder.registry.client import Registry
from builder.registry.retry import RetryPolicy
from tests.support import images
from tests.support.fake_registry import FakeRegistry, Seen, at, serve

LAYERS = [images.layer(images.file(f"f{number}", str(number) * 5000)) for number in range(3)]


@pytest.fixture
def env(tmp_path: Path) -> Iterator[Environment]:
    registry = Registry(retry=RetryPolicy(sleep=lambda _: None))
    with Store.open(tmp_path / "store", warn=pytest.fail) as store, registry:
        yield Environment(store, lambda: registry, SilentReporter(), threading.Event())


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeRegistry]:
    """A registry with an image of three layers, which come only when all three have been asked for."""
    images.write_layout(tmp_path / "source", LAYERS, architecture="amd64")
    image = images.read_image(tmp_path / "source")
    with serve() as running:
        for blob in (image.raw_config, *image.layers):
            running.put_blob("a/b", blob)
        running.put_manifest("a/b", "1", image.raw_manifest, media.OCI_MANIFEST)
        meeting, layers = threading.Barrier(3, timeout=60), {Digest.of(one) for one in image.layers}

        def plan(seen: Seen) -> None:
            if seen.method == "GET" and seen.path.rpartition("/")[2] in layers:
                meeting.wait()

        running.plan = plan
        yield running


@pytest.mark.parametrize(
    "place", ["oci-layout://{}/layout:x", "oci-archive:{}/x.tar", "docker-archive:{}/x.tar:a/b:1", "store:copied:1"]
)
def test_a_copy_fetches_layers_at_the_same_time(
    env: Environment, fake: FakeRegistry, tmp_path: Path, place: str
) -> None:
    deliver(from_registry(at(fake), env), place.format(tmp_path), env)
    assert len(fake.asked("GET", "/blobs/")) == 4


def test_what_is_in_a_layout_is_not_copied_into_the_store(env: Environment, tmp_path: Path) -> None:
    images.write_layout(tmp_path / "source", LAYERS, tag="v1", architecture="amd64")
    source = locate(f"oci-layout://{tmp_path}/source:v1", env)
    deliver(source, f"oci-layout://{tmp_path}/target:v1", env)
    assert len(missing_blobs(env, source)) == 4


def test_layers_of_vendors_stay_where_they_are(env: Environment, fake: FakeRegistry, tmp_path: Path) -> None:
    value = json.loads(fake.manifests["a/b"]["1"][1])
    value["layers"][0] |= {"mediaType": media.OCI_FOREIGN_LAYER, "urls": ["https://vendor.example/layer"]}
    raw = json.dumps(value).encode()
    fake.put_manifest("a/b", "vendor", raw, media.OCI_MANIFEST)
    del fake.blobs["a/b"][value["layers"][0]["digest"]]
    fake.plan = lambda _: None
    artifact = from_registry(at(fake, "a/b:vendor"), env)
    for place in (f"oci-layout://{tmp_path}/layout:x", "store:copied:1", f"docker://{fake.host}/c:1"):
        deliver(artifact, place, env)
    assert fake.manifests["c"]["1"][1] == raw
    assert (tmp_path / "layout/blobs/sha256" / artifact.digest.hex).read_bytes() == raw

"""Bases with layers that are not for redistribution: named in the result, fetched only for their files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.engine.request import Output
from builder.image import descriptor as media
from builder.image.digest import Digest
from builder.registry.client import Registry
from tests.support.builds import Workshop
from tests.support.fake_registry import FakeRegistry, serve
from tests.support.images import file, layer, read_image, write_layout

VENDORS, OWN = layer(file("vendor", "theirs")), layer(file("own", "ours"))


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeRegistry]:
    """A registry with ``base:1``; its lower layer is at the vendor's, another origin."""
    write_layout(tmp_path / "source", [VENDORS, OWN])
    image = read_image(tmp_path / "source")
    with serve() as running:
        value = json.loads(image.raw_manifest)
        below = value["layers"][0]
        below |= {
            "mediaType": media.OCI_FOREIGN_LAYER_GZIP
            if below["mediaType"].endswith("gzip")
            else media.OCI_FOREIGN_LAYER,
            "urls": [f"http://{running.store_host}/vendor/{below['digest']}"],
        }
        running.put_blob("vendor", image.layers[0])
        for blob in (image.raw_config, image.layers[1]):
            running.put_blob("base", blob)
        running.put_manifest("base", "1", json.dumps(value).encode(), media.OCI_MANIFEST)
        yield running


@pytest.fixture
def shop(tmp_path: Path, connect: Callable[[], Registry]) -> Workshop:
    return Workshop(tmp_path / "store", tmp_path / "context", connect)


def test_a_build_on_one_names_it_and_does_not_fetch_it(shop: Workshop, fake: FakeRegistry, tmp_path: Path) -> None:
    text = f"FROM {fake.host}/base:1\nENV A=b"
    outputs = (Output("oci", tmp_path / "out.tar"), Output("registry"))
    built = shop.build(text, tags=[f"{fake.host}/app:1"], outputs=outputs)
    assert fake.asked("GET", origin="store") == []
    (_, raw), host = fake.manifests["app"]["1"], fake.store_host
    below = json.loads(raw)["layers"][0]
    assert below["urls"] == [f"http://{host}/vendor/{below['digest']}"]
    assert below["mediaType"] in media.FOREIGN_LAYERS
    assert below["digest"] not in fake.blobs["app"]
    assert built.digest == Digest.of(raw)


def test_its_files_are_fetched_from_the_vendor(shop: Workshop, fake: FakeRegistry) -> None:
    built = shop.build(f"FROM scratch\nCOPY --from={fake.host}/base:1 /vendor /own /")
    assert (built.text("vendor"), built.text("own")) == ("theirs", "ours")
    (asked,) = fake.asked("GET", origin="store")
    assert "authorization" not in asked.headers


def test_it_is_pushed_when_that_is_asked_for(shop: Workshop, fake: FakeRegistry) -> None:
    text = f"FROM {fake.host}/base:1\nENV A=b"
    shop.build(text, tags=[f"{fake.host}/app:1"], outputs=(Output("registry"),), push_foreign=True)
    assert len(fake.asked("GET", origin="store")) == 1
    assert json.loads(fake.manifests["app"]["1"][1])["layers"][0]["digest"] in fake.blobs["app"]

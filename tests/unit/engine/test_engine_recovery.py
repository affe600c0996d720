"""Stores that are damaged or out of date heal themselves from the registry."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.engine.request import Output
from builder.errors import ImageError
from builder.image import descriptor as media
from builder.image.platform import PlatformNotFoundError
from builder.registry.client import Registry
from tests.support.builds import NATIVE, Workshop
from tests.support.fake_registry import FakeRegistry
from tests.support.images import directory, file, layer, read_image, write_layout

LAYER = layer(directory("etc"), file("base", "1" * 5000))
OTHER = "s390x" if NATIVE.architecture != "s390x" else "amd64"


@pytest.fixture
def shop(tmp_path: Path, connect: Callable[[], Registry]) -> Workshop:
    return Workshop(tmp_path / "store", tmp_path / "context", connect)


def publish(fake: FakeRegistry, tmp: Path, *architectures: str) -> None:
    """Put an index into the fake registry whose images only differ in what they say they are for."""
    layout = tmp / "published"
    if not layout.exists():
        write_layout(layout, [LAYER])
    image = read_image(layout)
    for blob in (image.raw_config, *image.layers):
        fake.put_blob("base", blob)
    digest = fake.put_manifest("base", "x", image.raw_manifest, media.OCI_MANIFEST)
    entries = [
        {
            "mediaType": media.OCI_MANIFEST,
            "digest": digest,
            "size": len(image.raw_manifest),
            "platform": {"os": "linux", "architecture": one},
        }
        for one in architectures
    ]
    raw = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries}).encode()
    fake.put_manifest("base", "1", raw, media.OCI_INDEX)


def blobs(shop: Workshop) -> list[Path]:
    return [one for one in (shop.store / "blobs").rglob("*") if one.is_file()]


def test_a_platform_that_came_later_is_found(shop: Workshop, fake: FakeRegistry, tmp_path: Path) -> None:
    text = f"FROM {fake.host}/base:1\nLABEL a=b"
    publish(fake, tmp_path, OTHER)
    with pytest.raises(PlatformNotFoundError, match=OTHER):
        shop.build(text)
    with pytest.raises(ImageError):
        shop.build(text, pull="never")
    publish(fake, tmp_path, OTHER, NATIVE.architecture)
    assert shop.build(text).config.config.labels["a"] == "b"


def test_a_platform_that_is_not_in_the_stored_index_is_asked_for(
    shop: Workshop, fake: FakeRegistry, tmp_path: Path
) -> None:
    text = f"FROM {fake.host}/base:1\nLABEL a=b"
    publish(fake, tmp_path, NATIVE.architecture)
    shop.build(text)
    other = type(NATIVE)("linux", OTHER)
    with pytest.raises(PlatformNotFoundError):
        shop.build(text, platform=other)
    with pytest.raises(PlatformNotFoundError):
        shop.build(text, platform=other, pull="never")
    publish(fake, tmp_path, NATIVE.architecture, OTHER)
    assert shop.build(text, platform=other).config.config.labels["a"] == "b"


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
@pytest.mark.parametrize("other_tag", [False, True])
def test_damaged_blobs_are_fetched_again(
    shop: Workshop, fake: FakeRegistry, tmp_path: Path, damage: str, other_tag: bool
) -> None:
    publish(fake, tmp_path, NATIVE.architecture)
    (tmp_path / "context").mkdir()
    text = f"FROM {fake.host}/base:1\nCOPY --from={fake.host}/base:1 /base /copy"
    built = shop.build(text)
    expected = built.tree
    for path in blobs(shop):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.chmod(0o600)
        path.write_bytes({"truncated": bytes(data[:-5]), "flipped": bytes(data), "empty": b""}[damage])
    if other_tag:
        fake.manifests["base"]["2"] = fake.manifests["base"]["1"]
        text = text.replace("base:1", "base:2")
    options = {"no_cache": True, "outputs": (Output("oci", tmp_path / "out.tar"),)}
    assert shop.build(text, **options).tree == expected


def test_a_damaged_layer_made_here_is_made_again(shop: Workshop, tmp_path: Path) -> None:
    text, options = "FROM scratch\nCOPY a /a", {"outputs": (Output("oci", tmp_path / "out.tar"),)}
    expected = shop.build(text, {"a": "a" * 9999}).tree
    for path in blobs(shop):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    assert shop.build(text, **options).tree == expected


def test_an_archive_as_a_base_is_let_go_of(shop: Workshop, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    write_layout(layout, [LAYER])
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        shop.build("FROM base\nLABEL a=b", contexts={"base": f"oci-layout://{layout}"})
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    assert threading.active_count() < 50

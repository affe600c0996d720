"""Registries, stores and images for the tests of this package."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pytest

from builder.image import descriptor as media
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID, Digest
from builder.registry.client import Registry
from builder.registry.credentials import Credential
from builder.registry.retry import RetryPolicy
from tests.support.blobs import MemoryBlobs
from tests.support.credentials import StaticCredentials
from tests.support.fake_registry import FakeRegistry, serve
from tests.support.pushing import PushedImage


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with serve() as running:
        yield running


@pytest.fixture
def blobs() -> MemoryBlobs:
    return MemoryBlobs()


@pytest.fixture
def slept() -> list[float]:
    return []


Connect = Callable[..., Registry]


@pytest.fixture
def connect(fake: FakeRegistry, slept: list[float]) -> Iterator[Connect]:
    """Make clients that do not really wait; with an account for the fake registry if one is given."""
    made: list[Registry] = []

    def open_client(user: str = "", password: str = "", **fields: Any) -> Registry:
        account = Credential(username=user, password=password, source="the test") if user else None
        source = StaticCredentials(account, [fake.host]) if account else None
        made.append(Registry(source, retry=RetryPolicy(sleep=slept.append), **fields))
        return made[-1]

    yield open_client
    for one in made:
        one.close()


@dataclass(frozen=True)
class MemoryLayer:
    """A layer in memory that counts how often it was opened."""

    descriptor: Descriptor
    diff_id: DiffID
    data: bytes
    opened: list[int] = field(default_factory=list)

    def open(self) -> BinaryIO:
        self.opened.append(1)
        return io.BytesIO(self.data)


def make_layer(data: bytes, **fields: Any) -> MemoryLayer:
    values = {"media_type": media.OCI_LAYER_GZIP, "digest": Digest.of(data), "size": len(data), **fields}
    return MemoryLayer(Descriptor(**values), DiffID(Digest.of(b"plain " + data)), data)


def make_pushed(*layers: MemoryLayer, **fields: Any) -> PushedImage:
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [one.diff_id for one in layers]},
    }
    raw_config = json.dumps(config).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": {"mediaType": media.OCI_CONFIG, "digest": Digest.of(raw_config), "size": len(raw_config)},
        "layers": [one.descriptor.to_json() for one in layers],
    }
    return PushedImage(
        raw_manifest=json.dumps(manifest, indent=3).encode(),
        media_type=media.OCI_MANIFEST,
        raw_config=raw_config,
        layers=layers,
        **fields,
    )


def store_image(fake: FakeRegistry, repository: str, tag: str, image: PushedImage) -> Digest:
    """Put an image into the fake registry as somebody else's push would have."""
    for layer in image.layers:
        assert isinstance(layer, MemoryLayer)
        fake.put_blob(repository, layer.data)
    fake.put_blob(repository, image.raw_config)
    return Digest(fake.put_manifest(repository, tag, image.raw_manifest, image.media_type))


@pytest.fixture
def layer() -> Callable[..., MemoryLayer]:
    return make_layer


@pytest.fixture
def pushed() -> Callable[..., PushedImage]:
    return make_pushed


@pytest.fixture
def stored(fake: FakeRegistry) -> Callable[..., Digest]:
    return lambda repository, tag, image: store_image(fake, repository, tag, image)

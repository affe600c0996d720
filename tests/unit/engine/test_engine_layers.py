"""Layers that are elsewhere come several at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.cache.store import Store
from builder.engine.layers import StoreLayer, fetch_all, index_all, view_of
from builder.image import descriptor as media
from builder.image.artifact import ContentLayer
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID, Digest
from builder.image.reference import Reference
from builder.registry.client import Registry
from builder.registry.errors import RegistryError
from builder.registry.repository import RepositoryContent
from builder.registry.retry import RetryPolicy
from tests.support.fake_registry import FakeRegistry, Seen
from tests.support.images import file, layer

TARS = [layer(file(f"f{number}", str(number))) for number in range(3)]


@pytest.fixture
def stack(fake: FakeRegistry, store_root: Path) -> Iterator[list[StoreLayer]]:
    """Three layers that only the registry has."""
    with contextlib.ExitStack() as closing:
        store = closing.enter_context(Store.open(store_root))
        registry = closing.enter_context(Registry(retry=RetryPolicy(sleep=lambda _: None)))
        reference = Reference.parse(f"{fake.host}/base:1")
        found = []
        for tar in TARS:
            fake.put_blob("base", tar)
            descriptor = Descriptor(media_type=media.OCI_LAYER, digest=Digest.of(tar), size=len(tar))
            diff_id = DiffID(Digest.of(tar))
            source = ContentLayer(descriptor, diff_id, RepositoryContent(registry, reference, store.blobs))
            found.append(StoreLayer(store, diff_id, descriptor, source=source))
        yield found


def together(fake: FakeRegistry, count: int) -> None:
    """Let blobs come only when ``count`` of them have been asked for."""
    meeting = threading.Barrier(count, timeout=60)

    def plan(seen: Seen) -> None:
        if seen.method == "GET" and "/blobs/" in seen.path:
            meeting.wait()

    fake.plan = plan


def test_layers_are_fetched_at_the_same_time(fake: FakeRegistry, stack: list[StoreLayer]) -> None:
    together(fake, 3)
    fetch_all([*stack, *stack])
    assert all(one.here() for one in stack)
    assert not any(one.indexed() for one in stack)
    fetch_all(stack)
    assert len(fake.asked("GET", "/blobs/")) == 3


def test_layers_are_looked_through_at_the_same_time(fake: FakeRegistry, stack: list[StoreLayer]) -> None:
    together(fake, 3)
    view = view_of(stack)
    assert [one.entry.path for one in view.children("")] == ["f0", "f1", "f2"]
    assert all(one.indexed() for one in stack)
    index_all(stack)
    assert len(fake.asked("GET", "/blobs/")) == 3


@pytest.mark.parametrize("act", [fetch_all, index_all])
def test_one_that_cannot_be_had_ends_it(fake: FakeRegistry, stack: list[StoreLayer], act: Any) -> None:
    del fake.blobs["base"][stack[1].descriptor.digest]
    with pytest.raises(RegistryError, match="BLOB_UNKNOWN"):
        act(stack)

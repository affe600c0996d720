"""Layers in the form an output wants: variants found, made and kept; damage noticed; bases left alone."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import pytest
import zstandard

from builder.cache.store import Store
from builder.engine.layers import StoreLayer
from builder.engine.packing import pack_layer, stored_layer
from builder.engine.recompress import (
    coding_of,
    common_coding,
    method_of,
    recompressed,
    shaped,
)
from builder.engine.request import CompressionChoice
from builder.errors import CacheError
from builder.image import descriptor as media
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID, Digest, DigestMismatchError
from builder.rootfs.coding import USUAL, Coding, Compression
from builder.rootfs.compression import decompress
from builder.rootfs.entry import Entry, Kind, LayerFormatError
from builder.rootfs.pack import Item

DATA = b"some contents\n" * 100_000
ZSTD, PLAIN = Coding(Compression.ZSTD), Coding(Compression.NONE)
TYPES = {USUAL: media.OCI_LAYER_GZIP, ZSTD: media.OCI_LAYER_ZSTD, PLAIN: media.OCI_LAYER}


@dataclass
class Remote:
    """A layer that is elsewhere; remembers how often it was fetched."""

    data: bytes
    descriptor: Descriptor
    diff_id: DiffID
    fetched: int = 0

    def open(self) -> BinaryIO:
        self.fetched += 1
        return io.BytesIO(self.data)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


def packed(store: Store, coding: Coding = USUAL) -> StoreLayer:
    return pack_layer(store, [Item(Entry(path="f", kind=Kind.FILE, size=len(DATA)), DATA)], coding)


def tar_of(layer: StoreLayer) -> bytes:
    with layer.open() as stream:
        return decompress(stream).read()


def remote(store: Store, data: bytes, media_type: str, tar: bytes, **more: object) -> tuple[StoreLayer, Remote]:
    descriptor = Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data), **more)
    source = Remote(data, descriptor, DiffID(Digest.of(tar)))
    return StoreLayer(store, source.diff_id, descriptor, source=source), source


def test_every_form_of_a_layer_is_made_once(store: Store) -> None:
    layer = packed(store)
    assert recompressed(layer, USUAL, store) is layer
    assert shaped((layer,), 0, None, store)[0] is layer
    for coding in (ZSTD, PLAIN, Coding(Compression.GZIP, 9), Coding(Compression.ZSTD, 19)):
        made = recompressed(layer, coding, store)
        assert made.diff_id == layer.diff_id
        assert made.descriptor.media_type == TYPES[Coding(coding.compression)]
        assert tar_of(made) == tar_of(layer)
        assert store.blobs.verify(made.descriptor.digest)
        assert made.compressor == coding.fingerprint()
        before = made.path().stat()
        again = recompressed(layer, coding, store)
        assert (again.descriptor, again.path().stat()) == (made.descriptor, before)
    assert len({one.descriptor.digest for one in (recompressed(layer, c, store) for c in TYPES)}) == 3


def test_packing_and_recompressing_give_the_same_bytes(store: Store, tmp_path: Path) -> None:
    with Store.open(tmp_path / "other") as other:
        for coding in TYPES:
            assert packed(other, coding).descriptor == recompressed(packed(store), coding, store).descriptor


def test_a_stored_layer_is_had_in_the_form_that_is_wanted(store: Store) -> None:
    layer = packed(store, ZSTD)
    found = stored_layer(store, layer.diff_id)
    assert found is not None
    assert found.descriptor == layer.descriptor  # the only one
    gzipped = recompressed(layer, USUAL, store)
    for coding, expected in ((USUAL, gzipped), (ZSTD, layer)):
        found = stored_layer(store, layer.diff_id, coding)
        assert found is not None
        assert found.descriptor == expected.descriptor
    assert stored_layer(store, DiffID(Digest.of(b"unknown"))) is None


def test_a_damaged_form_is_dropped_and_another_taken(store: Store) -> None:
    layer = packed(store)
    zstd = recompressed(layer, ZSTD, store)
    layer.path().write_bytes(layer.path().read_bytes()[:-9] + b"123456789")
    made = recompressed(layer, PLAIN, store)
    assert Digest.of(tar_of(made)) == layer.diff_id
    assert not layer.here()
    assert zstd.here()


def test_a_layer_with_nothing_but_damage(store: Store) -> None:
    layer = packed(store)
    layer.path().write_bytes(layer.path().read_bytes()[:-9] + b"123456789")
    with pytest.raises(LayerFormatError) as caught:
        recompressed(layer, ZSTD, store)
    assert "build again" in str(caught.value.hint)
    assert not layer.here()
    with pytest.raises(CacheError, match="not in the store"):
        recompressed(layer, ZSTD, store)


def test_a_damaged_copy_of_a_base_is_fetched_again(store: Store) -> None:
    tar = tar_of(packed(store))
    layer, source = remote(store, gzip.compress(tar, 6, mtime=0), media.DOCKER_LAYER_GZIP, tar)
    layer.path().write_bytes(source.data[:-9] + b"123456789")
    # Ours is as good, so what is damaged is simply not used.
    made = recompressed(layer, ZSTD, store)
    assert tar_of(made) == tar
    assert made.descriptor.media_type == media.OCI_LAYER_ZSTD


def test_a_base_that_is_not_what_its_config_says(store: Store) -> None:
    data = gzip.compress(b"another tar")
    layer, _ = remote(store, data, media.OCI_LAYER_GZIP, b"the tar")
    with pytest.raises(DigestMismatchError, match="unpacks to"):
        recompressed(layer, ZSTD, store)
    assert list(store.variants.all(layer.diff_id)) == []


def test_annotations_about_compressed_bytes_are_not_inherited(store: Store) -> None:
    tar = b"tar" * 1000
    annotations = {"containerd.io/snapshot/stargz/toc.digest": "sha256:x", "mine": "kept"}
    layer, _ = remote(store, gzip.compress(tar), media.OCI_LAYER_GZIP, tar, annotations=annotations)
    assert recompressed(layer, ZSTD, store).descriptor.annotations == {"mine": "kept"}


CHOICES = {
    "nothing": (None, 0),
    "zstd": (CompressionChoice("zstd"), 0),
    "forced gzip, which it is": (CompressionChoice("gzip", force=True), 0),
    "forced zstd": (CompressionChoice("zstd", force=True), 1),
    "forced level": (CompressionChoice("gzip", 9, force=True), 1),
    "forced uncompressed": (CompressionChoice("uncompressed", force=True), 1),
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_base_is_fetched_only_if_that_is_forced(store: Store, name: str) -> None:
    choice, fetched = CHOICES[name]
    tar = b"the base" * 1000
    base, source = remote(store, gzip.compress(tar), media.DOCKER_LAYER_GZIP, tar)
    ours = packed(store)
    stack = shaped((base, ours), 1, choice, store)
    assert source.fetched == fetched
    assert [one.diff_id for one in stack] == [base.diff_id, ours.diff_id]
    assert (stack[0] is base) == (not fetched)
    assert stack[1].descriptor.media_type == TYPES[Coding(coding_of(choice).compression)]
    assert shaped((base, ours), 1, choice, store)[0].descriptor == stack[0].descriptor
    assert source.fetched == fetched


@pytest.mark.parametrize("media_type", [media.OCI_FOREIGN_LAYER_GZIP, media.DOCKER_FOREIGN_LAYER_GZIP])
def test_layers_that_may_not_be_distributed_stay(store: Store, media_type: str) -> None:
    base, source = remote(store, gzip.compress(b"x"), media_type, b"x", urls=("https://elsewhere.test/x",))
    assert shaped((base,), 1, CompressionChoice("zstd", force=True), store) == (base,)
    assert source.fetched == 0


def test_a_zstd_base_becomes_gzip(store: Store) -> None:
    tar = b"the base" * 1000
    base, _ = remote(store, zstandard.compress(tar), media.OCI_LAYER_ZSTD, tar)
    assert shaped((base,), 1, CompressionChoice("gzip"), store) == (base,)
    assert shaped((base,), 1, CompressionChoice("gzip", force=True), store)[0].compressor == USUAL.fingerprint()


def test_what_new_layers_are_packed_as() -> None:
    zstd = CompressionChoice("zstd", 3)
    assert common_coding([]) == USUAL
    assert common_coding([zstd, replace(zstd, force=True)]) == Coding(Compression.ZSTD, 3)
    assert common_coding([zstd, None]) == USUAL
    assert common_coding([CompressionChoice("uncompressed")]) == PLAIN


def test_media_types() -> None:
    assert method_of(media.DOCKER_LAYER_GZIP) is Compression.GZIP
    assert method_of("application/vnd.in-toto+json") is None

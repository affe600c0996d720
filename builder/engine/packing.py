"""From items to a layer of the store: packed in one pass, then published in an order that a kill cannot break."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cache.store import Store
from builder.engine.layers import StoreLayer
from builder.errors import OutputError, room_hint
from builder.image import descriptor as media
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID
from builder.rootfs.coding import USUAL, Coding, Compression
from builder.rootfs.settling import settling

if TYPE_CHECKING:
    from builder.engine.ahead import Ahead, Complete
    from builder.rootfs.pack import Item, Packed

LAYER_TYPES = {
    Compression.GZIP: media.OCI_LAYER_GZIP,
    Compression.ZSTD: media.OCI_LAYER_ZSTD,
    Compression.NONE: media.OCI_LAYER,
}
"""What layers are called in the store; images in Docker's format say it in its words."""


def pack_layer(
    store: Store, items: Iterable[Item], coding: Coding = USUAL, ahead: Ahead | None = None, step: str = ""
) -> StoreLayer:
    """Write a layer with ``items``, and send it ``ahead`` as that of ``step``.

    Raises ContextError for a file that changes meanwhile, OutputError.
    """
    from builder.rootfs.pack import pack

    blob, toc = store.temporary(".blob"), store.temporary(".toc")
    try:
        with following(ahead, blob, step) as complete:
            with open(blob, "xb") as file, settling(file) as blob_file, open(toc, "x+b") as toc_file:
                packed = pack(items, blob_file, toc_file, coding=coding)
            layer = publish(store, packed, blob, toc, coding)
            complete(layer.descriptor)
        return layer
    except OSError as error:
        raise OutputError(f"cannot write a layer to {store.root}: {error.strerror}", hint=room_hint(error)) from error
    finally:
        blob.unlink(missing_ok=True)
        toc.unlink(missing_ok=True)


def following(ahead: Ahead | None, blob: Path, step: str) -> AbstractContextManager[Complete]:
    """Return a block that writes ``blob``, which is sent meanwhile if layers are sent ahead, and tells when it has."""
    return nullcontext(lambda _: None) if ahead is None else ahead.following(blob, step)


def publish(store: Store, packed: Packed, blob: Path, toc: Path, coding: Coding) -> StoreLayer:
    """Move a packed layer's files into place; the selector comes last and is the caller's."""
    descriptor = Descriptor(media_type=LAYER_TYPES[coding.compression], digest=packed.digest, size=packed.size)
    store.blobs.adopt(blob, packed.digest)
    store.publish_toc(toc, packed.diff_id)
    store.variants.put(packed.diff_id, packed.compressor, descriptor)
    return StoreLayer(store, packed.diff_id, descriptor, compressor=packed.compressor)


def stored_layer(store: Store, diff_id: DiffID, coding: Coding = USUAL) -> StoreLayer | None:
    """Return a layer made here earlier, None when none of its forms is in the store any more.

    One that ``coding`` made is preferred.
    """
    found = None
    for layer in known_forms(store, diff_id):
        if coding.made(layer.compressor):
            return layer
        found = found or layer
    return found


def known_forms(store: Store, diff_id: DiffID) -> Iterator[StoreLayer]:
    """Yield the forms of a layer that are in the store, in a stable order."""
    for compressor, descriptor in store.variants.forms(diff_id):
        layer = StoreLayer(store, diff_id, descriptor, compressor=compressor)
        if layer.here():
            yield layer

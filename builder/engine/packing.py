"""From items to a layer of the store: packed in one pass, then published in an order that a kill cannot break."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from builder.cache.store import Store
from builder.engine.layers import StoreLayer
from builder.errors import OutputError
from builder.image import descriptor as media
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID
from builder.rootfs.pack import Item, Packed, pack


def pack_layer(store: Store, items: Iterable[Item]) -> StoreLayer:
    """Write a layer with ``items``. Raises ContextError for a file that changes meanwhile, OutputError."""
    blob, toc = store.temporary(".blob"), store.temporary(".toc")
    try:
        with open(blob, "xb") as blob_file, open(toc, "x+b") as toc_file:
            packed = pack(items, blob_file, toc_file)
        return publish(store, packed, blob, toc)
    except OSError as error:
        raise OutputError(f"cannot write a layer to {store.root}: {error.strerror}") from error
    finally:
        blob.unlink(missing_ok=True)
        toc.unlink(missing_ok=True)


def publish(store: Store, packed: Packed, blob: Path, toc: Path) -> StoreLayer:
    """Move a packed layer's files into place; the selector comes last and is the caller's."""
    descriptor = Descriptor(media_type=media.OCI_LAYER_GZIP, digest=packed.digest, size=packed.size)
    store.blobs.adopt(blob, packed.digest)
    store.publish_toc(toc, packed.diff_id)
    store.variants.put(packed.diff_id, packed.compressor, descriptor)
    return StoreLayer(store, packed.diff_id, descriptor)


def stored_layer(store: Store, diff_id: DiffID) -> StoreLayer | None:
    """Return a layer made here earlier, None when none of its forms is in the store any more."""
    for descriptor in store.variants.all(diff_id):
        layer = StoreLayer(store, diff_id, descriptor)
        if layer.available():
            return layer
    return None

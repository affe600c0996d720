"""What comes from shared caches into the store: layers and claimed tables of contents, each looked at as it arrives."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from builder.cache.exchange import Claim
from builder.cache.imported import Imported
from builder.cache.store import Store
from builder.engine.layers import SharedCacheError, index_blob
from builder.engine.packing import known_forms
from builder.engine.places import Place
from builder.errors import BuilderError, CacheError, ContextError, ImageError, OutputError
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID, Digest, DigestMismatchError, copy_verified
from builder.registry.errors import RegistryError
from builder.rootfs.retell import retell
from builder.rootfs.toc import Toc
from builder.values import dataclass

TOC_LIMIT = 512 << 20
"""Bytes of a claimed table of contents, inflated."""

TOC_BLOB_LIMIT = 128 << 20


@dataclass(frozen=True, slots=True)
class SharedLayer:
    """A layer of a source, whose bytes are brought here and looked through when it is opened."""

    store: Store
    source: str
    place: Place
    descriptor: Descriptor
    diff_id: DiffID

    def open(self) -> BinaryIO:
        """Open the compressed bytes. Raises SharedCacheError unless they are what was promised."""
        blobs, blob = self.store.blobs, self.descriptor
        try:
            if not blobs.contains(blob.digest, blob.size):
                self._must_fit()
                with self.place.content().open(blob) as stream:
                    if not blobs.contains(blob.digest, blob.size):
                        with blobs.writer() as writer:
                            copy_verified(stream, writer, blob.digest, blob.size, f"layer {blob.digest}")
                            writer.commit(blob.digest)
        except (RegistryError, ImageError, ContextError, FileNotFoundError) as error:
            message = error.message if isinstance(error, BuilderError) else "a layer is gone"
            raise SharedCacheError(self.source, message) from error
        self.confirm()
        return blobs.open(blob.digest)

    def _must_fit(self) -> None:
        try:
            self.store.must_have_room(self.descriptor.size, "a layer")
        except OutputError as error:
            # It may not be as large as they say: executing the step tells.
            raise SharedCacheError(self.source, error.message, lost=frozenset({self.descriptor.digest})) from error

    def confirm(self) -> None:
        """Look whether the bytes are the layer. Raises SharedCacheError."""
        digest = self.descriptor.digest
        if any(form.descriptor.digest == digest for form in known_forms(self.store, self.diff_id)):
            return
        try:
            index_blob(self.store, digest, self.diff_id, "the cache")
        except (ImageError, FileNotFoundError) as error:
            message = error.message if isinstance(error, BuilderError) else "a layer is gone"
            raise SharedCacheError(self.source, message, lies=isinstance(error, ImageError)) from error
        # Under a name that no compressor has: who made these bytes is only claimed.
        self.store.variants.put(self.diff_id, f"shared-{digest.hex[:16]}", self.descriptor)


def claimed_toc(store: Store, place: Place, imported: Imported, diff_id: DiffID, claim: Claim) -> Toc:
    """Return a claimed table of contents, told anew; it is kept under its source.

    Raises RegistryError where it cannot be had, ImageError for one that is not what it should be.
    """
    path = imported.toc_path(diff_id, claim.facts)
    try:
        return _opened(path, diff_id, claim.facts)
    except (CacheError, DigestMismatchError):
        path.unlink(missing_ok=True)
    if claim.blob.size > TOC_BLOB_LIMIT:
        raise ImageError(f"a table of contents of {claim.blob.size} bytes")
    raw, temporary = store.temporary(".toc"), store.temporary(".toc")
    try:
        with place.content().open(claim.blob) as stream, open(raw, "xb") as target:
            inflate(stream, target, claim.blob)
        with open(temporary, "xb") as target:
            retell(Toc.open(raw), target)
        _opened(temporary, diff_id, claim.facts)
        return _opened(imported.publish_toc(temporary, diff_id, claim.facts), diff_id, claim.facts)
    except CacheError as error:
        raise DigestMismatchError(f"its table of contents of {diff_id}: {error.message}") from error
    except OSError as error:
        raise ImageError(f"cannot keep a table of contents: {error.strerror}") from error
    finally:
        raw.unlink(missing_ok=True)
        temporary.unlink(missing_ok=True)


def inflate(source: BinaryIO, target: BinaryIO, blob: Descriptor) -> None:
    """Write what a compressed table of contents holds. Raises DigestMismatchError, ImageError beyond our limit."""
    import hashlib
    import zlib

    hasher, engine, left = hashlib.sha256(), zlib.decompressobj(), TOC_LIMIT
    try:
        while chunk := source.read(1 << 16):
            hasher.update(chunk)
            while chunk:
                data = engine.decompress(chunk, 1 << 20)
                chunk = engine.unconsumed_tail
                left -= len(data)
                if left < 0:
                    raise ImageError(f"a table of contents of more than {TOC_LIMIT} bytes")
                target.write(data)
    except zlib.error as error:
        raise ImageError("a table of contents that is not compressed as it says") from error
    if hasher.hexdigest() != blob.digest.hex or not engine.eof:
        raise DigestMismatchError(f"the table of contents {blob.digest} is damaged")


def _opened(path: Path, diff_id: DiffID, facts: Digest) -> Toc:
    toc = Toc.open(path)
    if toc.diff_id != diff_id or toc.facts() != facts:
        raise DigestMismatchError(f"its table of contents of {diff_id} is about something else")
    return toc

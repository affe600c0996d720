"""A repository as content: documents and blobs come into a blob store when somebody reads them, and stay there."""

from __future__ import annotations

import threading
from typing import BinaryIO

from builder.errors import BuilderError
from builder.events import Reporter, SilentReporter, Transfer
from builder.image import descriptor as media
from builder.image.artifact import Artifact
from builder.image.blobs import BlobStore
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest, DigestMismatchError
from builder.image.fields import JSON_LIMIT
from builder.image.manifest import ManifestError
from builder.image.reference import Reference
from builder.registry.client import Registry


class RepositoryContent:
    """What the repository of ``reference`` holds. Thread-safe; a blob is fetched once."""

    def __init__(
        self, registry: Registry, reference: Reference, blobs: BlobStore, reporter: Reporter | None = None
    ) -> None:
        self._registry = registry
        self._reference = reference
        self._blobs = blobs
        self._reporter = reporter or SilentReporter()
        self._lock = threading.Lock()
        self._fetching: dict[Digest, threading.Lock] = {}

    @property
    def where(self) -> str:
        """The reference as people write it."""
        return self._reference.familiar

    def document(self, descriptor: Descriptor) -> bytes:
        """Return a manifest, index or config, verified. Raises RegistryError, DigestMismatchError, ManifestError."""
        if descriptor.size > JSON_LIMIT:
            raise ManifestError(f"{self.where}: a document of {descriptor.size} bytes; the limit is {JSON_LIMIT}")
        stored = read_stored(self._blobs, descriptor.digest)
        if stored is not None:
            return stored
        if descriptor.media_type in media.DOCUMENTS or not descriptor.media_type:
            raw, _, _ = self._registry.manifest(self._reference, descriptor.digest)
            with self._blobs.writer() as writer:
                writer.write(raw)
                writer.commit(descriptor.digest)
            return raw
        self._fetch(descriptor)
        stored = read_stored(self._blobs, descriptor.digest)
        if stored is None:
            raise DigestMismatchError(f"{self.where}: {descriptor.digest} is not what it should be")
        return stored

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Open a blob, fetched first if the store lacks it."""
        self._fetch(descriptor)
        return self._blobs.open(descriptor.digest)

    def origin(self, descriptor: Descriptor) -> Reference | None:
        """Return the repository itself."""
        del descriptor
        return self._reference

    def _fetch(self, descriptor: Descriptor) -> None:
        with self._lock:
            lock = self._fetching.setdefault(descriptor.digest, threading.Lock())
        with lock:
            if not self._blobs.contains(descriptor.digest):
                self._pull(descriptor)

    def _pull(self, descriptor: Descriptor) -> None:
        told = 0

        def tell(current: int, total: int) -> None:
            nonlocal told
            told = current
            self._reporter.emit(Transfer("pull", descriptor.digest, current, total))

        try:
            self._registry.fetch_blob(self._reference, descriptor, self._blobs, tell)
        except BuilderError:
            if told:
                # A build goes on without a cache: nobody should wait for the rest of this.
                self._reporter.emit(Transfer("pull", descriptor.digest, told, descriptor.size, given_up=True))
            raise


def remote_artifact(
    registry: Registry, reference: Reference, blobs: BlobStore, reporter: Reporter | None = None
) -> Artifact:
    """Return what ``reference`` points to now: one HEAD, and a GET only for a document that the store lacks.

    Raises RegistryError, ManifestError, DigestMismatchError.
    """
    return Artifact.at(RepositoryContent(registry, reference, blobs, reporter), registry.resolve(reference))


def read_stored(blobs: BlobStore, digest: Digest) -> bytes | None:
    """Return a document of the store, None for one that is not there; a damaged one is dropped."""
    try:
        with blobs.open(digest) as stream:
            raw = stream.read(JSON_LIMIT + 1)
    except FileNotFoundError:
        return None
    if Digest.of(raw) == digest:
        return raw
    if len(raw) <= JSON_LIMIT:
        # Larger ones may be whole: a stranger's manifest says that a layer is a document.
        blobs.drop(digest)
    return None

"""An image in a registry: its manifest and config now, its layers when somebody reads them."""

from __future__ import annotations

import threading
from typing import BinaryIO

from builder.events import Reporter, SilentReporter, Transfer
from builder.image.artifact import IMAGE_CONFIGS, NESTING_LIMIT
from builder.image.blobs import BlobStore
from builder.image.config import ImageConfig
from builder.image.descriptor import INDEXES, Descriptor
from builder.image.digest import DiffID, Digest, DigestMismatchError
from builder.image.fields import JSON_LIMIT
from builder.image.manifest import Manifest, ManifestError, parse_manifest
from builder.image.platform import Platform
from builder.image.reference import Reference
from builder.registry.client import Registry
from builder.registry.repository import read_stored
from builder.values import dataclass, field


class RemoteLayer:
    """A layer whose bytes are in a registry until ``open`` is called; then they are in the store. Thread-safe."""

    def __init__(
        self,
        registry: Registry,
        reference: Reference,
        descriptor: Descriptor,
        diff_id: DiffID,
        blobs: BlobStore,
        reporter: Reporter | None = None,
    ) -> None:
        self.descriptor = descriptor
        self.diff_id = diff_id
        self.origin = reference
        self._registry = registry
        self._blobs = blobs
        self._reporter = reporter or SilentReporter()
        self._lock = threading.Lock()

    def open(self) -> BinaryIO:
        """Open the compressed bytes, fetching them if the store has them not. Raises RegistryError."""
        with self._lock:
            if not self._blobs.contains(self.descriptor.digest):
                self._registry.fetch_blob(self.origin, self.descriptor, self._blobs, self._report)
        return self._blobs.open(self.descriptor.digest)

    def _report(self, current: int, total: int) -> None:
        self._reporter.emit(Transfer("pull", self.descriptor.digest, current, total))


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteImage:
    """One image as a registry has it. ``index_digest`` is set when its tag points to an index of several.

    ``reference`` is what was asked for; mounts come from its repository.
    """

    reference: Reference
    raw_manifest: bytes = field(repr=False)
    media_type: str
    digest: Digest
    index_digest: Digest | None
    raw_config: bytes = field(repr=False)
    manifest: Manifest
    layers: tuple[RemoteLayer, ...]


def fetch_image(
    registry: Registry,
    reference: Reference,
    platform: Platform,
    blobs: BlobStore,
    reporter: Reporter | None = None,
    *,
    resolved: Descriptor | None = None,
) -> RemoteImage:
    """Fetch manifest and config of the image for ``platform``; manifest, index and config are kept in ``blobs``.

    ``resolved`` is what the reference is already known to point to; a HEAD finds it out otherwise, because registries
    count GETs. Raises RegistryError, ManifestError, PlatformNotFoundError, DigestMismatchError.
    """
    raw, media_type, digest = _document(registry, reference, blobs, resolved or registry.resolve(reference))
    parsed, index_digest = parse_manifest(raw, media_type), None
    depth = 0
    while not isinstance(parsed, Manifest):
        index_digest, chosen = index_digest or digest, parsed.select(platform)
        depth += 1
        raw, media_type, digest = _document(registry, reference, blobs, chosen)
        parsed = parse_manifest(raw, media_type)
        if not isinstance(parsed, Manifest) and (chosen.media_type not in INDEXES or depth == NESTING_LIMIT):
            raise ManifestError(f"{reference}: an index that leads to another index, not to an image")
    if parsed.config.media_type not in IMAGE_CONFIGS:
        raise ManifestError(f"{reference} is no image but an artifact of type {parsed.config.media_type}")
    raw_config = _config(registry, reference, parsed.config, blobs)
    diff_ids = ImageConfig.parse(raw_config).diff_ids
    if len(diff_ids) != len(parsed.layers):
        raise ManifestError(f"{reference}: {len(parsed.layers)} layers in the manifest, {len(diff_ids)} in the config")
    return RemoteImage(
        reference=reference,
        raw_manifest=raw,
        media_type=parsed.media_type,
        digest=digest,
        index_digest=index_digest,
        raw_config=raw_config,
        manifest=parsed,
        layers=tuple(
            RemoteLayer(registry, reference, layer, diff_id, blobs, reporter)
            for layer, diff_id in zip(parsed.layers, diff_ids, strict=True)
        ),
    )


def _document(
    registry: Registry, reference: Reference, blobs: BlobStore, known: Descriptor
) -> tuple[bytes, str, Digest]:
    if (stored := read_stored(blobs, known.digest)) is not None:
        return stored, known.media_type, known.digest
    raw, media_type, digest = registry.manifest(reference, known.digest)
    with blobs.writer() as writer:
        writer.write(raw)
        writer.commit(digest)
    return raw, media_type or known.media_type, digest


def _config(registry: Registry, reference: Reference, descriptor: Descriptor, blobs: BlobStore) -> bytes:
    if descriptor.size > JSON_LIMIT:
        raise ManifestError(f"{reference}: a config of {descriptor.size} bytes; the limit is {JSON_LIMIT}")
    raw = read_stored(blobs, descriptor.digest)
    if raw is None:
        registry.fetch_blob(reference, descriptor, blobs)
        raw = read_stored(blobs, descriptor.digest)
    if raw is None:
        raise DigestMismatchError(f"{reference}: the config {descriptor.digest} is not what it should be")
    return raw

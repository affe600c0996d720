"""Descriptors (OCI image-spec descriptor.md) and the media types of both image formats."""

from __future__ import annotations

from collections.abc import Mapping

from builder.image.digest import Digest
from builder.image.platform import Platform
from builder.values import dataclass, field

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
OCI_FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar"
OCI_FOREIGN_LAYER_GZIP = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
OCI_FOREIGN_LAYER_ZSTD = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"
"""Not in Docker's format, and never written by us; BuildKit and containerd write it."""
DOCKER_FOREIGN_LAYER_GZIP = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})
CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})
DOCUMENTS = MANIFESTS | INDEXES
FOREIGN_LAYERS = frozenset(
    {DOCKER_FOREIGN_LAYER_GZIP, OCI_FOREIGN_LAYER, OCI_FOREIGN_LAYER_GZIP, OCI_FOREIGN_LAYER_ZSTD}
)
"""Not for redistribution: they come from their URLs."""
ZSTD_LAYERS = frozenset({OCI_LAYER_ZSTD, DOCKER_LAYER_ZSTD})
"""Layers for which Docker's format has no word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A typed pointer to a blob of ``size`` bytes. ``extra`` holds fields we do not know, unchanged."""

    media_type: str
    digest: Digest
    size: int
    urls: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    platform: Platform | None = None
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)

    @property
    def is_elsewhere(self) -> bool:
        """Say whether this is a layer that is not for redistribution, and has a place of its own."""
        return bool(self.urls) and self.media_type in FOREIGN_LAYERS

    @property
    def bare(self) -> Descriptor:
        """What it points to, and nothing about it: no URLs to fetch from, no annotations."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=self.size)

    def to_json(self) -> dict[str, object]:
        """Return the JSON object, optional fields only where they say something."""
        value: dict[str, object] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.urls:
            value["urls"] = list(self.urls)
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        if self.platform is not None:
            value["platform"] = self.platform.to_json()
        return {**value, **self.extra}

"""From a config and layers to a manifest, all of one format; and histories that fit their layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from builder.errors import ImageError
from builder.image import descriptor as media
from builder.image.config import History, ImageConfig
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest
from builder.image.manifest import Manifest
from builder.values import replace

Format = Literal["docker", "oci"]

_TO_DOCKER = {
    media.OCI_LAYER: media.DOCKER_LAYER,
    media.OCI_LAYER_GZIP: media.DOCKER_LAYER_GZIP,
    media.OCI_FOREIGN_LAYER_GZIP: media.DOCKER_FOREIGN_LAYER_GZIP,
}
_TO_OCI = {docker: oci for oci, docker in _TO_DOCKER.items()} | {media.DOCKER_LAYER_ZSTD: media.OCI_LAYER_ZSTD}


def layer_media_type(media_type: str, image_format: Format) -> str:
    """Return a layer's media type in ``image_format``. Raises ImageError where the format has no word for it."""
    if image_format == "oci":
        return _TO_OCI.get(media_type, media_type)
    if media_type in media.ZSTD_LAYERS:
        raise ImageError("a zstd layer has no media type in Docker's format", hint="write the image with --format oci")
    return _TO_DOCKER.get(media_type, media_type)


def repaired_history(history: Sequence[History], layers: int) -> tuple[History, ...]:
    """Return ``history`` with exactly ``layers`` entries that claim a layer.

    Bases in the wild have too few or too many; scanners and Docker refuse an image where they disagree.
    """
    claimed = sum(not one.empty_layer for one in history)
    if claimed == layers:
        return tuple(history)
    if claimed < layers:
        return (*history, *(History(comment="layer without history") for _ in range(layers - claimed)))
    kept: list[History] = []
    for one in history:
        if not one.empty_layer and layers == 0:
            one = replace(one, empty_layer=True)
        elif not one.empty_layer:
            layers -= 1
        kept.append(one)
    return tuple(kept)


def make_manifest(
    config: ImageConfig, layers: Sequence[Descriptor], image_format: Format, annotations: Mapping[str, str]
) -> tuple[bytes, bytes]:
    """Return the raw manifest and raw config of an image; layers keep their order, bottom first."""
    raw_config = config.to_bytes()
    manifest = Manifest(
        media_type=media.DOCKER_MANIFEST if image_format == "docker" else media.OCI_MANIFEST,
        config=Descriptor(
            media_type=media.DOCKER_CONFIG if image_format == "docker" else media.OCI_CONFIG,
            digest=Digest.of(raw_config),
            size=len(raw_config),
        ),
        layers=tuple(
            replace(one, media_type=layer_media_type(one.media_type, image_format), platform=None) for one in layers
        ),
        annotations=annotations,
    )
    return manifest.to_bytes(), raw_config

"""Does an image agree with itself? Structure, digests, sizes, history and media types, without reading layers."""

from __future__ import annotations

import re

from builder.errors import ImageError
from builder.image import descriptor as media
from builder.image.config import ImageConfig
from builder.image.digest import Digest
from builder.image.manifest import Manifest, parse_manifest
from builder.image.platform import Platform
from builder.patterns import pattern

_RFC3339 = pattern(r"\d{4,5}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)


class InvalidImageError(ImageError):
    """An image whose parts contradict each other; ``problems`` has one line each."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("the image is not valid: " + "; ".join(problems))
        self.problems = problems


def validate(raw_manifest: bytes, raw_config: bytes) -> None:
    """Raise InvalidImageError for an image that a strict consumer would refuse."""
    manifest = parse_manifest(raw_manifest)
    if not isinstance(manifest, Manifest):
        raise InvalidImageError(("the manifest is an index",))
    config = ImageConfig.parse(raw_config)
    problems = [*_config_blob(manifest, raw_config), *_media_types(manifest), *_agreement(manifest, config)]
    if problems:
        raise InvalidImageError(tuple(problems))


def _config_blob(manifest: Manifest, raw_config: bytes) -> list[str]:
    problems = []
    if manifest.config.digest != Digest.of(raw_config):
        problems.append(f"the config's digest is {Digest.of(raw_config)}, the manifest says {manifest.config.digest}")
    if manifest.config.size != len(raw_config):
        problems.append(f"the config is {len(raw_config)} bytes long, the manifest says {manifest.config.size}")
    return problems


def _media_types(manifest: Manifest) -> list[str]:
    prefix = "application/vnd.docker." if manifest.media_type == media.DOCKER_MANIFEST else "application/vnd.oci."
    types = [manifest.config.media_type, *(one.media_type for one in manifest.layers)]
    return [f"{one!r} does not belong into a {manifest.media_type}" for one in types if not one.startswith(prefix)]


def _agreement(manifest: Manifest, config: ImageConfig) -> list[str]:
    problems = []
    layers, diff_ids = len(manifest.layers), len(config.diff_ids)
    claimed = sum(not one.empty_layer for one in config.history)
    if layers != diff_ids:
        problems.append(f"{layers} layers but {diff_ids} diff_ids")
    if config.history and claimed != diff_ids:
        problems.append(f"{diff_ids} diff_ids but {claimed} history entries with a layer")
    if not config.platform.os or not config.platform.architecture or config.platform == Platform("", ""):
        problems.append("no os or architecture")
    stamps = [config.created, *(one.created for one in config.history)]
    problems += [f"{one!r} is not an RFC 3339 time" for one in stamps if one and not _RFC3339.fullmatch(one)]
    return problems

"""Images that are already built: found in the store, or read from files; pushed, saved and validated."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cache.store import Store
from builder.engine.bases import Bases, StoredImage, built_here
from builder.engine.built import BuiltImage
from builder.errors import ImageError
from builder.image.blobs import Layer
from builder.image.config import ImageConfig
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest, DigestMismatchError
from builder.image.manifest import Manifest, parse_manifest
from builder.image.platform import Platform
from builder.image.reference import Reference
from builder.image.validate import validate
from builder.rootfs.compression import decompress
from builder.streams import CHUNK

if TYPE_CHECKING:
    from builder.image.artifact import Image


def built_image(text: str, store: Store, bases: Bases) -> tuple[Reference | None, BuiltImage]:
    """Return the image built here that ``text`` means, and its name: ``NAME``, ``NAME@sha256:...``, ``sha256:...``.

    A name with a digest is what a build prints. Raises ImageError when there is no such image.
    """
    digest = Digest.parse(text) if text.startswith("sha256:") else None
    reference = None if digest else Reference.parse(text)
    record = None if reference is None else built_here(store, reference)
    if record is not None:
        return reference, _complete(bases.load_built(record))
    digest = digest or (reference.digest if reference else None)
    raw = store.blobs.read(digest) if digest else None
    if digest is None or raw is None:
        name = text if reference is None else reference.familiar.partition("@")[0]
        raise ImageError(
            f"no image called {text} was built here", hint=None if reference is None else f"pybuild -t {name} CONTEXT"
        )
    media_type = parse_manifest(raw).media_type
    return reference, _complete(bases.load(Descriptor(media_type=media_type, digest=digest, size=len(raw)), None))


def _complete(found: StoredImage) -> BuiltImage:
    return BuiltImage(found.raw_manifest, found.raw_config, found.layers)


def file_image(path: Path, platform: Platform, scratch: Path) -> Image:
    """Return the image in an OCI layout or docker archive. Raises ContextError, ImageError."""
    from builder.archive.docker_archive import read_archive
    from builder.archive.files import open_files
    from builder.archive.oci_layout import read_layout

    files = open_files(path, scratch)
    try:
        return read_archive(files) if files.size("oci-layout") is None else read_layout(files).image(platform)
    except BaseException:
        files.close()
        raise


def validate_whole(raw_manifest: bytes, raw_config: bytes, layers: Sequence[Layer]) -> None:
    """Check structure and agreement, and read every layer: digest, size and DiffID.

    Raises InvalidImageError, DigestMismatchError, LayerFormatError.
    """
    validate(raw_manifest, raw_config)
    manifest = parse_manifest(raw_manifest)
    if not isinstance(manifest, Manifest):
        raise ImageError("the manifest is an index")
    for descriptor, diff_id, layer in zip(manifest.layers, ImageConfig.parse(raw_config).diff_ids, layers, strict=True):
        compressed = hashlib.sha256()
        size = 0
        with layer.open() as stream:
            while chunk := stream.read(CHUNK):
                compressed.update(chunk)
                size += len(chunk)
        if (size, compressed.hexdigest()) != (descriptor.size, descriptor.digest.hex):
            raise DigestMismatchError(
                f"layer {descriptor.digest} ({descriptor.size} bytes) holds sha256:{compressed.hexdigest()} "
                f"({size} bytes)"
            )
        plain = hashlib.sha256()
        with layer.open() as stream:
            tar = decompress(stream)
            while chunk := tar.read(CHUNK):
                plain.update(chunk)
        if plain.hexdigest() != diff_id.hex:
            raise DigestMismatchError(
                f"layer {descriptor.digest} unpacks to sha256:{plain.hexdigest()}, the config says {diff_id}"
            )

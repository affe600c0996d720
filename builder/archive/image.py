"""An image that is read from a file, what the writers ask of one, and how a file and a name in it are spelled."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from builder.archive.files import Files, read_file
from builder.errors import ContextError
from builder.image.blobs import Layer
from builder.image.config import ImageConfig
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID, Digest, DigestMismatchError
from builder.image.fields import JSON_LIMIT
from builder.image.manifest import Manifest, ManifestError


class SavedImage(Protocol):
    """What the writers need: the exact bytes of manifest and config, and the layers, bottom first."""

    @property
    def raw_manifest(self) -> bytes:
        """The manifest as it was made or pulled."""
        ...

    @property
    def raw_config(self) -> bytes:
        """The config as it was made or pulled."""
        ...

    @property
    def layers(self) -> Sequence[Layer]:
        """The layers, in the manifest's order."""
        ...


@dataclass(frozen=True, slots=True)
class ArchiveLayer:
    """A layer inside a layout or archive. Its bytes are not verified before somebody copies them."""

    descriptor: Descriptor
    diff_id: DiffID
    files: Files = field(repr=False, compare=False)
    name: str

    def open(self) -> BinaryIO:
        """Open the bytes as stored, seekable. Raises ImageError, DigestMismatchError for another size."""
        size = self.files.size(self.name)
        if size is not None and size != self.descriptor.size:
            raise DigestMismatchError(
                f"{self.files.where}: {self.name} has {size} bytes, its descriptor says {self.descriptor.size}"
            )
        return self.files.open(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveImage:
    """One image of a layout or archive; holds the file open until ``close``."""

    raw_manifest: bytes = field(repr=False)
    media_type: str
    digest: Digest
    raw_config: bytes = field(repr=False)
    manifest: Manifest
    layers: tuple[ArchiveLayer, ...]
    files: Files = field(repr=False, compare=False)

    def close(self) -> None:
        """Let go of the file; its layers can no longer be opened."""
        self.files.close()


def blob_name(digest: Digest) -> str:
    """Return where a layout keeps a blob."""
    return f"blobs/sha256/{digest.hex}"


def read_blob(files: Files, digest: Digest) -> bytes:
    """Return a manifest, index or config, verified. Raises ImageError, DigestMismatchError."""
    raw = read_file(files, blob_name(digest), JSON_LIMIT)
    if Digest.of(raw) != digest:
        raise DigestMismatchError(f"{files.where}: the blob {digest} has digest {Digest.of(raw)}")
    return raw


def make_image(
    files: Files, raw_manifest: bytes, manifest: Manifest, raw_config: bytes, names: Sequence[str]
) -> ArchiveImage:
    """Put an image together; ``names`` are the layers' files. Raises ManifestError when the parts do not agree."""
    diff_ids = ImageConfig.parse(raw_config).diff_ids
    if not len(diff_ids) == len(manifest.layers) == len(names):
        raise ManifestError(
            f"{files.where}: {len(manifest.layers)} layers in the manifest, {len(diff_ids)} in the config"
        )
    return ArchiveImage(
        raw_manifest=raw_manifest,
        media_type=manifest.media_type,
        digest=Digest.of(raw_manifest),
        raw_config=raw_config,
        manifest=manifest,
        layers=tuple(
            ArchiveLayer(descriptor, diff_id, files, name)
            for descriptor, diff_id, name in zip(manifest.layers, diff_ids, names, strict=True)
        ),
        files=files,
    )


def split_location(text: str) -> tuple[Path, str]:
    """Split ``PATH[:NAME]`` or ``PATH[@DIGEST]`` where the longest existing path ends; the separator is dropped
    for a name and kept for a digest. Raises ContextError when no such path exists.
    """
    cuts = [len(text), *(found.start() for found in reversed(list(re.finditer("[:@]", text))))]
    for cut in cuts:
        if cut and os.path.exists(text[:cut]):
            rest = text[cut:]
            return Path(text[:cut]), rest if rest.startswith("@") else rest[1:]
    raise ContextError(f"there is no image file or layout at {text}")

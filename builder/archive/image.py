"""An artifact that is read from a file, what the writers are given, and how a file and a name in it are spelled."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from builder.archive.files import Files, read_file
from builder.errors import ContextError
from builder.image.artifact import Artifact
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest, DigestMismatchError
from builder.image.fields import JSON_LIMIT
from builder.image.reference import Reference
from builder.values import dataclass


class FilesContent:
    """What a layout or archive holds; keeps the file open until ``close``.

    ``made`` has documents that are not in the file, ``names`` the files of blobs that are not where layouts have them.
    """

    def __init__(
        self, files: Files, made: Mapping[Digest, bytes] | None = None, names: Mapping[Digest, str] | None = None
    ) -> None:
        self._files = files
        self._made = made or {}
        self._names = names or {}

    @property
    def where(self) -> str:
        """The path."""
        return self._files.where

    def document(self, descriptor: Descriptor) -> bytes:
        """Return a manifest, index or config, verified. Raises ImageError, DigestMismatchError."""
        return self._made.get(descriptor.digest) or read_blob(self._files, descriptor.digest)

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Open a blob as stored, seekable. Raises ImageError, DigestMismatchError for another size."""
        if descriptor.digest in self._made:
            return io.BytesIO(self._made[descriptor.digest])
        name = self._names.get(descriptor.digest) or blob_name(descriptor.digest)
        size = self._files.size(name)
        if size is not None and size != descriptor.size:
            raise DigestMismatchError(f"{self.where}: {name} has {size} bytes, its descriptor says {descriptor.size}")
        return self._files.open(name)

    def origin(self, descriptor: Descriptor) -> Reference | None:
        """Return None: a file is no repository."""
        del descriptor
        return None

    def close(self) -> None:
        """Let go of the file; its blobs can no longer be opened."""
        self._files.close()


@dataclass(frozen=True, slots=True)
class Entry:
    """What the writers write: an artifact, and the names it gets; a text is a bare tag, which only OCI layouts have."""

    artifact: Artifact
    names: tuple[Reference | str, ...] = ()


def blob_name(digest: Digest) -> str:
    """Return where a layout keeps a blob."""
    return f"blobs/sha256/{digest.hex}"


def read_blob(files: Files, digest: Digest) -> bytes:
    """Return a manifest, index or config, verified. Raises ImageError, DigestMismatchError."""
    raw = read_file(files, blob_name(digest), JSON_LIMIT)
    if Digest.of(raw) != digest:
        raise DigestMismatchError(f"{files.where}: the blob {digest} has digest {Digest.of(raw)}")
    return raw


def split_location(text: str) -> tuple[Path, str]:
    """Split ``PATH[:NAME]`` or ``PATH[@DIGEST]`` where the longest existing path ends; the separator is dropped
    for a name and kept for a digest. Raises ContextError when no such path exists.
    """
    cuts = [len(text), *(at for at in range(len(text) - 1, -1, -1) if text[at] in ":@")]
    for cut in cuts:
        if cut and os.path.exists(text[:cut]):
            rest = text[cut:]
            return Path(text[:cut]), rest if rest.startswith("@") else rest[1:]
    raise ContextError(f"there is no image file or layout at {text}")

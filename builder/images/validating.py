"""Is an artifact whole? Every document agrees with what leads to it, every blob has its digest, size and DiffID.

All of it is read, each blob once, from wherever it is; all problems are told, not only the first. Layers that are not
for redistribution are read only where they are at hand. What one document means is ``builder.image.validate``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from builder.errors import BuilderError, ImageError
from builder.image.artifact import IMAGE_CONFIGS, Artifact, Content, Document, Image
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest
from builder.image.manifest import Index, is_attestation
from builder.image.platform import Platform
from builder.image.validate import InvalidImageError, validate
from builder.registry.errors import RegistryError
from builder.rootfs.compression import decompress
from builder.rootfs.entry import LayerFormatError
from builder.rootfs.tarreader import read_members
from builder.streams import CHUNK, Readable
from builder.values import dataclass, field


@dataclass(frozen=True, slots=True)
class Checked:
    """A document that was looked at: an image with its platform, an index, or something else, and what is wrong."""

    kind: str
    digest: Digest
    platform: str
    problems: tuple[str, ...]


@dataclass(slots=True)
class _Checker:
    """Remembers the blobs that were read, which platforms often share."""

    content: Content
    blobs: dict[Digest, tuple[str, ...]] = field(default_factory=dict)
    layers: dict[tuple[Digest, str], tuple[str, ...]] = field(default_factory=dict)

    def blob(self, descriptor: Descriptor) -> tuple[str, ...]:
        """Read a blob that is no layer of an image."""
        if descriptor.digest not in self.blobs:
            self.blobs[descriptor.digest] = tuple(self._read(descriptor, None))
        return self.blobs[descriptor.digest]

    def layer(self, descriptor: Descriptor, diff_id: str) -> tuple[str, ...]:
        """Read a layer of an image."""
        key = (descriptor.digest, diff_id)
        if key not in self.layers:
            self.layers[key] = tuple(self._read(descriptor, diff_id))
        return self.layers[key]

    def _read(self, descriptor: Descriptor, diff_id: str | None) -> Iterator[str]:
        name = f"{'blob' if diff_id is None else 'layer'} {descriptor.digest}"
        try:
            with self.content.open(descriptor) as stream:
                counted = _Counted(stream)
                plain = _unpacked(counted) if diff_id is not None else ""
                counted.drain()
        except RegistryError:
            raise
        except LayerFormatError as error:
            yield f"{name}: {error.message}"
            return
        except (ImageError, FileNotFoundError) as error:
            # An archive without a layer that is not for redistribution is whole.
            if not descriptor.is_elsewhere:
                yield f"{name}: {error.message if isinstance(error, BuilderError) else 'it is not there'}"
            return
        if (counted.size, counted.hexdigest()) != (descriptor.size, descriptor.digest.hex):
            yield f"{name} ({descriptor.size} bytes) has digest sha256:{counted.hexdigest()} ({counted.size} bytes)"
        elif diff_id is not None and f"sha256:{plain}" != diff_id:
            yield f"{name} unpacks to sha256:{plain}, the config says {diff_id}"


class _Counted:
    """A stream that knows the digest and the number of the bytes that were read."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1, /) -> bytes:
        """Read on."""
        data = self._stream.read(size)
        self._hash.update(data)
        self.size += len(data)
        return data

    def drain(self) -> None:
        """Read to the end."""
        while self.read(CHUNK):
            pass

    def hexdigest(self) -> str:
        """Return the SHA-256 of what was read."""
        return self._hash.hexdigest()


def _unpacked(stream: Readable) -> str:
    """Read a layer's tar, entry by entry, and return its SHA-256. Raises LayerFormatError."""
    tar = _Counted(decompress(stream))
    for _ in read_members(tar):
        pass
    tar.drain()
    return tar.hexdigest()


def check(artifact: Artifact, platform: Platform | None = None) -> Iterator[Checked]:
    """Look at every document of ``artifact``, or at the image for one platform, and at all they lead to.

    Raises ImageError where a document cannot be read at all, RegistryError.
    """
    checker = _Checker(artifact.content)
    if platform is not None:
        artifact = artifact.image(platform).artifact
    for document in artifact.documents():
        if isinstance(document.parsed, Index):
            yield _index(checker, document)
        elif document.parsed.config.media_type in IMAGE_CONFIGS and not is_attestation(document.descriptor):
            yield _image(checker, document)
        else:
            yield _artifact(checker, document)


def _size(document: Document) -> list[str]:
    said = document.descriptor.size
    return [] if said == len(document.raw) else [f"the manifest is {len(document.raw)} bytes long, not {said}"]


def _index(checker: _Checker, document: Document) -> Checked:
    problems = [*_size(document), *(one for blob in document.blobs for one in checker.blob(blob))]
    return Checked("index", document.descriptor.digest, "", tuple(problems))


def _artifact(checker: _Checker, document: Document) -> Checked:
    problems = [*_size(document), *(one for blob in document.blobs for one in checker.blob(blob))]
    kind = "attestation" if is_attestation(document.descriptor) else "artifact"
    return Checked(kind, document.descriptor.digest, "", tuple(problems))


def _image(checker: _Checker, document: Document) -> Checked:
    problems = _size(document)
    platform = str(document.descriptor.platform or "")
    try:
        image = Image.of(checker.content, document.descriptor, document.raw)
        platform = str(image.config.platform)
        problems += _platform(document.descriptor.platform, image.config.platform)
        validate(image.raw_manifest, image.raw_config)
    except RegistryError:
        raise
    except InvalidImageError as error:
        problems += error.problems
    except ImageError as error:
        return Checked("image", document.descriptor.digest, platform, (*problems, error.message))
    for layer in image.layers:
        problems += checker.layer(layer.descriptor, layer.diff_id)
    return Checked("image", document.descriptor.digest, platform, tuple(problems))


def _platform(said: Platform | None, meant: Platform) -> list[str]:
    """Compare what an index and the config say; variants are often left out, by either."""
    if said is None or (said.os, said.architecture) == (meant.os, meant.architecture):
        return []
    return [f"the index says it is for {said}, its config {meant}"]

"""Whatever has a manifest, wherever it is: images, indexes of images and other OCI artifacts, as documents and blobs.

An :class:`Artifact` is a root document and the :class:`Content` that the digests in it lead to. The raw bytes of every
document are kept: what is copied has the digest it had.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Protocol

from builder.errors import ImageError
from builder.image import descriptor as media
from builder.image.blobs import Layer
from builder.image.config import ImageConfig
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID, Digest, DigestMismatchError
from builder.image.manifest import Index, Manifest, ManifestError, is_attestation, parse_manifest
from builder.image.platform import Platform, PlatformNotFoundError
from builder.image.reference import Reference
from builder.values import dataclass, field

NESTING_LIMIT = 4
"""Indexes within indexes."""

DOCUMENT_LIMIT = 10_000
"""Documents of one artifact."""

IMAGE_CONFIGS = media.CONFIGS | {"", "application/octet-stream"}


class Content(Protocol):
    """The documents and blobs of one place: a repository, a layout, an archive, a store. Thread-safe."""

    @property
    def where(self) -> str:
        """The place, for messages."""
        ...

    def document(self, descriptor: Descriptor) -> bytes:
        """Return a manifest, index or config of at most JSON_LIMIT bytes, verified.

        Raises ImageError, DigestMismatchError, and what reaching the place raises.
        """
        ...

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Open a blob's bytes as stored, seekable, not verified yet. Raises as ``document`` does."""
        ...

    def origin(self, descriptor: Descriptor) -> Reference | None:
        """Return a reference into a repository that is known to hold the blob."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Content put together from what is at hand; all else is in ``rest``."""

    where: str
    documents: Mapping[Digest, bytes] = field(default_factory=dict, repr=False, hash=False)
    layers: Mapping[Digest, Layer] = field(default_factory=dict, repr=False, hash=False)
    origins: Mapping[Digest, Reference] = field(default_factory=dict, hash=False)
    rest: Content | None = None

    def document(self, descriptor: Descriptor) -> bytes:
        """Return a document."""
        raw = self.documents.get(descriptor.digest)
        if raw is not None:
            return raw
        return self._rest(descriptor).document(descriptor)

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Open a blob."""
        layer = self.layers.get(descriptor.digest)
        if layer is not None:
            return layer.open()
        raw = self.documents.get(descriptor.digest)
        if raw is not None:
            return io.BytesIO(raw)
        return self._rest(descriptor).open(descriptor)

    def origin(self, descriptor: Descriptor) -> Reference | None:
        """Return where a blob is known to be."""
        known = self.origins.get(descriptor.digest)
        return known if known is not None or self.rest is None else self.rest.origin(descriptor)

    def _rest(self, descriptor: Descriptor) -> Content:
        if self.rest is None:
            raise ImageError(f"{self.where} has no {descriptor.digest}")
        return self.rest


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or index as it is stored, and what it says."""

    descriptor: Descriptor
    raw: bytes = field(repr=False)
    parsed: Manifest | Index

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """What it names that is no document: a manifest's config and layers."""
        if isinstance(self.parsed, Manifest):
            return (self.parsed.config, *self.parsed.layers)
        return tuple(one for one in self.parsed.manifests if one.media_type not in media.DOCUMENTS)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A root document and the content it leads to."""

    root: Descriptor
    raw: bytes = field(repr=False)
    content: Content = field(repr=False)

    @classmethod
    def at(cls, content: Content, descriptor: Descriptor) -> Artifact:
        """Read the artifact that ``descriptor`` leads to; its media type may be empty, the document says it then."""
        return cls.of(content, content.document(descriptor), descriptor)

    @classmethod
    def of(cls, content: Content, raw: bytes, descriptor: Descriptor | None = None) -> Artifact:
        """Make an artifact of its root document."""
        kind = parse_manifest(raw, "" if descriptor is None else descriptor.media_type).media_type
        platform = None if descriptor is None else descriptor.platform
        return cls(Descriptor(media_type=kind, digest=Digest.of(raw), size=len(raw), platform=platform), raw, content)

    @property
    def digest(self) -> Digest:
        """The root document's digest."""
        return self.root.digest

    def parsed(self) -> Manifest | Index:
        """Return what the root document says."""
        return parse_manifest(self.raw, self.root.media_type)

    def platform(self) -> Platform | None:
        """Return what an image's config says; None for an index, and for what is no image."""
        manifest = self.parsed()
        if not isinstance(manifest, Manifest) or manifest.config.media_type not in media.CONFIGS:
            return None
        return ImageConfig.parse(self.content.document(manifest.config)).platform

    def documents(self) -> tuple[Document, ...]:
        """Return every manifest and index, each once, children before parents and the root last.

        Raises ManifestError for what is nested too deeply or names too much.
        """
        found: dict[Digest, Document] = {}
        _collect(self.content, Document(self.root, self.raw, self.parsed()), found, NESTING_LIMIT)
        return tuple(found.values())

    def image(self, platform: Platform | None = None) -> Image:
        """Return the one image, or an index's image for ``platform``.

        Raises PlatformNotFoundError, ManifestError for an index without a platform and for what is no image.
        """
        descriptor, raw = self.root, self.raw
        for _ in range(NESTING_LIMIT):
            parsed = parse_manifest(raw, descriptor.media_type)
            if isinstance(parsed, Manifest):
                return Image.of(self.content, descriptor, raw)
            nested = [one for one in parsed.manifests if one.media_type in media.INDEXES]
            if len(parsed.manifests) == len(nested) == 1:
                descriptor = nested[0]
            elif platform is None:
                images = [one for one in parsed.manifests if not is_attestation(one)]
                if len(images) != 1:
                    raise ManifestError(
                        f"{self.content.where} has images for several platforms", hint="choose one with --platform"
                    )
                descriptor = images[0]
            else:
                try:
                    descriptor = parsed.select(platform)
                except PlatformNotFoundError as error:
                    error.message = f"{self.content.where}: {error.message}"
                    raise
            raw = self.content.document(descriptor)
        raise ManifestError(f"{self.content.where}: indexes are nested more than {NESTING_LIMIT} deep")

    def images(self) -> Iterator[Image]:
        """Yield every image, in the order of the index; attestations and other artifacts are passed over."""
        yield from _images(self.content, self.root, self.raw, NESTING_LIMIT)


def _collect(content: Content, document: Document, found: dict[Digest, Document], depth: int) -> None:
    if document.descriptor.digest in found:
        return
    if isinstance(document.parsed, Index):
        if not depth:
            raise ManifestError(f"{content.where}: indexes are nested more than {NESTING_LIMIT} deep")
        for child in document.parsed.manifests:
            if child.media_type not in media.DOCUMENTS or child.digest in found:
                continue
            raw = content.document(child)
            _collect(content, Document(child, raw, parse_manifest(raw, child.media_type)), found, depth - 1)
    if len(found) >= DOCUMENT_LIMIT:
        raise ManifestError(f"{content.where} has more than {DOCUMENT_LIMIT} manifests")
    found[document.descriptor.digest] = document


def _images(content: Content, descriptor: Descriptor, raw: bytes, depth: int) -> Iterator[Image]:
    parsed = parse_manifest(raw, descriptor.media_type)
    if isinstance(parsed, Manifest):
        if parsed.config.media_type in IMAGE_CONFIGS:
            yield Image.of(content, descriptor, raw)
        return
    if not depth:
        raise ManifestError(f"{content.where}: indexes are nested more than {NESTING_LIMIT} deep")
    for child in parsed.manifests:
        if child.media_type in media.DOCUMENTS and not is_attestation(child):
            yield from _images(content, child, content.document(child), depth - 1)


@dataclass(frozen=True, slots=True)
class ContentLayer:
    """A layer of an image; its bytes are not verified before somebody copies them."""

    descriptor: Descriptor
    diff_id: DiffID
    content: Content = field(repr=False)

    def open(self) -> BinaryIO:
        """Open the bytes as stored, seekable."""
        return self.content.open(self.descriptor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image: its manifest and config as stored, and its layers. ``descriptor`` is how an index describes it."""

    descriptor: Descriptor
    raw_manifest: bytes = field(repr=False)
    raw_config: bytes = field(repr=False)
    manifest: Manifest
    content: Content = field(repr=False)

    @classmethod
    def of(cls, content: Content, descriptor: Descriptor, raw: bytes) -> Image:
        """Read an image's config and put it together. Raises ManifestError when its parts do not agree."""
        manifest = parse_manifest(raw, descriptor.media_type)
        if not isinstance(manifest, Manifest):
            raise ManifestError(f"{content.where}: an index, not an image")
        if manifest.config.media_type not in IMAGE_CONFIGS:
            raise ManifestError(
                f"{content.where} is no image but an artifact of type {manifest.config.media_type}",
                hint="pybuild copy takes it as it is",
            )
        raw_config = content.document(manifest.config)
        if Digest.of(raw_config) != manifest.config.digest:
            raise DigestMismatchError(f"{content.where}: the config {manifest.config.digest} is something else")
        diff_ids = ImageConfig.parse(raw_config).diff_ids
        if len(diff_ids) != len(manifest.layers):
            raise ManifestError(
                f"{content.where}: {len(manifest.layers)} layers in the manifest, {len(diff_ids)} in the config"
            )
        return cls(descriptor=descriptor, raw_manifest=raw, raw_config=raw_config, manifest=manifest, content=content)

    @property
    def digest(self) -> Digest:
        """The manifest's digest."""
        return Digest.of(self.raw_manifest)

    @property
    def media_type(self) -> str:
        """The manifest's media type."""
        return self.manifest.media_type

    @property
    def config(self) -> ImageConfig:
        """What the config says."""
        return ImageConfig.parse(self.raw_config)

    @property
    def layers(self) -> tuple[ContentLayer, ...]:
        """The layers, bottom first."""
        return tuple(
            ContentLayer(descriptor, diff_id, self.content)
            for descriptor, diff_id in zip(self.manifest.layers, self.config.diff_ids, strict=True)
        )

    @property
    def artifact(self) -> Artifact:
        """The image as an artifact of its own, without the index it was in."""
        return Artifact.of(self.content, self.raw_manifest, self.descriptor)

"""Manifests and indexes in both formats (OCI image-spec manifest.md, image-index.md; Docker's schema 2).

Bytes that came from elsewhere are kept by their holder: what is parsed here is never written back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from builder.errors import ImageError
from builder.image import descriptor as media
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest
from builder.image.fields import Fields, to_bytes
from builder.image.platform import Platform, PlatformNotFoundError, best_match
from builder.values import dataclass, field

LAYER_LIMIT = 4096
"""More layers than this are refused before anything is done with them."""

_DESCRIPTOR_FIELDS = frozenset({"mediaType", "digest", "size", "urls", "annotations", "platform"})


class ManifestError(ImageError):
    """A manifest or index that cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One image: its config and its layers, bottom first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    def to_bytes(self) -> bytes:
        """Serialise; the bytes have the manifest's digest."""
        value: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": self.config.to_json(),
            "layers": [one.to_json() for one in self.layers],
        }
        if self.annotations:
            value["annotations"] = dict(sorted(self.annotations.items()))
        return to_bytes(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Images for several platforms, or several names."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    def to_bytes(self) -> bytes:
        """Serialise; the bytes have the index's digest."""
        value: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "manifests": [one.to_json() for one in self.manifests],
        }
        if self.annotations:
            value["annotations"] = dict(sorted(self.annotations.items()))
        return to_bytes(value)

    def select(self, platform: Platform) -> Descriptor:
        """Return the image manifest for ``platform``, or the index that is the only thing here.

        Attestations (``unknown/unknown``) are passed over. Raises PlatformNotFoundError.
        """
        offered = [one for one in self.manifests if not is_attestation(one)]
        images = [one for one in offered if one.media_type in media.MANIFESTS]
        if not images and len(offered) == 1 and offered[0].media_type in media.INDEXES:
            return offered[0]
        if len(images) == 1 and images[0].platform is None:
            return images[0]
        known = [(one, one.platform) for one in images if one.platform is not None]
        if not known:
            raise PlatformNotFoundError(f"the index names no image for platform {platform}")
        return known[best_match(platform, [offered for _, offered in known])][0]


def is_attestation(descriptor: Descriptor) -> bool:
    """Say whether an entry of an index says something about another one, and is no image."""
    return descriptor.annotations.get("vnd.docker.reference.type") == "attestation-manifest" or (
        descriptor.platform is not None and descriptor.platform.os == "unknown"
    )


def parse_descriptor(fields: Fields) -> Descriptor:
    """Read one descriptor. Raises ImageError."""
    try:
        digest = Digest.parse(fields.value.get("digest"))
    except ImageError as error:
        raise ManifestError(f"{fields.path}.digest: {error.message}", hint=error.hint) from error
    platform = fields.value.get("platform")
    return Descriptor(
        media_type=fields.text("mediaType"),
        digest=digest,
        size=fields.number("size"),
        urls=fields.texts("urls") or (),
        annotations=fields.text_map("annotations"),
        platform=None if platform is None else Platform.from_json(Fields(platform, f"{fields.path}.platform").value),
        extra=fields.without(_DESCRIPTOR_FIELDS),
    )


def parse_manifest(raw: bytes, media_type: str = "") -> Manifest | Index:
    """Parse bytes a registry or layout called ``media_type`` (empty: only the document says).

    Raises ManifestError for what is neither, for the long-dead schema 1, and for a document whose own
    ``mediaType`` says something else than its transport, or that could be read as either.
    """
    fields = Fields.parse(raw, "manifest")
    media_type = media_type.partition(";")[0].strip()
    own = fields.text("mediaType")
    version = fields.value.get("schemaVersion")
    if version == 1 or "v1+prettyjws" in media_type or media_type.endswith("distribution.manifest.v1+json"):
        raise ManifestError(
            "the image has a schema 1 manifest, Docker's format from before 2016",
            hint="push it again with a current tool, e.g. skopeo copy --format v2s2",
        )
    if version != 2:
        raise ManifestError(f"manifest.schemaVersion: expected 2, found {version!r}")
    known = media.MANIFESTS | media.INDEXES
    if own in known and media_type in known and own != media_type:
        raise ManifestError(f"the manifest says it is {own} but was sent as {media_type}")
    kind = own if own in known else media_type if media_type in known else _guess(fields)
    if "manifests" in fields.value and ("layers" in fields.value or "config" in fields.value):
        # Two tools would read two things from one digest (CVE-2021-41190).
        raise ManifestError("the manifest is both an image and an index")
    if kind in media.INDEXES:
        if "manifests" not in fields.value:
            raise ManifestError(f"not an index: {own or media_type}")
        return Index(
            media_type=kind,
            manifests=tuple(_limited([parse_descriptor(one) for one in fields.children("manifests")])),
            annotations=fields.text_map("annotations"),
        )
    if "config" not in fields.value or "layers" not in fields.value:
        raise ManifestError(f"not an image manifest: {own or media_type or 'no media type'}")
    return Manifest(
        media_type=kind,
        config=parse_descriptor(fields.child("config")),
        layers=tuple(_limited([parse_descriptor(one) for one in fields.children("layers")])),
        annotations=fields.text_map("annotations"),
    )


def _guess(fields: Fields) -> str:
    if "manifests" in fields.value and "layers" not in fields.value:
        return media.OCI_INDEX
    if "layers" in fields.value and "manifests" not in fields.value:
        return media.OCI_MANIFEST
    raise ManifestError("neither an image manifest nor an index")


def _limited(items: Sequence[Descriptor]) -> Sequence[Descriptor]:
    if len(items) > LAYER_LIMIT:
        raise ManifestError(f"the manifest lists {len(items)} entries; the limit is {LAYER_LIMIT}")
    return items

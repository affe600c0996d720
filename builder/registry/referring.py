"""Manifests that say they are about another one (``subject``), in registries that do not know what that means.

The specification's stand-in for the referrers API is an index under a tag made of the subject's digest; whoever pushes
keeps it. Two who do so at once may lose an entry: registries have no way to prevent that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.errors import ImageError
from builder.image import descriptor as media
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest
from builder.image.fields import Fields
from builder.image.manifest import Index, ManifestError, parse_manifest
from builder.image.reference import Reference
from builder.registry.endpoints import fallback_tag
from builder.registry.errors import RegistryError

if TYPE_CHECKING:
    from builder.registry.client import Registry


def subject_of(raw: bytes) -> Digest | None:
    """Return the digest of what a manifest or index is about, None for one that stands for itself."""
    if b'"subject"' not in raw:
        return None
    try:
        value = Fields.parse(raw, "manifest").value.get("subject")
        return Digest.parse(value.get("digest")) if isinstance(value, dict) else None
    except ImageError:
        return None


def note_referrer(registry: Registry, reference: Reference, subject: Digest, raw: bytes) -> None:
    """See to it that who asks what refers to ``subject`` learns of ``raw``, which is in the repository already.

    Raises RegistryError, ManifestError for a stand-in that is no index.
    """
    described = _described(raw)
    if any(one.digest == described.digest for one in registry.referrers(reference, subject)):
        return
    standin = Reference(reference.registry, reference.repository, fallback_tag(subject))
    try:
        held = parse_manifest(*registry.manifest(standin)[:2])
    except RegistryError as error:
        if error.status != 404:
            raise
        held = Index(media_type=media.OCI_INDEX, manifests=())
    if not isinstance(held, Index):
        raise ManifestError(f"{standin} is no index of what refers to {subject}")
    kept = {one.digest: one for one in (*held.manifests, described)}
    made = Index(media_type=media.OCI_INDEX, manifests=tuple(kept.values()), annotations=held.annotations)
    registry.put_manifest(standin, fallback_tag(subject), made.to_bytes(), made.media_type)


def _described(raw: bytes) -> Descriptor:
    """Return the entry of a manifest in an index of referrers: with its own type and annotations."""
    fields = Fields.parse(raw, "manifest")
    parsed = parse_manifest(raw)
    kind = fields.text("artifactType")
    if not kind and not isinstance(parsed, Index):
        kind = parsed.config.media_type
    return Descriptor(
        media_type=parsed.media_type,
        digest=Digest.of(raw),
        size=len(raw),
        annotations=parsed.annotations,
        extra={"artifactType": kind} if kind else {},
    )

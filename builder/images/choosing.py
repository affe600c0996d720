"""Platforms of an index: all of them, one as an image of its own, some as a smaller index."""

from __future__ import annotations

from collections.abc import Sequence

from builder.image.artifact import Artifact, Parts
from builder.image.digest import Digest
from builder.image.manifest import Manifest, is_attestation
from builder.image.platform import Platform, PlatformNotFoundError
from builder.values import replace


def choose(artifact: Artifact, platforms: Sequence[Platform]) -> Artifact:
    """Return ``artifact`` with the images for ``platforms`` only; without any it is left as it is.

    One platform gives the image itself, several an index of their own, with a digest of its own; what is said about
    images that are left out (attestations) is left out too. Raises PlatformNotFoundError, ManifestError.
    """
    if not platforms:
        return artifact
    parsed = artifact.parsed()
    if isinstance(parsed, Manifest):
        return fitting(artifact, platforms)
    if len(platforms) == 1:
        return artifact.image(platforms[0]).artifact
    chosen = {artifact.image(one).digest for one in platforms}
    kept = [one for one in parsed.manifests if one.digest in chosen or _about(one.annotations) in chosen]
    if len(kept) == len(parsed.manifests):
        return artifact
    if not chosen <= {one.digest for one in kept if not is_attestation(one)}:
        raise PlatformNotFoundError(
            f"{artifact.content.where} has images in nested indexes; choose one platform",
            hint="--platform linux/amd64, for example",
        )
    raw = replace(parsed, manifests=tuple(kept)).to_bytes()
    content = Parts(where=artifact.content.where, documents={Digest.of(raw): raw}, rest=artifact.content)
    return Artifact.of(content, raw)


def fitting(artifact: Artifact, platforms: Sequence[Platform]) -> Artifact:
    """Return ``artifact``, unless it is a single image for another platform: PlatformNotFoundError."""
    own = artifact.platform()
    if own is not None and any(str(one) != str(own) for one in platforms):
        raise PlatformNotFoundError(
            f"{artifact.content.where} is an image for {own} only",
            hint=f"ask for that one, --platform {own}, or have it built for yours",
        )
    return artifact


def _about(annotations: object) -> object:
    """Return the digest of the image that an attestation is about."""
    return annotations.get("vnd.docker.reference.digest") if isinstance(annotations, dict) else None

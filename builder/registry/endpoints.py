"""Paths, token scopes and media types of the distribution API. Pure."""

from __future__ import annotations

from urllib.parse import quote

from builder.image import descriptor as media
from builder.image.digest import Digest
from builder.image.reference import Reference

ACCEPT = ", ".join((media.OCI_MANIFEST, media.OCI_INDEX, media.DOCKER_MANIFEST, media.DOCKER_INDEX))
"""Schema 1 is not asked for: a registry that still converts to it would make an image with another digest."""

CATALOG_SCOPE = frozenset({"registry:catalog:*"})


def pull_scope(repository: str) -> frozenset[str]:
    """Return the token scope for reading ``repository``."""
    return frozenset({f"repository:{repository}:pull"})


def push_scope(repository: str) -> frozenset[str]:
    """Return the token scope for writing ``repository``."""
    return frozenset({f"repository:{repository}:pull,push"})


def delete_scope(repository: str) -> frozenset[str]:
    """Return the token scope for deleting from ``repository``."""
    return frozenset({f"repository:{repository}:delete"})


def blob_path(reference: Reference, digest: Digest) -> str:
    """Return the path of a blob."""
    return f"/v2/{reference.repository}/blobs/{digest}"


def manifest_path(reference: Reference, target: str) -> str:
    """Return the path of a manifest; ``target`` is a tag or a digest."""
    return f"/v2/{reference.repository}/manifests/{quote(target, safe=':')}"


def fallback_tag(digest: Digest) -> str:
    """Return the tag under which an index of what refers to a manifest is kept where there is no referrers API."""
    return digest.replace(":", "-", 1)


def short(digest: Digest) -> str:
    """Return as much of a digest as people compare."""
    return digest[:19]

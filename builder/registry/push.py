"""An artifact into registries: what is there is left alone, what lies next to it is mounted, only the rest goes up.

Blobs first, then documents, children before parents, and the tags last, so that a registry never has a manifest
whose blobs are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from builder.events import Reporter, Transfer
from builder.image.artifact import Artifact, Content, Document
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest
from builder.image.reference import Reference
from builder.registry.client import Registry
from builder.registry.together import in_parallel
from builder.registry.upload import mount_or_begin


@dataclass(frozen=True, slots=True)
class _Push:
    """What the pushes of one artifact share. ``done`` are the repositories that have all its blobs already."""

    registry: Registry
    content: Content
    reporter: Reporter
    done: tuple[Reference, ...] = ()


def push_artifact(
    registry: Registry,
    references: Sequence[Reference],
    artifact: Artifact,
    reporter: Reporter,
    *,
    jobs: int = 0,
    foreign: bool = False,
) -> Digest:
    """Push ``artifact`` under every reference and return its digest.

    Blobs are opened only when their bytes have to travel; layers that are not for redistribution travel only with
    ``foreign``. A reference with a digest and no tag pushes by digest. Raises RegistryError, AuthenticationError,
    TransientRegistryError, DigestMismatchError.
    """
    *children, root = artifact.documents()
    blobs = _blobs([*children, root], foreign=foreign)
    done: list[Reference] = []
    for target in _repositories(references):
        held = tuple(one for one in done if one.registry == target.registry)
        push = _Push(registry, artifact.content, reporter, held)
        in_parallel([_task(push, target, blob) for blob in blobs], jobs or registry.jobs)
        for child in children:
            registry.put_manifest(target, child.descriptor.digest, child.raw, child.parsed.media_type)
        done.append(target)
    for reference in references:
        registry.put_manifest(reference, reference.tag or root.descriptor.digest, root.raw, root.parsed.media_type)
    return artifact.digest


def _blobs(documents: Sequence[Document], *, foreign: bool) -> list[Descriptor]:
    """Return each blob once, the biggest first: the longest transfer should not begin last."""
    blobs = {
        blob.digest: blob
        for document in documents
        for blob in document.blobs
        # Not for redistribution: registries take the manifest without them.
        if foreign or not blob.is_elsewhere
    }
    return sorted(blobs.values(), key=lambda blob: -blob.size)


def _repositories(references: Sequence[Reference]) -> list[Reference]:
    return list({(one.registry, one.repository): one for one in references}.values())


def _task(push: _Push, target: Reference, blob: Descriptor) -> Callable[[], None]:
    return lambda: _push_blob(push, target, blob)


def _push_blob(push: _Push, target: Reference, blob: Descriptor) -> None:
    registry = push.registry
    if registry.blob_exists(target, blob.digest, pushing=True):
        return
    begun = None
    origin = push.content.origin(blob)
    for held in push.done if origin is None else (*push.done, *registry.homes(origin)):
        if held.registry != target.registry or held.repository == target.repository:
            continue
        begun = mount_or_begin(registry.session, registry.retry, target, blob.digest, held.repository)
        if begun is None:
            return
        break

    def progress(current: int, total: int) -> None:
        push.reporter.emit(Transfer("push", blob.digest, current, total))

    progress(0, blob.size)
    registry.upload(target, blob, lambda: push.content.open(blob), progress, begun)

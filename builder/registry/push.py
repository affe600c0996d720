"""An artifact into registries: what is there is left alone, what lies next to it is mounted, only the rest goes up.

Blobs first, then documents, children before parents, and the tags last, so that a registry never has a manifest
whose blobs are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

from builder.events import Reporter, Transfer
from builder.image.artifact import Artifact, Content, Document
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest
from builder.image.reference import Reference
from builder.registry.client import Registry
from builder.registry.errors import RegistryError
from builder.registry.halfway import telling_of_some
from builder.registry.together import in_parallel
from builder.registry.upload import Begun, mount_or_begin
from builder.values import dataclass

_MISSING = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"})


@dataclass(frozen=True, slots=True)
class _Push:
    """What the pushes of one artifact share. ``done`` are the repositories that have all its blobs already."""

    registry: Registry
    content: Content
    reporter: Reporter
    done: tuple[Reference, ...] = ()
    ahead: Callable[[Reference, Digest], bool] | None = None


def push_artifact(
    registry: Registry,
    references: Sequence[Reference],
    artifact: Artifact,
    reporter: Reporter,
    *,
    foreign: bool = False,
    held: Collection[Digest] = (),
    ahead: Callable[[Reference, Digest], bool] | None = None,
) -> Digest:
    """Push ``artifact`` under every reference and return its digest.

    Blobs are opened only when their bytes have to travel, and those ``held`` are known to be there; layers that are not
    for redistribution travel only with ``foreign``. ``ahead`` ends an upload that was begun before, and says whether
    the blob is there now. A reference with a digest and no tag pushes by digest. Raises
    RegistryError, AuthenticationError, TransientRegistryError, DigestMismatchError.
    """
    *children, root = artifact.documents()
    blobs = [one for one in _blobs([*children, root], foreign=foreign) if one.digest not in held]
    done: list[Reference] = []
    for target in _repositories(references):
        near = tuple(one for one in done if one.registry == target.registry)
        push = _Push(registry, artifact.content, reporter, near, ahead)
        in_parallel([_task(push, target, blob) for blob in blobs], registry.jobs)
        for child in children:
            _put_document(push, target, child.descriptor.digest, child, blobs)
        done.append(target)
    push = _Push(registry, artifact.content, reporter)
    with telling_of_some(reporter) as pushed:
        for reference in references:
            _put_document(push, reference, reference.tag or root.descriptor.digest, root, blobs)
            pushed.append(reference)
    return artifact.digest


def _put_document(push: _Push, target: Reference, name: str, document: Document, blobs: Sequence[Descriptor]) -> None:
    """Store a document under ``name``, a tag or its digest.

    A registry that misses blobs now, though it had said that they are there or mounted, is sent those.
    """
    put = partial(push.registry.put_manifest, target, name, document.raw, document.parsed.media_type)
    try:
        put()
    except RegistryError as error:
        if _MISSING.isdisjoint(error.codes):
            raise
        named = {blob.digest for blob in document.blobs}
        for blob in blobs:
            if blob.digest in named and not push.registry.blob_exists(target, blob.digest, pushing=True):
                _upload(push, target, blob, None)
        put()


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
    if push.ahead is not None and push.ahead(target, blob.digest):
        return
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
    _upload(push, target, blob, begun)


def _upload(push: _Push, target: Reference, blob: Descriptor, begun: Begun | None) -> None:
    def progress(current: int, total: int) -> None:
        push.reporter.emit(Transfer("push", blob.digest, current, total))

    progress(0, blob.size)
    push.registry.upload(target, blob, lambda: push.content.open(blob), progress, begun)

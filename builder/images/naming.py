"""Names in the store: given to another image, and taken away again, with the bytes that only they kept."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from builder.cache.refs import EVERYWHERE, RefRecord
from builder.cache.store import Store
from builder.engine.bases import built_here
from builder.errors import ImageError, UsageError
from builder.image.artifact import Artifact
from builder.image.digest import Digest
from builder.image.reference import Reference, ReferenceSyntaxError
from builder.images.listing import Listed, listed, reachable
from builder.values import dataclass, replace

_SHORTEST_ID = 4


@dataclass(frozen=True, slots=True)
class Removed:
    """What went: names, and blobs that nobody needs any more. ``busy``: blobs stayed, others use the store now."""

    names: tuple[str, ...]
    blobs: tuple[Digest, ...]
    busy: bool


def find_record(store: Store, text: str) -> RefRecord | None:
    """Return what a name, a digest or the beginning of an image ID means in the store: built here first, then pulled.

    Raises ReferenceSyntaxError, ImageError for an ID that several images begin with.
    """
    found = _by_name(store, text)
    return found[0] if found else next((one.record for one in _by_identity(store, text)), None)


def tag(store: Store, image: str, names: Sequence[Reference]) -> RefRecord:
    """Give an image of the store more names, as if it had been built under them, and return what it is.

    Nothing is fetched. Raises UsageError for a name with a digest, ImageError where there is no such image.
    """
    for name in names:
        if name.digest is not None:
            problem = f"{name.familiar}: an image gets a name and a tag, its digest is what it is"
            raise UsageError(problem, hint="leave @sha256:... out")
    record = find_record(store, image)
    if record is None:
        raise ImageError(f"{image} is not in the store", hint="pybuild images -a lists what is")
    origins = record.origins if record.built_here else {EVERYWHERE: record.reference}
    for name in names:
        given = replace(record, reference=str(name), resolved_at=int(time.time()), built_here=True, origins=origins)
        store.refs.put(given)
    if names:
        store.refs.remove(str(record.descriptor.digest), built_here=True)
    return record


def names_of(store: Store, text: str, *, force: bool) -> list[RefRecord]:
    """Return the records of a name, or of the names of an image ID; there must be only one, unless ``force``.

    Raises ImageError for what is not there or has several names.
    """
    found = _by_name(store, text)
    if found:
        return found
    images = _by_identity(store, text)
    if not images:
        raise ImageError(f"{text} is not in the store", hint="pybuild images -a lists what is")
    names = sorted({one.record.reference for one in images})
    if len(names) > 1 and not force:
        shown = ", ".join(Reference.parse(name).familiar for name in names if not name.startswith("sha256:"))
        raise ImageError(f"{text} has several names: {shown}", hint="remove them one by one, or all with --force")
    return [one.record for one in images]


def remove(store: Store, records: Iterable[RefRecord]) -> Removed:
    """Remove names, and the blobs of their images that no other name and no cache record leads to.

    Blobs stay while another process works with the store.
    """
    gone = list(records)
    before = {digest for record in gone for digest in reachable(store, record.descriptor)}
    for record in gone:
        store.refs.remove(record.reference, built_here=record.built_here)
    names = tuple(dict.fromkeys(_shown(record.reference) for record in gone))
    dropped = drop_unneeded(store, before)
    return Removed(names, dropped or (), busy=dropped is None)


def drop_unneeded(store: Store, digests: Iterable[Digest]) -> tuple[Digest, ...] | None:
    """Remove those blobs that no name and no cache record leads to, and return them.

    None are removed, and None is returned, while another process works with the store: it may be about to use them.
    """
    store.hold_lease()
    if len(store.leases()) > 1:
        return None
    unneeded = {digest for digest in digests if store.blobs.size(digest) is not None}
    for record in store.refs.records() if unneeded else ():
        unneeded -= reachable(store, record.descriptor).keys()
    if unneeded:
        unneeded -= {one.digest for one in store.variants.everything()}
    for digest in unneeded:
        store.blobs.drop(digest)
    return tuple(sorted(unneeded))


@contextmanager
def passing_through(store: Store, artifact: Artifact) -> Iterator[None]:
    """Remove, at the end of the block, blobs of ``artifact`` that came into the store only to be sent on from there."""
    absent = {
        blob.digest
        for document in artifact.documents()
        for blob in document.blobs
        if store.blobs.size(blob.digest) is None
    }
    try:
        yield
    finally:
        if absent:
            drop_unneeded(store, absent)


def _shown(reference: str) -> str:
    return reference if reference.startswith("sha256:") else Reference.parse(reference).familiar


def _by_name(store: Store, text: str) -> list[RefRecord]:
    if text.startswith("sha256:"):
        found = store.refs.get(text)
        return [found] if found is not None else []
    try:
        reference = Reference.parse(text)
    except ReferenceSyntaxError:
        return []
    pulled = store.refs.get(str(reference), built_here=False)
    return [one for one in (built_here(store, reference), pulled) if one is not None]


def _by_identity(store: Store, text: str) -> list[Listed]:
    wanted = text.removeprefix("sha256:")
    if len(wanted) < _SHORTEST_ID or set(wanted) - set("0123456789abcdef"):
        return []
    found = [one for one in listed(store) if one.identity.hex.startswith(wanted) or one.digest.hex.startswith(wanted)]
    if len({one.digest for one in found}) > 1 and len({one.identity for one in found}) > 1:
        raise ImageError(f"several images have an ID that begins with {wanted}", hint="write more of it")
    return found

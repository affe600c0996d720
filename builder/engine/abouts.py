"""Records of keys on their way between machines, so that ``explain`` knows what others built (cache.records).

Nothing that is found in them decides what is executed: they are compared with and shown to people. Any that is missing,
damaged or a lie makes an explanation poorer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from builder.cache.exchange import ABOUT_TYPE
from builder.cache.keys import Key
from builder.cache.records import bundle, unbundle
from builder.cache.store import Store
from builder.errors import BuilderError
from builder.events import Reporter, Warned
from builder.image.descriptor import Descriptor
from builder.image.digest import DigestMismatchError, copy_verified

if TYPE_CHECKING:
    from builder.engine.imports import Imports
    from builder.engine.places import Place

LIMIT = 8 << 20
"""Bytes of one blob of records."""

_BLOBS = 16
"""Blobs that are read at most: the latest of each source come first."""


def described(store: Store, keys: Iterable[Key]) -> Descriptor | None:
    """Write what the store knows of ``keys`` into a blob; return what points to it, None where it knows nothing.

    Raises OutputError.
    """
    data = bundle(_packed(store, keys))
    if not data:
        return None
    with store.blobs.writer() as writer:
        writer.write(data)
        return Descriptor(media_type=ABOUT_TYPE, digest=writer.commit(), size=len(data))


def receive(imports: Imports, store: Store, reporter: Reporter, project: str = "") -> None:
    """Keep what the sources that were asked say of their keys, as being of ``project``. Failures are warnings."""
    out_of_reach: list[Place] = []
    for number, (place, blob) in enumerate(imports.about()):
        if number >= _BLOBS:
            break
        if place in out_of_reach:
            continue
        try:
            data = _fetched(place, blob, store)
        except (BuilderError, OSError) as error:
            if isinstance(error, BuilderError) and error.retryable:
                out_of_reach.append(place)
            reporter.emit(Warned(f"a cache's records cannot be read: {error}", "cache"))
            continue
        for key, one in unbundle(data):
            store.records.receive(key, one, project)


def _packed(store: Store, keys: Iterable[Key]) -> Iterator[tuple[Key, bytes]]:
    for key in keys:
        data = store.records.packed(key)
        if data is not None:
            yield key, data


def _fetched(place: Place, blob: Descriptor, store: Store) -> bytes:
    """Return a blob, from the store if an earlier call brought it there."""
    if blob.size > LIMIT:
        raise DigestMismatchError(f"{blob.size} bytes, more than {LIMIT}")
    if not store.blobs.contains(blob.digest, blob.size):
        with place.content().open(blob) as stream, store.blobs.writer() as writer:
            copy_verified(stream, writer, blob.digest, blob.size, f"records {blob.digest}")
            writer.commit(blob.digest)
    with store.blobs.open(blob.digest) as stream:
        return stream.read(LIMIT)

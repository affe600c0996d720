"""Where shared results are: a repository, a directory with an OCI layout, or the config of an image.

A place knows how entries and blobs get there and back; what is in them, and whom they are believed, is not its
business. Reading a cache costs one list of tags and two documents for every entry that was not seen before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from builder.cache.exchange import (
    BYTES_LIMIT,
    PREFIX_LIMIT,
    RECORD_LIMIT,
    EntryTag,
    Exchange,
    entry_tags,
    manifests_of,
    merged,
    parse_table,
    table_of,
    uncovered,
)
from builder.cache.imported import Imported
from builder.cache.store import Store
from builder.engine.request import CachePlace
from builder.errors import CacheError, ImageError, UsageError
from builder.image.artifact import Artifact, Content
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest, DigestMismatchError
from builder.image.reference import Reference
from builder.registry.errors import RegistryError
from builder.values import dataclass, replace

if TYPE_CHECKING:
    from builder.archive.image import FilesContent
    from builder.events import Reporter
    from builder.registry.client import Registry

ENTRY_LIMIT = 2000
"""Entries that no merged one includes, of which the newest are read."""

MERGED_LIMIT = 64
"""Merged entries that no other includes, of which the newest are read."""

READING = 60.0
"""Seconds after which no more entries are read: what they say is hardly worth waiting for any longer."""

USUAL_PREFIX = "cache"
_AT_ONCE = 8
T = TypeVar("T")
S = TypeVar("S")


class Place(Protocol):
    """Entries and blobs of one cache. Thread-safe. Methods raise RegistryError, ImageError and OutputError."""

    @property
    def origin(self) -> Reference | None:
        """A reference into the repository that has the blobs, for mounts."""
        ...

    def tags(self) -> list[str]:
        """Return all tags there are; none where there is no cache yet."""
        ...

    def root(self, tag: str) -> bytes:
        """Return the root document of an entry, whose digest is to be checked."""
        ...

    def content(self) -> Content:
        """Return what documents and blobs are read from."""
        ...

    def has(self, blob: Descriptor) -> bool:
        """Say whether a blob is there."""
        ...

    def write(self, artifact: Artifact, tag: str, held: Collection[Digest]) -> None:
        """Write an entry; the blobs that are ``held`` need not be looked for."""
        ...


class RegistryPlace:
    """A repository. Asked with less patience than a base image: without a cache it only takes longer."""

    def __init__(self, where: CachePlace, store: Store, registry: Callable[[], Registry], reporter: Reporter) -> None:
        if where.reference is None:
            raise TypeError("a cache is in a repository or in a directory")
        self._reference = where.reference
        self._store = store
        self._registry = registry
        self._reporter = reporter
        self._content: Content | None = None
        self._asked: Registry | None = None
        self._lock = threading.Lock()

    @property
    def origin(self) -> Reference:
        """The repository."""
        return self._reference

    def tags(self) -> list[str]:
        """Return all tags."""
        try:
            return self.hasty().tags(self._reference)
        except RegistryError as error:
            if error.status == 404:
                return []
            raise

    def root(self, tag: str) -> bytes:
        """Return a manifest or index."""
        raw, _, _ = self.hasty().manifest(replace(self._reference, tag=tag, digest=None))
        return raw

    def content(self) -> Content:
        """Return the repository's content; what is read stays in the store."""
        from builder.registry.repository import RepositoryContent

        if self._content is None:
            self._content = RepositoryContent(self.hasty(), self._reference, self._store.blobs, self._reporter)
        return self._content

    def has(self, blob: Descriptor) -> bool:
        """Ask with a HEAD."""
        return self.hasty().blob_exists(self._reference, blob.digest)

    def write(self, artifact: Artifact, tag: str, held: Collection[Digest]) -> None:
        """Push an entry."""
        from builder.registry.push import push_artifact

        target = replace(self._reference, tag=tag, digest=None)
        push_artifact(self._registry().resigned(), [target], artifact, self._reporter, held=held)

    def delete(self, tag: EntryTag) -> None:
        """Delete an entry; one that is gone already is no error."""
        registry, target = self._registry(), replace(self._reference, tag=str(tag), digest=None)
        try:
            digest = registry.resolve(target).digest
            if digest.hex.startswith(tag.start):
                registry.delete_manifest(target, digest)
        except RegistryError as error:
            if error.status != 404:
                raise

    def hasty(self) -> Registry:
        """Return what the cache is read with: once nobody answered in time, nobody is asked again."""
        with self._lock:
            if self._asked is None:
                self._asked = self._registry().hasty()
            return self._asked


class LayoutPlace:
    """A directory with an OCI layout."""

    origin = None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content: FilesContent | None = None

    def tags(self) -> list[str]:
        """Return the names in the layout."""
        return list(self._entries())

    def root(self, tag: str) -> bytes:
        """Return a manifest or index."""
        return self.content().document(self._entries()[tag])

    def content(self) -> Content:
        """Return the layout's content."""
        from builder.archive.files import open_files
        from builder.archive.image import FilesContent

        if self._content is None:
            self._content = FilesContent(open_files(self._path))
        return self._content

    def has(self, blob: Descriptor) -> bool:
        """Look for a file of the right size."""
        try:
            return (self._path / "blobs" / "sha256" / blob.digest.hex).stat().st_size == blob.size
        except OSError:
            return False

    def write(self, artifact: Artifact, tag: str, held: Collection[Digest]) -> None:
        """Add an entry to the layout, made if need be."""
        from builder.archive.image import Entry
        from builder.archive.oci_layout import write_oci_directory

        del held
        write_oci_directory([Entry(artifact, (tag,))], self._path)

    def _entries(self) -> dict[str, Descriptor]:
        from builder.archive.files import open_files
        from builder.archive.oci_layout import REF_NAME, is_begun, read_index

        if not self._path.is_dir() or is_begun(self._path):
            return {}
        files = open_files(self._path)
        try:
            named = read_index(files).manifests
        finally:
            files.close()
        return {one.annotations[REF_NAME]: one for one in named if REF_NAME in one.annotations}


def open_place(place: CachePlace, store: Store, registry: Callable[[], Registry], reporter: Reporter) -> Place:
    """Return the place that the command line names; nobody is asked yet."""
    if place.path is not None:
        return LayoutPlace(place.path)
    return RegistryPlace(place, store, registry, reporter)


def registry_place(text: str) -> CachePlace:
    """Return the cache that ``REPOSITORY[:PREFIX]`` names. Raises ReferenceSyntaxError, UsageError."""
    reference = Reference.parse(text)
    if reference.digest is not None:
        raise UsageError(f"{text}: a cache has no digest, it grows", hint="name it REPOSITORY[:PREFIX]")
    prefix = (reference.tag or "") if ":" in text.rpartition("/")[2] else USUAL_PREFIX
    if len(prefix) > PREFIX_LIMIT:
        raise UsageError(f"{text}: the tags of entries leave {PREFIX_LIMIT} characters for {prefix[:20]}...")
    return CachePlace(kind="registry", reference=reference, prefix=prefix)


# --- reading


@dataclass(frozen=True, slots=True)
class Entries:
    """What a cache says, all its entries together. ``loose`` are those that no merged entry includes."""

    exchange: Exchange
    tags: tuple[EntryTag, ...] = ()
    loose: tuple[EntryTag, ...] = ()
    names: tuple[str, ...] = ()
    """All tags of the repository."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the entries of one cache; ``warn`` hears about those that cannot be used."""

    place: Place
    prefix: str
    imported: Imported
    store: Store
    warn: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic

    def read(self) -> Entries:
        """Return all there is. Raises what listing the tags raises; entries that cannot be read are warnings."""
        until = self.clock() + READING
        names = self.place.tags()
        tags = entry_tags(self.prefix, names)
        distrusted = self.imported.distrusted()
        wanted = [one for one in tags if str(one) not in distrusted]
        whole, covered = self._merged(wanted, distrusted, until)
        loose: list[EntryTag] = []
        missing = uncovered([one for one in wanted if not one.merged], covered)
        for start in range(0, len(missing), _AT_ONCE):
            late = self.clock() > until
            if late or len(whole.records) >= RECORD_LIMIT or start >= ENTRY_LIMIT:
                why = "it takes too long" if late else "there are too many"
                self.warn(f"{len(missing) - start} entries are not read: {why}")
                break
            some = missing[start : start + _AT_ONCE]
            found = [(tag, part) for tag, part in zip(some, in_parallel(self._entry, some), strict=True) if part]
            loose += [tag for tag, _ in found]
            # United as they come: entries overlap, and what they say is a stranger's.
            whole = merged([whole, *(part for _, part in found)])
        readable = tuple(one for one in wanted if str(one) in covered or one in loose)
        return Entries(whole, tags=readable, loose=tuple(loose), names=tuple(names))

    def _merged(self, tags: Sequence[EntryTag], distrusted: frozenset[str], until: float) -> tuple[Exchange, set[str]]:
        """Return what the merged entries say that no newer one includes, and the tags that are included in them."""
        whole, read = Exchange(), 0
        covered: set[str] = set()
        for tag in tags:
            if not tag.merged or str(tag) in covered or read == MERGED_LIMIT or self.clock() > until:
                continue
            part = self._entry(tag)
            read += 1
            if part is not None and not distrusted.intersection(part.includes):
                whole = merged([whole, part])
                covered.update(part.includes, (str(tag),))
        return whole, covered

    def _entry(self, tag: EntryTag) -> Exchange | None:
        """Return what one entry says, None and a warning where it cannot be used."""
        try:
            known = self.imported.tables_of(str(tag))
            tables = [] if known is None else [self.store.blobs.read(one) for one in known[1]]
            if not tables or None in tables:
                tables = [*self._fetched(tag)]
            now = int(time.time())
            parts = [parse_table(raw, now) for raw in tables if raw is not None]
        except (ImageError, CacheError) as error:
            self.warn(f"the entry {tag} is not used: {error.message}")
        except RegistryError as error:
            if error.retryable or error.status in (401, 403):
                raise
            self.warn(f"the entry {tag} is not used: {error.message}")
        else:
            return merged(parts, (name for part in parts for name in part.includes))
        return None

    def _fetched(self, tag: EntryTag) -> list[bytes]:
        """Return the tables of an entry, and remember which they are. Raises ImageError for one that was changed."""
        raw, content = self.place.root(str(tag)), self.place.content()
        if not Digest.of(raw).hex.startswith(tag.start):
            raise DigestMismatchError("its tag points to another document now; it must never be moved")
        tables = [table_of(one) for one in in_parallel(content.document, manifests_of(raw)) or [raw]]
        if sum(one.size for one in tables) > BYTES_LIMIT:
            raise ImageError(f"its tables are larger than {BYTES_LIMIT} bytes")
        documents = in_parallel(content.document, tables)
        for table, document in zip(tables, documents, strict=True):
            if not self.store.blobs.contains(table.digest):
                self.store.blobs.put(document)
        self.imported.remember(str(tag), Digest.of(raw), [one.digest for one in tables])
        return documents


def in_parallel(work: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """Return ``work`` of each item, done several at a time where there are several. Raises what the first raises."""
    if len(items) < 2:
        return [work(one) for one in items]
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return list(pool.map(work, items))

"""A build's results for others: what of a build goes into a cache, and how a cache is kept small.

An export is one entry with what the cache does not have yet: none at all when it has everything. It never changes what
is there: exporters that race lose nothing. When many entries have piled up, whoever sees it adds one that includes them
all; what is old goes away with ``prune_remote`` only. Results that depend on another cache are not passed on.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

from builder.cache.exchange import (
    TOC_TYPE,
    Claim,
    EntryTag,
    Exchange,
    Record,
    documents,
    entry_tags,
    index_of,
    merged,
)
from builder.cache.keys import Key
from builder.cache.store import Store
from builder.engine.abouts import described
from builder.engine.healing import healing
from builder.engine.imports import Imports, Source
from builder.engine.layers import LostLayersError, StoreLayer
from builder.engine.places import Entries, Place, Reader, RegistryPlace, in_parallel, open_place, registry_place
from builder.engine.request import BuildRequest, CachePlace, CacheTarget
from builder.errors import BuilderError, CacheError, InterruptedBuildError
from builder.events import Notice, Warned
from builder.image.artifact import Artifact, Parts
from builder.image.blobs import Layer
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID, Digest
from builder.image.reference import Reference
from builder.plan.graph import CopyFiles, Vertex
from builder.registry.errors import RegistryError
from builder.rootfs.toc import Toc
from builder.streams import CHUNK
from builder.values import dataclass, replace

if TYPE_CHECKING:
    from builder.engine.build import Environment
    from builder.engine.built import Content
    from builder.engine.handlers import Result, Task
    from builder.engine.services import Services
    from builder.engine.solver import Solver
    from builder.events import Reporter
    from builder.registry.client import Registry

MERGE_AT = 16
"""Entries that no merged one includes, from which on an exporter writes one."""

DAY = 86400
"""Seconds after which a record that is still of use is written again: its age says how long nobody used it."""

TOC_LIMIT = 64 << 20
"""Bytes of a table of contents that is worth sending."""


def open_sources(request: BuildRequest, store: Store, registry: Callable[[], Registry], reporter: Reporter) -> Imports:
    """Return what looks up results in the caches that a build names; none is asked yet."""

    def source(place: CachePlace) -> Source:
        opened = open_place(place, store, registry, reporter)
        imported = store.imported(place.name)
        reader = _reader(place, opened, store, reporter)

        def read() -> Entries:
            entries = Entries(Exchange()) if place.kind == "inline" else reader.read()
            reference = place.reference
            if reference is None or (place.kind != "inline" and reference.tag not in entries.names):
                return entries
            from builder.engine.inline import read_inline

            try:
                said = read_inline(reference, request.platforms, store, lambda: registry().hasty(), reporter)
            except RegistryError as error:
                if error.status != 404:
                    raise
                return entries
            return replace(entries, exchange=merged([entries.exchange, said]))

        return Source(place.name, opened, imported, read)

    named = {place.name: place for place in request.cache_from}
    return Imports([source(place) for place in named.values()], store, reporter)


def _reader(place: CachePlace, opened: Place, store: Store, reporter: Reporter) -> Reader:
    def warn(message: str) -> None:
        reporter.emit(Warned(f"the cache {place.name}: {message}", "cache"))

    return Reader(opened, place.prefix, store.imported(place.name), store, warn)


# --- exporting


def share(
    targets: Sequence[CacheTarget],
    env: Environment,
    services: Services,
    solver: Solver,
    contents: Sequence[Content],
    *,
    again: bool = False,
) -> None:
    """Write what a finished build found out to each of ``targets``, but for images that say it themselves.

    Raises RegistryError, OutputError and ImageError, unless they are to be ignored; the outputs are written by then.
    With ``again`` the build can begin again after LostLayersError, which is raised as it is.
    """
    for target in targets:
        if target.place.kind == "inline":
            continue
        try:
            with healing(env.store, solver.layers):
                _Export(target, env, services, solver, contents).run()
        except InterruptedBuildError:
            raise
        except BuilderError as error:
            if again and isinstance(error, LostLayersError):
                raise
            if not target.ignore_error:
                error.message = f"the image is done, but the cache {target.place.name} is not: {error.message}"
                error.hint = error.hint or "ignore-error=true makes this a warning"
                raise
            env.reporter.emit(Warned(f"the cache {target.place.name} was not written: {error.message}", "cache"))


class _Export:
    def __init__(
        self,
        target: CacheTarget,
        env: Environment,
        services: Services,
        solver: Solver,
        contents: Sequence[Content],
    ) -> None:
        self._target = target
        self._env = env
        self._services = services
        self._solver = solver
        self._contents = contents
        self._place = open_place(target.place, env.store, env.registry, env.reporter)
        self._reader = _reader(target.place, self._place, env.store, env.reporter)
        self._now = int(time.time())

    def run(self) -> None:
        """Write what the cache has not."""
        name, before = self._target.place.name, self._reader.read()
        layers: dict[Digest, Layer] = {}
        origins: dict[Digest, Reference] = {}
        records = []
        known = index_of(before.exchange)
        for record, layer, task in self._records():
            made = task is not None and self._solver.results[task.vertex.id].made
            if _is_known(record, [one for key in record.keys for one in known.get(key, ())], made=made):
                continue
            records.append(record if made or task is None else replace(record, keys=_all_keys(record, task)))
            if layer is not None:
                layers[layer.descriptor.digest] = layer
                if layer.origin is not None:
                    origins[layer.descriptor.digest] = layer.origin
        claims = {}
        for diff_id, claim in self._claims(before.exchange.claims):
            claims[diff_id] = claim
            layers[claim.blob.digest] = _Stored(self._env.store, claim.blob, diff_id)
        if not records and not claims:
            return
        about = described(self._env.store, [key for record in records for key in record.keys])
        if about is not None:
            layers[about.digest] = _Stored(self._env.store, about, DiffID(about.digest))
        mine = Exchange(records=tuple(records), claims=claims, about=(about,) if about else ())
        tag = publish(self._place, self._target.place.prefix, mine, before, layers, origins)
        self._env.reporter.emit(Notice(f"{len(records)} results are shared in {name} now ({tag})"))

    def _results(self) -> Iterator[tuple[Vertex, Result]]:
        for vertex, result in self._solver.results.items():
            if self._target.everything or vertex in self._solver.exported:
                yield self._solver.vertices[vertex], result

    def _mine(self, result: Result) -> bool:
        """Say whether a result may be passed on: it is this store's own, or depends on this cache only."""
        return result.source in ("", self._target.place.name)

    def _records(self) -> Iterator[tuple[Record, StoreLayer | None, Task | None]]:
        """Yield what may be passed on, with its layer and what it is the result of."""
        for vertex, result in self._results():
            if not result.keys or not self._mine(result):
                continue
            layer = result.stack[-1] if result.added else None
            if layer is not None and not layer.available():
                continue
            yield (
                Record(
                    keys=result.keys,
                    diff_id=None if layer is None else layer.diff_id,
                    created=result.created,
                    shared=self._now,
                    layer=None if layer is None else layer.descriptor,
                    compressor="" if layer is None else layer.compressor,
                ),
                layer,
                self._solver.task(vertex),
            )
        for content in self._contents:
            if content.recorded is not None:
                key, created = content.recorded
                yield Record(keys=(key,), diff_id=None, created=created, shared=self._now), None, None

    def _claims(self, known: Mapping[DiffID, Claim]) -> Iterator[tuple[DiffID, Claim]]:
        """Yield what layers hold, where their bytes were seen here."""
        stacks = [result.stack for _, result in self._results() if result.keys and self._mine(result)]
        for diff_id in dict.fromkeys(layer.diff_id for stack in stacks for layer in stack):
            path = self._env.store.toc_path(diff_id)
            try:
                claim = known.get(diff_id)
                if (claim and self._now - claim.shared < DAY) or path.stat().st_size > TOC_LIMIT:
                    continue
                facts, blob = Toc.open(path).facts(), self._packed(diff_id)
            except (OSError, CacheError):
                continue
            yield diff_id, Claim(blob, facts, self._now)

    def _packed(self, diff_id: DiffID) -> Descriptor:
        engine, store = zlib.compressobj(6), self._env.store
        with open(store.toc_path(diff_id), "rb") as source, store.blobs.writer() as writer:
            while chunk := source.read(CHUNK):
                writer.write(engine.compress(chunk))
            writer.write(engine.flush())
            size = writer.size
            return Descriptor(media_type=TOC_TYPE, digest=writer.commit(), size=size)


def _is_known(record: Record, known: Iterable[Record], *, made: bool) -> bool:
    """Say whether a cache has a result under all keys of ``record``, in the same form, and not for too long.

    Another result under these keys counts as well, unless ours was ``made`` by this build: two machines that have
    different ones must not take turns in replacing them.
    """
    keys = {
        key
        for one in known
        if (not made or one.diff_id == record.diff_id)
        and _form(one) == _form(record)
        and record.shared - one.shared < DAY
        for key in one.keys
    }
    return keys.issuperset(record.keys)


def _all_keys(record: Record, task: Task) -> tuple[Key, ...]:
    """Return all keys of a result that was found under one of them, where that fetches nothing."""
    if not isinstance(task.vertex.operation, CopyFiles):
        return record.keys
    if not all(layer.indexed() and not layer.claimed for layer in task.parent):
        return record.keys
    if not all(layer.here() and not layer.claimed for stack in task.sources for layer in stack):
        return record.keys
    try:
        return tuple(dict.fromkeys((*record.keys, *(one.key for one in task.identities()))))
    except BuilderError:
        return record.keys


def _form(record: Record) -> str:
    return "" if record.layer is None else record.layer.media_type


@dataclass(frozen=True, slots=True)
class _Stored:
    """A blob of the store."""

    store: Store
    descriptor: Descriptor
    diff_id: DiffID

    def open(self) -> BinaryIO:
        return self.store.blobs.open(self.descriptor.digest)


def publish(
    place: Place,
    prefix: str,
    mine: Exchange,
    before: Entries,
    layers: Mapping[Digest, Layer],
    origins: Mapping[Digest, Reference],
) -> EntryTag:
    """Write an entry and return its tag; and one that includes all there were ``before`` if these are too many."""
    root, found = documents(mine)
    now = int(time.time())
    tag = EntryTag.of(prefix, root, now, merged=False)
    parts = Parts(where="the cache", documents=found, layers=layers, origins=origins)
    place.write(Artifact.of(parts, root), str(tag), ())
    if len(before.loose) >= MERGE_AT and not _is_merging(place, prefix, before):
        after = replace(before, exchange=merged([mine, before.exchange]), tags=(tag, *before.tags))
        write_merged(place, prefix, after, now)
    return tag


def _is_merging(place: Place, prefix: str, before: Entries) -> bool:
    """Say whether somebody else has merged since: one of many that finish at once will do."""
    return any(tag.merged and str(tag) not in before.names for tag in entry_tags(prefix, place.tags()))


# --- keeping it small


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went away of a shared cache: ``entries`` with their tags, ``records`` in them; ``kept`` records are left.

    ``written`` is the tag of the entry that has those, empty where none had to be written.
    """

    entries: int
    records: int
    kept: int
    written: str = ""


def prune_remote(reference: str, max_age: float, env: Environment, *, dry_run: bool = False) -> Pruned:
    """Remove what nobody used for ``max_age`` seconds from the cache ``REPOSITORY[:PREFIX]`` of a registry.

    What is still of use is written into one entry first; entries that are older than ``max_age`` and included in it are
    then deleted. Raises UsageError, RegistryError, also where the registry lets nobody delete.
    """
    where = registry_place(reference)
    place = RegistryPlace(where, env.store, env.registry, env.reporter)
    before = _reader(where, place, env.store, env.reporter).read()
    now = int(time.time())
    oldest = now - int(max_age)
    kept = before.exchange.since(oldest)
    gone = len(before.exchange.records) - len(kept.records)
    old = [tag for tag in before.tags if tag.written < oldest]
    if not gone and (not old or len(before.tags) == 1):
        return Pruned(0, 0, len(kept.records))
    written = ""
    if not dry_run:
        if kept.records or len(old) < len(before.tags):
            written = str(write_merged(place, where.prefix, replace(before, exchange=kept), now))
        for tag in old:
            place.delete(tag)
    return Pruned(len(old), gone, len(kept.records), written)


def write_merged(place: Place, prefix: str, entries: Entries, now: int) -> EntryTag:
    """Write an entry that includes all there are; what they name and is gone is left out."""
    exchange = merged([entries.exchange], map(str, entries.tags))
    try:
        return _write_union(place, prefix, exchange, now)
    except RegistryError as error:
        if error.retryable or not 400 <= error.status < 500 or error.status in (401, 403):
            raise
        # A manifest is refused when a blob it names is gone.
        blobs = list({one.digest: one for one in exchange.blobs()}.values())
        there = in_parallel(place.has, blobs)
        lost = frozenset(one.digest for one, found in zip(blobs, there, strict=True) if not found)
        if not lost:
            raise
        return _write_union(place, prefix, exchange.without(lost), now)


def _write_union(place: Place, prefix: str, exchange: Exchange, now: int) -> EntryTag:
    root, found = documents(exchange)
    tag = EntryTag.of(prefix, root, now, merged=True)
    held = frozenset(one.digest for one in exchange.blobs())
    place.write(Artifact.of(Parts(where="the cache", documents=found), root), str(tag), held)
    return tag

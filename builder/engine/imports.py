"""Results of others in a build: looked up where the store has none, believed by this build only.

Who can write a cache can write the images of builds that name it. Three rules keep it at that:

- What a source says is never recorded among the store's own results, and serves no build that does not name it.
- A table of contents that a source claims takes the place of bytes that are not here. What is computed from it is kept
  under the source (cache.imported), and of two sources under none.
- When a layer's bytes pass, they are compared with every claim about it. One that is wrong takes its source with all
  its records out of the build, which is then done again without it.

A source that is broken, unreachable or hostile costs one warning and time, never a build.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from builder.cache.exchange import Claim, Record, index_of
from builder.cache.imported import Imported
from builder.cache.keys import Key
from builder.cache.selectors import Selectors
from builder.cache.store import Store
from builder.engine.arrivals import SharedLayer, claimed_toc
from builder.engine.layers import LayerStack, SharedCacheError, StoreLayer
from builder.engine.packing import known_forms, stored_layer
from builder.engine.places import Entries, Place, in_parallel
from builder.errors import CacheError, ContextError, ImageError
from builder.events import Reporter, Warned
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID, Digest
from builder.registry.errors import RegistryError
from builder.rootfs.coding import Coding
from builder.rootfs.toc import Toc
from builder.values import dataclass, field

COMPARED = 16 << 20
"""Bytes of a table of contents of a base that is compared with claims although its layer's bytes do not pass."""

PATIENCE = 8
"""Times a build is begun again for what a source does not hold, before the source is given up."""


@dataclass(frozen=True, slots=True)
class Found:
    """A result of ``source``; ``layer`` is None where the operation adds none."""

    layer: StoreLayer | None
    created: int
    source: str


@dataclass(slots=True)
class Source:
    """One cache that a build names, and what it says once that was asked for."""

    name: str
    place: Place
    imported: Imported
    read: Callable[[], Entries]
    dropped: bool = False
    entries: Entries | None = None
    records: Mapping[Key, Sequence[Record]] = field(default_factory=dict)
    lost: frozenset[Digest] = frozenset()
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def claims(self) -> Mapping[DiffID, Claim]:
        """What it says layers hold, as far as it was asked."""
        return {} if self.entries is None or self.dropped else self.entries.exchange.claims


class Imports:
    """The sources of a build. Thread-safe but for ``drop``, which is called when nothing runs."""

    def __init__(self, sources: Sequence[Source], store: Store, reporter: Reporter) -> None:
        self._sources = sources
        self._store = store
        self._reporter = reporter
        self._lock = threading.Lock()
        self._offered: list[StoreLayer] = []
        self._claimants: dict[DiffID, str] = {}
        self._remote: dict[tuple[DiffID, Digest], tuple[StoreLayer, str]] = {}
        self._failures = 0

    # --- results

    def find(self, key: Key, coding: Coding) -> Found | None:
        """Return what the first source that knows ``key`` says; it is asked now if it was not before.

        Raises SharedCacheError for a layer that turns out to be another.
        """
        for source in self._active():
            own = source.imported.selectors.find(key)
            if own is not None:
                layer = None if own.diff_id is None else stored_layer(self._store, own.diff_id, coding)
                if layer is not None or own.diff_id is None:
                    return Found(layer, own.created, source.name)
            self._load(source)
            records = [
                one
                for one in source.records.get(key, ())
                if not source.dropped and (one.layer is None or one.layer.digest not in source.lost)
            ]
            if records:
                chosen = next((one for one in records if coding.made(one.compressor)), records[0])
                return self._found(source, chosen, coding)
        return None

    def _found(self, source: Source, record: Record, coding: Coding) -> Found:
        if record.diff_id is None or record.layer is None:
            return Found(None, record.created, source.name)
        layer = self._layer(source, record.diff_id, record.layer, record.compressor, coding)
        return Found(layer, record.created, source.name)

    def _layer(
        self, source: Source, diff_id: DiffID, descriptor: Descriptor, compressor: str, coding: Coding
    ) -> StoreLayer:
        """Return a layer of a source, with the bytes that the store has for it already, if any."""
        for form in known_forms(self._store, diff_id):
            if coding.made(form.compressor):
                return form
        with self._lock:
            known = self._remote.get((diff_id, descriptor.digest))
        if known is not None:
            return known[0]
        remote = SharedLayer(self._store, source.name, source.place, descriptor, diff_id)
        if self._store.blobs.contains(descriptor.digest, descriptor.size):
            # Brought by somebody else, and perhaps as another layer.
            remote.confirm()
        layer = StoreLayer(
            self._store,
            diff_id,
            descriptor,
            source=remote,
            origin=source.place.origin,
            compressor=compressor,
            shared=True,
        )
        layer.believe(self)
        with self._lock:
            return self._remote.setdefault((diff_id, descriptor.digest), (layer, source.name))[0]

    def confirm(self, stack: Iterable[StoreLayer]) -> None:
        """Ask whether the layers of an image that are not here are still there. Raises SharedCacheError."""
        wanted = {(layer.diff_id, layer.descriptor.digest): layer for layer in stack if not layer.here()}
        for source in self._active():
            mine = [layer.descriptor for key, layer in wanted.items() if self._owner(key) == source.name]
            try:
                there = in_parallel(source.place.has, mine)
            except (RegistryError, ImageError) as error:
                raise SharedCacheError(source.name, error.message) from error
            lost = frozenset(one.digest for one, found in zip(mine, there, strict=True) if not found)
            if lost:
                raise SharedCacheError(source.name, f"{len(lost)} of its layers are gone", lost=lost)

    def _owner(self, key: tuple[DiffID, Digest]) -> str:
        known = self._remote.get(key)
        return "" if known is None else known[1]

    # --- tables of contents

    def offer(self, stack: LayerStack) -> None:
        """Let the tables of contents of a base come from the sources."""
        with self._lock:
            self._offered += stack
        for layer in stack:
            layer.believe(self)

    def table(self, diff_id: DiffID) -> Toc | None:
        """Return what the first source that knows it says a layer holds. Raises SharedCacheError if it fails to."""
        for source in self._active():
            self._load(source)
            claim = source.claims.get(diff_id)
            if claim is None:
                continue
            try:
                toc = claimed_toc(self._store, source.place, source.imported, diff_id, claim)
            except (RegistryError, ImageError, ContextError) as error:
                if isinstance(error, RegistryError) and error.retryable:
                    raise SharedCacheError(source.name, error.message) from error
                self._warn(f"the cache {source.name}: {error.message}")
                continue
            with self._lock:
                self._claimants[diff_id] = source.name
            return toc
        return None

    def known(self, diff_id: DiffID) -> bool:
        """Say whether a source that was asked says something about a layer."""
        return any(diff_id in source.claims for source in self._active())

    def check(self, diff_id: DiffID, found: Toc, believed: Toc | None) -> None:
        """Compare with every claim about a layer. Raises SharedCacheError for the first that is wrong."""
        facts = found.facts()
        wrong = [self._claimants.get(diff_id, "")] if believed is not None and believed.facts() != facts else []
        for source in self._active():
            claim = source.claims.get(diff_id)
            if claim is not None and claim.facts != facts:
                wrong.append(source.name)
        if wrong:
            raise _lie(wrong[0], diff_id)

    def selectors(self, stacks: Iterable[LayerStack]) -> tuple[Selectors | None, str]:
        """Return where a result that was computed from ``stacks`` is recorded, and the source it depends on.

        One that depends on claims of several sources is recorded nowhere.
        """
        names = {self._claimants.get(layer.diff_id, "") for stack in stacks for layer in stack if layer.claimed}
        if not names:
            return self._store.selectors, ""
        found = next((one for one in self._sources if names == {one.name}), None)
        return (None, "several caches") if found is None else (found.imported.selectors, found.name)

    def doubt(self, stacks: Iterable[LayerStack]) -> None:
        """Fetch what was claimed only, because something failed. Raises SharedCacheError if a claim is to blame."""
        for layer in {id(layer): layer for stack in stacks for layer in stack if layer.claimed}.values():
            layer.path()

    # --- sources

    def drop(self, error: SharedCacheError) -> None:
        """Go on without what turned out to be wrong or gone, and say so."""
        self._failures += 1
        named = [one for one in self._active() if one.name == error.source]
        for source in named or self._active():
            if error.lost and self._failures < PATIENCE:
                source.lost |= error.lost
            else:
                source.dropped = True
                if error.lies:
                    tags = () if source.entries is None else source.entries.tags
                    source.imported.distrust(map(str, tags))
            self._warn(f"{error.message}; going on without")
        with self._lock:
            layers, self._remote = [*self._offered, *(layer for layer, _ in self._remote.values())], {}
        for layer in layers:
            layer.believe(self)

    def entries(self, name: str) -> Entries | None:
        """Return what a source was found to say, None if it was not asked."""
        return next((one.entries for one in self._sources if one.name == name and not one.dropped), None)

    def about(self) -> Iterator[tuple[Place, Descriptor]]:
        """Yield where the sources that were asked keep what their keys are made of."""
        for source in self._active():
            if source.entries is not None:
                yield from ((source.place, one) for one in source.entries.exchange.about)

    def _active(self) -> list[Source]:
        return [source for source in self._sources if not source.dropped]

    def _load(self, source: Source) -> None:
        with source.lock:
            if source.entries is not None or source.dropped:
                return
            try:
                entries = source.read()
            except (RegistryError, ImageError, ContextError, CacheError) as error:
                source.dropped = True
                self._warn(f"the cache {source.name} cannot be read: {error.message}; going on without")
                return
            source.records = index_of(entries.exchange)
            source.entries = entries
            source.imported.touch()
        with self._lock:
            offered = {layer.diff_id for layer in self._offered}
        for diff_id in offered:
            self._compare(source, diff_id)

    def _compare(self, source: Source, diff_id: DiffID) -> None:
        """Compare a claim with what this store has seen for itself. Raises SharedCacheError."""
        claim, path = source.claims.get(diff_id), self._store.toc_path(diff_id)
        try:
            if claim is None or path.stat().st_size > COMPARED:
                return
            seen = Toc.open(path)
        except (OSError, CacheError):
            return
        if seen.diff_id == diff_id and seen.facts() != claim.facts:
            raise _lie(source.name, diff_id)

    def _warn(self, message: str) -> None:
        self._reporter.emit(Warned(message, "cache"))


def _lie(source: str, diff_id: DiffID) -> SharedCacheError:
    return SharedCacheError(source, f"it says something wrong about the layer {diff_id}", lies=True)

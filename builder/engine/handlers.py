"""One vertex: look its result up under its keys, or execute it once and record it under all of them.

Two functions over the closed union of operations, no handler classes (design). First writer wins; whoever comes second
goes on with the winner's layer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import assert_never

from builder.cache.blobs import UnreadableBlobError
from builder.cache.keys import Identity, Key
from builder.cache.selectors import Selector, Selectors
from builder.engine.copies import CopyWork, make_directory
from builder.engine.healing import healing, lost_layers
from builder.engine.keys import directory_identity, flat_identity, levelled, run_identity
from builder.engine.layers import LayerStack, LostLayersError, StoreLayer, stack_id
from builder.engine.packing import stored_layer
from builder.engine.services import Services
from builder.errors import BuilderError, ImageError, InterruptedBuildError
from builder.events import Notice
from builder.plan.graph import BaseImage, ContextOrigin, CopyFiles, MakeDirectory, RunCommand, StageOrigin, Vertex
from builder.rootfs.entry import ContentChangedError
from builder.values import dataclass, replace


@dataclass(frozen=True, slots=True)
class Result:
    """A vertex's file system. ``added`` says whether it has a layer of its own; ``created`` is in unix seconds.

    ``keys`` are those it is known to have. ``source`` is the shared cache it depends on, empty for a result of this
    store's own: it was ``borrowed`` there, or computed from what that claims. ``made`` says that it was executed just
    now.
    """

    stack: LayerStack
    added: bool
    created: int
    keys: tuple[Key, ...] = ()
    source: str = ""
    made: bool = False
    borrowed: bool = False


@dataclass(slots=True)
class Task:
    """A vertex whose inputs are complete. ``below`` is the image from elsewhere that it lies on.

    ``reason`` says after its execution why it was executed, as far as that is known.
    """

    vertex: Vertex
    parent: LayerStack
    sources: Sequence[LayerStack]
    services: Services
    below: BaseImage | None = None
    reason: str = ""
    _kept: CopyWork | None = None
    _sketch: Key | None = None

    def find(self) -> Result | None:
        """Return the recorded result, None where the vertex has to be executed. Raises LostLayersError."""
        operation = self.vertex.operation
        if isinstance(operation, BaseImage):
            layers = self.services.bases.resolve(operation.source).layers
            if self.services.imports is not None:
                self.services.imports.offer(layers)
            return Result(layers, added=False, created=0)
        if self.fresh:
            return None
        with self._doubting(), healing(self.services.store, self._layers), self._work() as work:
            if self._never_seen(work):
                return None
            found = self._lookup(one.key for one in self._identities(work))
            if found is None and isinstance(operation, RunCommand) and self.services.sandbox.surely_single:
                found = self._lookup(one.key for one in self._flat(operation, self._identities(work)))
            return found

    @contextlib.contextmanager
    def _doubting(self) -> Iterator[None]:
        """Look whether somebody's claims are to blame for a failure. Raises SharedCacheError then."""
        try:
            yield
        except (ContentChangedError, InterruptedBuildError, LostLayersError):
            raise
        except BuilderError:
            if self.services.imports is not None:
                self.services.imports.doubt((self.parent, *self.sources))
            raise

    @property
    def fresh(self) -> bool:
        """Whether it is to be executed whatever is recorded."""
        return self.services.no_cache or self.vertex.fresh

    def identities(self) -> list[Identity]:
        """Return what its results are recorded under. Raises what looking at its files raises."""
        operation = self.vertex.operation
        with self._work() as work:
            found = list(self._identities(work))
        if isinstance(operation, RunCommand) and self.services.sandbox.surely_single:
            return list(self._flat(operation, found))
        return found

    def execute(self) -> Result:
        """Do the work and record it, unless another process does it first.

        Raises what the operation raises, LostLayersError for damaged layers that nobody else has.
        """
        for last in (False, True):
            try:
                with self._doubting():
                    return self._execute()
            except ContentChangedError:
                # A file changed between hashing and packing: look again, once.
                operation = self.vertex.operation
                if last or not isinstance(operation, CopyFiles) or not isinstance(operation.origin, ContextOrigin):
                    raise
                self.services.contexts.refresh(operation.origin.name)
                self._sketch = None
            except (ImageError, UnreadableBlobError) as error:
                self._kept = None
                lost = lost_layers(self.services.store, self._layers())
                if not lost:
                    raise
                if last or not all(one.available() for one in self._layers()):
                    raise LostLayersError(lost) from error
        raise AssertionError("the loop returns or raises")

    def _layers(self) -> Iterator[StoreLayer]:
        yield from self.parent
        for stack in self.sources:
            yield from stack

    def _never_seen(self, work: CopyWork | None) -> bool:
        """Say whether so many files are copied, and their like never was here, that they are read once only."""
        services = self.services
        # Who only looks is to hear of a result without a sketch too, and reads the files to compare them anyway.
        if work is None or services.imports is not None or not services.recording or not work.is_much_unread():
            return False
        self._sketch = sketch = work.sketch()
        return sketch is not None and services.store.selectors.find(sketch) is None

    def _execute(self) -> Result:
        with self._work() as work:
            if work is None:
                return self._in_turn(work)
            self._sketch = self._sketch or work.sketch()
            made = self._at_once(work, self._sketch) if self._sketch is not None and work.is_much_unread() else None
            return self._in_turn(work) if made is None else made

    def _at_once(self, work: CopyWork, sketch: Key) -> Result | None:
        """Read, hash and pack what is copied in one go; None where the result may be here."""
        selectors = self.services.store.selectors
        if not self.fresh and self.services.imports is not None:
            return None
        with self._lock(work.unread(sketch)):
            if not self.fresh and selectors.find(sketch) is not None:
                return None
            layer = work.execute(unseen=True)
            identities = list(self._identities(work))
            known = [one.key for one in identities]
            with self._lock(known[-1]):
                if not self.fresh and (found := self._lookup(iter(known))) is not None:
                    # An older store did not record sketches.
                    selectors.record(sketch, Selector(found.stack[-1].diff_id if found.added else None, found.created))
                    return found
                result = self._record(known, layer)
        self._remember(identities)
        return result

    def _in_turn(self, work: CopyWork | None) -> Result:
        """Hash what there is to hash, look once more, then do the work."""
        identities = list(self._identities(work))
        operation = self.vertex.operation
        if isinstance(operation, RunCommand) and self.services.sandbox.get().mode == "single":
            identities = list(self._flat(operation, identities))
        known = [one.key for one in identities]
        with self._lock(known[-1]):
            if not self.fresh and (found := self._lookup(iter(known))) is not None:
                return found
            result = self._record(known, self._perform(work))
        self._remember(identities)
        return result

    def _lock(self, key: Key) -> contextlib.AbstractContextManager[None]:
        return self.services.store.lock(key, cancel=self.services.cancel, waiting=self._say_waiting)

    def _remember(self, identities: Sequence[Identity]) -> None:
        from builder.engine.comparing import remember

        self.reason = remember(self.vertex, identities, self.services, self.below)

    def _flat(self, operation: RunCommand, exact: Iterable[Identity]) -> Iterator[Identity]:
        ignored = bool(operation.user) and self.services.sandbox.ignore_user
        return (flat_identity(one, ignored=ignored) for one in exact)

    def _say_waiting(self) -> None:
        name = self.vertex.name
        self.services.reporter.emit(Notice(f"{name}: another build is doing the same; waiting for its result"))

    def _work(self) -> contextlib.AbstractContextManager[CopyWork | None]:
        operation = self.vertex.operation
        if not isinstance(operation, CopyFiles):
            return contextlib.nullcontext()
        vertex = self.vertex
        work = self._kept or CopyWork(operation, self.parent, self.sources, self.services, vertex.span, vertex.name)
        if isinstance(operation.origin, StageOrigin):
            self._kept = work  # what was read to find it need not be read again to make it
        return work

    def _identities(self, work: CopyWork | None) -> Iterator[Identity]:
        return (levelled(one, self.services.level) for one in self._exact(work))

    def _exact(self, work: CopyWork | None) -> Iterator[Identity]:
        operation, services = self.vertex.operation, self.services
        match operation:
            case CopyFiles() if work is not None:
                yield from work.identities()
            case MakeDirectory():
                yield directory_identity(operation, stack_id(self.parent), services.times)
            case RunCommand():
                stacks = [stack_id(one) for one in self.sources]
                yield run_identity(operation, stack_id(self.parent), stacks, services.times)

    def _lookup(self, candidates: Iterator[Key]) -> Result | None:
        missed: list[Key] = []
        for key in candidates:
            selector = self.services.store.selectors.find(key)
            result = None if selector is None else self._result(selector)
            if selector is None or result is None:
                missed.append(key)
                if (shared := self._shared(missed)) is not None:
                    return shared
                continue
            selectors, source = self._recording()
            if selectors is not None and self.services.recording:
                for other in missed:
                    selectors.record(other, selector)
            return replace(result, keys=(*missed, key), source=source)
        return None

    def _shared(self, keys: Sequence[Key]) -> Result | None:
        """Return what a shared cache knows of the last key. Nothing is recorded: it serves builds that name it."""
        imports = self.services.imports
        found = None if imports is None else imports.find(keys[-1], self.services.coding)
        if found is None:
            return None
        _, claimant = self._recording()
        source = found.source if claimant in ("", found.source) else f"{claimant}, {found.source}"
        stack = self.parent if found.layer is None else (*self.parent, found.layer)
        return Result(stack, found.layer is not None, found.created, tuple(keys), source, borrowed=True)

    def settle(self, result: Result) -> Result:
        """Record as this store's own what was computed from claims, if these have turned out to be true meanwhile."""
        if not result.source or result.borrowed or self._recording()[1]:
            return result
        if result.made and self.services.recording:
            selector = Selector(result.stack[-1].diff_id if result.added else None, result.created)
            for key in result.keys:
                if self.fresh:
                    self.services.store.selectors.forget(key)
                self.services.store.selectors.record(key, selector)
        return replace(result, source="")

    def _recording(self) -> tuple[Selectors | None, str]:
        """Return where results are recorded, and the shared cache whose claims they depend on."""
        imports = self.services.imports
        if imports is None:
            return self.services.store.selectors, ""
        return imports.selectors((self.parent, *self.sources))

    def _result(self, selector: Selector) -> Result | None:
        if selector.diff_id is None:
            return Result(self.parent, added=False, created=selector.created)
        layer = stored_layer(self.services.store, selector.diff_id, self.services.coding)
        return None if layer is None else Result((*self.parent, layer), added=True, created=selector.created)

    def _perform(self, work: CopyWork | None) -> StoreLayer | None:
        operation = self.vertex.operation
        if work is not None:
            return work.execute()
        match operation:
            case MakeDirectory():
                return make_directory(self.vertex.name, operation, self.parent, self.services)
            case RunCommand():
                from builder.engine.runs import run_command

                return run_command(self.vertex, operation, self.parent, self.sources, self.services)
            case BaseImage() | CopyFiles():
                raise AssertionError(f"not executed here: {operation}")
            case _:
                assert_never(operation)

    def _record(self, known: Sequence[Key], layer: StoreLayer | None) -> Result:
        created, (selectors, source) = self.services.times.fresh(), self._recording()
        mine = winner = Selector(None if layer is None else layer.diff_id, created)
        if selectors is not None:
            for key in known:
                if self.fresh or selectors.find(key) is not None:
                    # Either its layer is gone, or it was asked not to count: ours takes its place.
                    selectors.forget(key)
            winner = selectors.record(known[-1], mine)
            for key in known[:-1]:
                selectors.record(key, winner)
            if self._sketch is not None:
                selectors.record(self._sketch, winner)
        if winner.diff_id != mine.diff_id and (adopted := self._result(winner)) is not None:
            return replace(adopted, keys=tuple(known), source=source)
        stack = self.parent if layer is None else (*self.parent, layer)
        return Result(stack, layer is not None, winner.created, tuple(known), source, made=True)

"""Looking after the store: what it holds and which names keep what, pruning on demand, and trimming now and then.

Images that were built, loaded or tagged here stay whole as long as they have their names. What registries gave stays
for a week after a build or command used its name; after that it is as good as any other part of the cache.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from builder.cache.prune import Limits, Pruned, choose, remove_all, unused_since
from builder.cache.refs import RefRecord
from builder.cache.store import Store
from builder.cache.usage import Item, Named, everything, total
from builder.engine.sandboxes import LazySandbox
from builder.errors import BuilderError
from builder.events import Reporter, SilentReporter
from builder.images.listing import reachable
from builder.rootfs.measure import allocated
from builder.values import dataclass

KEPT = 7 * 86400.0
"""Seconds for which what a registry gave is kept after its name was used last."""


@dataclass(frozen=True, slots=True)
class _Name:
    record: RefRecord
    used: float
    path: Path


class Tidying:
    """A look at a store, and what follows from it. Ask ``items`` again after removing."""

    def __init__(self, store: Store, reporter: Reporter | None = None, *, thorough: bool = True) -> None:
        """``thorough``: files of other users are measured too, for which a sandbox may have to be started."""
        self._store = store
        self._thorough = thorough
        self._sandbox = LazySandbox(store, "auto", "auto", reporter or SilentReporter())

    def close(self) -> None:
        """End what was started."""
        self._sandbox.close()

    @property
    def root(self) -> Path:
        """The store's directory."""
        return self._store.root

    def removable(self, items: Iterable[Item]) -> list[Item]:
        """Return those of ``items`` that could be removed now, names left alone."""
        return choose(items, Limits(), unused_since(self._store), time.time())

    def items(self) -> list[Item]:
        """Return everything in the store."""
        return self._items(self._kept(time.time()))

    def prune(
        self,
        limits: Limits,
        *,
        names: bool = False,
        act: bool = True,
        spared: float | None = None,
        go_on: Callable[[], bool] = lambda: True,
    ) -> Pruned:
        """Remove what exceeds the limits, and with ``names`` images as well, each as a whole, the oldest first.

        Without ``act`` it is only said what would be removed; ``spared`` are seconds within which what was used stays.
        What is not removed when ``go_on`` says no is left for later.
        """
        now = time.time()
        before = unused_since(self._store)
        if spared is not None:
            before = min(before, now - spared)
        kept = self._kept(now)
        items = self._items(kept)
        chosen = choose(items, limits, before, now)
        for name in sorted(kept, key=lambda one: one.used) if names else ():
            if name.used >= before or not _exceeded(items, chosen, limits, name.used, now):
                break
            kept.remove(name)
            items = self._items(kept)
            chosen = choose(items, limits, before, now)
        if not act:
            return Pruned(removed=chosen)
        done = remove_all(self._store, chosen, before, go_on)
        self._delete(done.left)
        return done

    def _kept(self, now: float) -> list[_Name]:
        return [one for one in self._names() if one.record.built_here or one.used >= now - KEPT]

    def _names(self) -> Iterator[_Name]:
        for record in self._store.refs.records():
            path = self._store.refs.path(record)
            try:
                yield _Name(record, os.lstat(path).st_mtime, path)
            except OSError:
                continue

    def _items(self, kept: list[_Name]) -> list[Item]:
        blobs = {digest.hex for one in kept for digest in reachable(self._store, one.record.descriptor)}
        named = Named(frozenset(blobs), frozenset(one.path for one in kept))
        return list(everything(self._store.root, named, self._measure))

    def _measure(self, tree: Path) -> int:
        hidden: list[str] = []
        size = allocated(tree, hidden.append)
        if not hidden or not self._thorough:
            return size
        try:
            return self._sandbox.get().measure([tree])[0]
        except BuilderError:
            return size

    def _delete(self, trees: list[Path]) -> None:
        """Delete what has files of other users, for which we would need rights that only the sandbox has."""
        if not trees:
            return
        try:
            self._sandbox.get().delete(trees)
        except BuilderError as error:
            self._store.warn(f"cannot remove {trees[0]}: {error.message}")
            return
        left = [tree for tree in trees if os.path.lexists(tree)]
        if left:
            self._store.warn(f"cannot remove {left[0]}: it has files of users that are not ours here")


def _exceeded(items: list[Item], chosen: list[Item], limits: Limits, used: float, now: float) -> bool:
    """Say whether more has to go than was chosen, so that the name that was last used then must give way."""
    if limits.size is None and limits.age is None:
        return True
    if limits.age is not None and used < now - limits.age:
        return True
    counted = (one for one in items if one.kind in limits.kinds)
    return limits.size is not None and total(counted) - total(chosen) > limits.size

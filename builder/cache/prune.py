"""Removing what a store can do without: which items, in which order, and how, while builds go on.

Never removed is what a running process may use, whose lease says since when it runs, and what names keep. A kill at any
instant leaves less in the store and nothing broken: whatever is missing is made or fetched again.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from builder.cache.lastuse import MARGIN
from builder.cache.locks import try_lock
from builder.cache.sealed import discard
from builder.cache.store import Store
from builder.cache.usage import GONE, KINDS, Item, Kind, total
from builder.rootfs.rooted import remove_tree
from builder.values import dataclass, field

VOLATILE: frozenset[Kind] = frozenset({"parsed", "stat", "http", "record", "log"})
"""What is cheap to have again, and goes first when it was not used for two days."""

_VOLATILE_AGE = 48 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may stay: items of at most ``size`` bytes together, that were used less than ``age`` seconds ago.

    With neither nothing may. Only items of ``kinds`` are looked at.
    """

    size: int | None = None
    age: float | None = None
    kinds: frozenset[Kind] = frozenset(KINDS)


@dataclass(slots=True)
class Pruned:
    """What was removed, what is in use after all, and trees of which something is left for who may remove it."""

    removed: list[Item] = field(default_factory=list)
    busy: list[Item] = field(default_factory=list)
    left: list[Path] = field(default_factory=list)

    @property
    def size(self) -> int:
        """The bytes that are free now."""
        return total(self.removed)


def unused_since(store: Store) -> float:
    """Return the time, in unix seconds, before which whatever was used last is used by no running process."""
    began = store.others_began()
    return time.time() + MARGIN if began is None else began - MARGIN


def choose(items: Iterable[Item], limits: Limits, before: float, now: float) -> list[Item]:
    """Return the items to remove, in order; ``before`` is what ``unused_since`` returned."""
    counted = [one for one in items if one.kind in limits.kinds]
    free = [one for one in counted if one.used < before and not one.named and one.kind != "temporary"]
    free.sort(key=lambda one: (one.used, one.kind, one.name))
    if limits.size is None and limits.age is None:
        return free
    oldest = None if limits.age is None else now - limits.age
    chosen = [one for one in free if oldest is not None and one.used < oldest]
    if limits.size is None:
        return chosen
    rest = free[len(chosen) :]
    rest.sort(key=lambda one: not (one.kind in VOLATILE and one.used < now - _VOLATILE_AGE))
    over = total(counted) - total(chosen) - limits.size
    for one in rest:
        if over <= 0:
            break
        chosen.append(one)
        over -= one.size
    return chosen


def remove_all(store: Store, items: Sequence[Item], before: float, go_on: Callable[[], bool] = lambda: True) -> Pruned:
    """Remove items unless they were used since ``before``, as long as ``go_on`` says so."""
    done = Pruned()
    for item in items:
        if not go_on():
            break
        try:
            gone = _remove_tree(store, item, before, done) if _is_tree(item) else _remove_file(store, item, before)
        except OSError as error:
            store.warn(f"cannot remove {item.path}: {error.strerror}")
            gone = False
        (done.removed if gone else done.busy).append(item)
    return done


def _is_tree(item: Item) -> bool:
    return item.kind in ("unpacked", "mount", "imported")


def _remove_file(store: Store, item: Item, before: float) -> bool:
    with store.removing(item.witness, before) as unused:
        if unused:
            os.unlink(item.path)
    if unused and item.path.parent.parent == store.root / "variants":
        # One of every layer there ever was; the others are few.
        with contextlib.suppress(OSError):
            os.rmdir(item.path.parent)
    return unused


def _remove_tree(store: Store, item: Item, before: float, done: Pruned) -> bool:
    """Take a tree out of the way in one step, then remove it in as many as it needs."""
    gone = item.path
    if not gone.name.startswith(GONE):
        moved = _moved_away(store, item, before)
        if moved is None:
            return False
        gone = moved
    remove_tree(gone)
    if os.path.lexists(gone):
        done.left.append(gone)
    if item.kind == "mount":
        _remove_home(item.path.parent)
    return True


def _moved_away(store: Store, item: Item, before: float) -> Path | None:
    lock = None
    if item.kind != "imported":
        try:
            lock = try_lock(item.witness, create=False)
        except FileNotFoundError:
            return None
        if lock is None:
            return None
    try:
        with store.removing(item.witness, before) as unused:
            if not unused:
                return None
            # In the same directory: only its owner may move a directory to another one.
            gone = item.path.with_name(f"{GONE}{os.urandom(8).hex()}")
            os.rename(item.path, gone)
        if item.kind != "imported":
            discard(item.witness)
        return gone
    finally:
        if lock is not None:
            os.close(lock)


def _remove_home(home: Path) -> None:
    """Remove the directory of a cache mount's instances with the last of them."""
    from builder.cache.cachemounts import MOUNT_ID

    try:
        if os.listdir(home) == [MOUNT_ID]:
            discard(home / MOUNT_ID)
            os.rmdir(home)
    except OSError:
        pass  # somebody is making a new one

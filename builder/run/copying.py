"""Steps in plain trees, for where no file system can be mounted (run-sandbox.md 3 and 5). Worker side.

A tree is made of the unpacked layers once, and then goes from step to step: what a step has left is what the next one
on the same layers starts from. Which files changed is ``run.scan``'s business, how layers are applied ``run.flat``'s.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.rootfs.rooted import DIRECTORY, remove_tree
from builder.run.flat import Copier, apply
from builder.run.layers import Layers
from builder.run.scan import Changes, Table, scan, settle
from builder.run.snapshots import OverlaySnapshot, layer_name
from builder.values import dataclass

if TYPE_CHECKING:
    from builder.rootfs.pack import Item, Packed

_KEPT_TREES = 4  # each is a whole root file system; stages that take turns have one each


@dataclass(frozen=True, slots=True)
class KeptTree:
    """A tree, the unpacked layers it shows, and its state."""

    stack: tuple[Path, ...]
    tree: Path
    table: Table


class CopySnapshotter:
    """Plain trees, for where nothing can be mounted: slow to make, so the ones that steps have left are used again."""

    def __init__(self, layers: Layers, *, single: bool, devices: bool = True) -> None:
        """``single``: owners are the recorded ones; ``devices``: trees have the layers' device nodes."""
        self._layers = layers
        self._copier = Copier(single, devices)
        self._mutex = threading.Lock()
        self._kept: dict[tuple[Path, ...], KeptTree] = {}

    def begin(self, scratch: Path, lowers: Sequence[Path]) -> CopySnapshot:
        """See :class:`Snapshotter`."""
        os.mkdir(scratch / "m")
        kept = self._take(tuple(lowers)) or KeptTree((), self._layers.temporary(), {})
        try:
            if kept.stack != tuple(lowers) or not kept.table:
                self._apply(kept.tree, lowers[len(kept.stack) :])
                kept = KeptTree(tuple(lowers), kept.tree, scan(str(kept.tree)))
        except BaseException:
            remove_tree(kept.tree)
            raise
        settle(kept.table)
        return CopySnapshot(self, scratch, kept)

    def shadow(self, base: Path, lowers: Sequence[Path]) -> dict[str, Any]:
        """See :class:`Snapshotter`."""
        self._apply(base / "m", lowers)
        return {"base": os.fsencode(base), "tree": os.fsencode(base / "m")}

    def keep(self, kept: KeptTree) -> None:
        """Take a tree for later steps on its stack; the one that was not used for longest makes room."""
        with self._mutex:
            spare = self._kept.pop(kept.stack, None)
            self._kept[kept.stack] = kept
            if spare is None and len(self._kept) > _KEPT_TREES:
                spare = self._kept.pop(next(iter(self._kept)))
        if spare is not None:
            remove_tree(spare.tree)

    def _take(self, lowers: tuple[Path, ...]) -> KeptTree | None:
        with self._mutex:
            fitting = [stack for stack in self._kept if stack == lowers[: len(stack)]]
            return self._kept.pop(max(fitting, key=len)) if fitting else None

    def _apply(self, tree: Path, layers: Sequence[Path]) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(tree, 0o755)
        root = os.open(tree, DIRECTORY)
        try:
            for layer in layers:
                apply(str(layer), root, self._copier)
        finally:
            os.close(root)

    def stage(self, changes: Changes, kept: KeptTree, upper: Path) -> OverlaySnapshot:
        """Return what an overlay would have left."""
        os.mkdir(upper)
        changes.stage(str(kept.tree), upper, kept.stack, self._copier)
        return OverlaySnapshot(self._layers, upper, kept.stack, b"", single=self._copier.single)

    def tidy(self, changes: Changes, tree: Path, emitted: Mapping[str, int | None]) -> None:
        """Make the tree what the next step has to find."""
        changes.tidy(str(tree), emitted, self._copier)

    def path(self, packed: Packed, lowers: Sequence[Path]) -> Path:
        """Return where the layer of a step is."""
        return self._layers.path(layer_name(packed, lowers))


class CopySnapshot:
    """One plain tree; see :class:`Snapshot`."""

    def __init__(self, owner: CopySnapshotter, scratch: Path, kept: KeptTree) -> None:
        self._owner = owner
        self._upper = scratch / "u"
        self._kept: KeptTree | None = kept
        self._start = kept
        self._changes = Changes({}, {})
        self._staged: OverlaySnapshot | None = None

    def fields(self) -> dict[str, Any]:
        """See :class:`Snapshot`."""
        return {"tree": os.fsencode(self._start.tree)}

    def items(self, clamp: int | None) -> Iterator[Item]:
        """See :class:`Snapshot`."""
        start = self._start
        self._changes = Changes(start.table, scan(str(start.tree)))
        self._staged = self._owner.stage(self._changes, start, self._upper)
        return self._staged.items(clamp)

    def adopt(self, packed: Packed | None, emitted: Mapping[str, int | None]) -> None:
        """See :class:`Snapshot`."""
        start, tree = self._start, self._start.tree
        if self._staged is not None:
            self._staged.adopt(packed, emitted)
            self._staged.settle()
        self._owner.tidy(self._changes, tree, emitted)
        stack = start.stack if packed is None else (*start.stack, self._owner.path(packed, start.stack))
        self._kept = None
        self._owner.keep(KeptTree(stack, tree, self._changes.refreshed(str(tree), emitted)))

    def settle(self) -> None:
        """See :class:`Snapshot`: the next step wants the tree at once."""

    def remove(self) -> None:
        """See :class:`Snapshot`: a tree that a failed step has left is good for nothing."""
        if self._kept is not None:
            remove_tree(self._kept.tree)

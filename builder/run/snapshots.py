"""The tree a RUN changes, and what of it becomes the layer, behind one interface (run-sandbox.md 3 and 5). Worker side.

A *snapshotter* turns unpacked layers into a tree a step can write to; a *snapshot* is the tree of one step. Which kind
is used is found out when the worker starts; steps and ``run.init`` only see the plan's fields.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from builder.errors import SandboxError
from builder.run.layers import Layers

if TYPE_CHECKING:
    from builder.rootfs.pack import Item, Packed

MAX_LAYERS = 500
"""The kernel's OVL_MAX_STACK."""


class Snapshot(Protocol):
    """The tree of one step. The calls come in this order, each at most once, from one thread."""

    def fields(self) -> dict[str, Any]:
        """Return what ``run.init`` needs to show the tree.

        ``overlay`` are the options of a mount of the kernel's on ``m`` in the scratch directory, ``tree`` is a
        directory to be shown as it is.
        """

    def items(self, clamp: int | None) -> Iterator[Item]:
        """Yield what a layer must hold to make the layers below what the step has left.

        ``clamp`` is the newest time allowed. Every process of the step has ended. Raises what ``rootfs.diff`` raises.
        """

    def adopt(self, packed: Packed | None, emitted: Mapping[str, int | None]) -> None:
        """Keep the result for later steps, as the layer ``packed``; None if there was no item.

        ``emitted`` are the paths in it with their mtimes in seconds, None for whiteouts. What takes time is left for
        ``settle``; who wants the layer waits for that.
        """

    def settle(self) -> None:
        """Finish what ``adopt`` began, when everybody has heard of the result. Without one, do nothing."""

    def remove(self) -> None:
        """Delete what is left outside the scratch directory."""


class Snapshotter(Protocol):
    """Makes snapshots, from any thread."""

    def begin(self, scratch: Path, lowers: Sequence[Path]) -> Snapshot:
        """Return a new tree showing ``lowers`` (unpacked layers, bottom first). ``scratch`` is an existing directory.

        Raises SandboxError for what cannot be shown.
        """

    def shadow(self, base: Path, lowers: Sequence[Path]) -> dict[str, Any]:
        """Return the fields of an ``overlay`` operation that shows ``lowers`` and forgets the changes to it.

        ``base`` is an empty directory of the step's. The fields are ``base``, where a mount point ``m`` is, and
        ``options``, or ``tree``, a plain directory.
        """


class OverlaySnapshotter:
    """The kernel's overlay: the changes are what its upper directory holds."""

    def __init__(self, layers: Layers, options: bytes, *, single: bool) -> None:
        """``options`` are the mount's, beyond the directories; ``single``: owners are the recorded ones."""
        self._layers = layers
        self._options = options
        self._single = single

    def begin(self, scratch: Path, lowers: Sequence[Path]) -> OverlaySnapshot:
        """See :class:`Snapshotter`."""
        options = self.farm(scratch, lowers)
        return OverlaySnapshot(self._layers, scratch / "u", tuple(lowers), options, single=self._single)

    def shadow(self, base: Path, lowers: Sequence[Path]) -> dict[str, Any]:
        """See :class:`Snapshotter`."""
        return {"base": os.fsencode(base), "options": self.farm(base, lowers)}

    def farm(self, base: Path, lowers: Sequence[Path]) -> bytes:
        """Make the directories of one overlay in ``base``; return its options, relative to there. Raises SandboxError.

        Layers are named by short symlinks: 500 of them fit into the page mount(2) takes, and no path needs escaping.
        """
        if len(lowers) > MAX_LAYERS:
            raise SandboxError(
                f"the image has {len(lowers)} layers; the kernel's overlay takes {MAX_LAYERS}",
                hint="squash the base image",
            )
        for name in ("u", "w", "m"):
            os.mkdir(base / name)
        if not lowers:
            os.mkdir(base / "0", 0o755)
        for number, path in enumerate(reversed(lowers)):
            os.symlink(path, base / str(number))
        # The root directory of the merged tree is the upper's: it looks like the one below.
        top = os.stat(base / "0")
        os.chown(base / "u", top.st_uid, top.st_gid)
        os.chmod(base / "u", stat.S_IMODE(top.st_mode))
        os.utime(base / "u", ns=(top.st_mtime_ns, top.st_mtime_ns))
        names = b":".join(b"%d" % number for number in range(max(len(lowers), 1)))
        return b"lowerdir=%s,upperdir=u,workdir=w,%s" % (names, self._options)


class OverlaySnapshot:
    """One overlay; see :class:`Snapshot`."""

    def __init__(self, layers: Layers, upper: Path, lowers: tuple[Path, ...], options: bytes, *, single: bool) -> None:
        self._layers = layers
        self._upper = upper
        self._lowers = lowers
        self._options = options
        self._single = single
        self._adopting = contextlib.ExitStack()

    def fields(self) -> dict[str, Any]:
        """See :class:`Snapshot`."""
        return {"overlay": self._options}

    def items(self, clamp: int | None) -> Iterator[Item]:
        """See :class:`Snapshot`."""
        from builder.rootfs.diff import diff

        return diff(self._upper, self._lowers, clamp=clamp, single=self._single)

    def adopt(self, packed: Packed | None, emitted: Mapping[str, int | None]) -> None:
        """See :class:`Snapshot`."""
        if packed is not None:
            name = layer_name(packed, self._lowers)
            self._adopting.enter_context(self._layers.adopting(self._upper, name, emitted))

    def settle(self) -> None:
        """See :class:`Snapshot`."""
        with contextlib.suppress(OSError):  # a full disk: whoever wants the layer unpacks it
            self._adopting.close()

    def remove(self) -> None:
        """Everything lies in the scratch directory."""


def layer_name(packed: Packed, lowers: Sequence[Path]) -> str:
    """Return the name under which the layer of a step on ``lowers`` is kept."""
    # The lowest layer hides nothing, and is kept apart from the same layer on top of others.
    return packed.diff_id.hex + ("" if lowers else ".0")

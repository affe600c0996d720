"""Which snapshotter works in this store, found out by using it (run-sandbox.md 3). Worker side, before any thread is.

Independent of how steps are isolated: the kernel's overlay, else fuse-overlayfs, else plain trees, which always work.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from builder.rootfs.rooted import remove_tree
from builder.run import namespaces
from builder.run.layers import Layers
from builder.run.snapshots import OverlaySnapshotter, Snapshotter

Name = Literal["overlay", "fuse", "copy"]


def choose(wanted: str, mode: str, layers: Layers, scratch: Path) -> tuple[Snapshotter, Name, str]:
    """Return the snapshotter for ``--snapshotter=wanted``, its name, and a warning if it is not the best.

    ``scratch`` is the worker's directory in the store. Raises OSError whose file name says what did not work.
    """
    single = mode == "single"
    problem: OSError | None = None
    # Nothing can be mounted without namespaces; --isolation=chroot has a warning of its own.
    if mode != "chroot" and wanted in ("auto", "overlay"):
        try:
            options = _in_child(scratch / "probe", namespaces.overlay_options)
            return OverlaySnapshotter(layers, options, single=single), "overlay", ""
        except OSError as error:
            problem = error
    if mode != "chroot" and wanted in ("auto", "fuse"):
        try:
            from builder.run import fuse

            _in_child(scratch / "probe", fuse.attempt)
            found = fuse.FuseSnapshotter(layers, fuse.find(), single=single)
            return found, "fuse", _warning(problem, scratch, "fuse-overlayfs") if problem else ""
        except OSError as error:
            problem = problem or error
    if wanted not in ("auto", "copy"):
        raise problem or OSError(errno.EPERM, os.strerror(errno.EPERM), "nothing can be mounted, so --snapshotter=copy")
    from builder.run.copying import CopySnapshotter

    return (
        CopySnapshotter(layers, single=single, devices=mode != "chroot"),
        "copy",
        _warning(problem, scratch, "copy") if problem else "",
    )


def _warning(problem: OSError, scratch: Path, used: str) -> str:
    from builder.run.probe import filesystem_type

    store = scratch.parents[1]
    kind = filesystem_type(str(store), Path("/proc/self/mountinfo").read_text(errors="replace"))
    if kind == "overlay":
        return (
            f"the store {store} is on overlayfs, which cannot be an overlay upper; using {used} (slower). "
            "Mount a volume and pass --root DIR."
        )
    number = errno.errorcode.get(problem.errno or 0, str(problem.errno))
    return (
        f"cannot mount an overlay in the store {store} on {kind} ({problem.filename}: {number}); "
        f"using {used} (slower). Put the store on a local ext4, xfs, btrfs or tmpfs of Linux 5.11 or newer: --root DIR."
    )


def _in_child(scratch: Path, attempt: Callable[[bytes], bytes]) -> bytes:
    """Return what ``attempt`` says about the directory ``scratch``, tried by a child that exits. Raises OSError."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, b"+" + attempt(os.fsencode(scratch)))
        except OSError as error:
            os.write(writer, b"-%d %s" % (error.errno or 0, os.fsencode(error.filename or "mount overlay")))
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    remove_tree(scratch)
    if answer.startswith(b"+"):
        return answer[1:]
    number, _, what = answer[1:].partition(b" ")
    raise OSError(int(number or b"0"), os.strerror(int(number or b"0")), os.fsdecode(what))

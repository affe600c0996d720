"""Steps on fuse-overlayfs, where the kernel's own overlay cannot be used (run-sandbox.md 3 and 5). Worker side.

The program is served by one process for each step, which dies with the step's thread and so with the worker. Its upper
directory holds the same as the kernel's, with a few marks of its own.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.rootfs.tarwriter import OPAQUE_NAME, WHITEOUT_PREFIX
from builder.rootfs.whiteout import is_opaque, is_whiteout, set_opaque
from builder.run import init
from builder.run.flat import Copier, part
from builder.run.layers import Layers
from builder.run.snapshots import OverlaySnapshot, OverlaySnapshotter

if TYPE_CHECKING:
    from builder.rootfs.pack import Item

_PROGRAM = "fuse-overlayfs"
_PLACES = ("/usr/bin", "/usr/local/bin", "/bin")
_DEVICE = "/dev/fuse"
_OPAQUE_XATTR = "user.fuseoverlayfs.opaque"
_TICK = 0.001
_CLOCK_GRAIN = 20_000_000  # the kernel's times of files lag behind by up to a tick
# PR_SET_PDEATHSIG follows the thread that starts the process: the step's, which is there as long as the step is.
_BOOTSTRAP = """import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
os.chdir(sys.argv[2])
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[3], sys.argv[3:])
"""


class Server:
    """A running fuse-overlayfs that shows the directories in ``base``, of ``OverlaySnapshotter.farm``, on its ``f``."""

    def __init__(self, program: str, base: Path, options: bytes) -> None:
        """Start it, and wait until it has mounted. Raises OSError."""
        if ":" in str(base):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), f"{_PROGRAM}, which takes no colon in a path")
        self.tree = base / "f"
        os.mkdir(self.tree)
        before = os.stat(self.tree).st_dev
        arguments = ["-c", _BOOTSTRAP, str(os.getpid()), str(base), program, "-f", "-o", os.fsdecode(options), "f"]
        # What it prints is about itself and no part of the command's output.
        files = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in range(3)]
        self._pid = os.posix_spawn(sys.executable, [sys.executable, "-I", "-S", *arguments], {}, file_actions=files)
        while os.stat(self.tree).st_dev == before:
            if os.waitpid(self._pid, os.WNOHANG)[0]:
                self._pid = 0
                raise OSError(errno.EIO, os.strerror(errno.EIO), _PROGRAM)
            time.sleep(_TICK)

    def stop(self) -> None:
        """Unmount, and wait until it has written everything and ended. Nobody may be using the tree any more."""
        if self._pid:
            init.checked(init.libc.umount2(os.fsencode(self.tree), init.MNT_DETACH), f"umount {_PROGRAM}")
            os.waitpid(self._pid, 0)
            self._pid = 0


class FuseSnapshotter(OverlaySnapshotter):
    """fuse-overlayfs: the same directories, served by a program."""

    def __init__(self, layers: Layers, program: str, *, single: bool) -> None:
        """``program`` is the path of fuse-overlayfs; ``single``: owners are the recorded ones."""
        super().__init__(layers, b"suid,dev", single=single)
        self._program = program
        self._copier = Copier(single)

    def begin(self, scratch: Path, lowers: Sequence[Path]) -> FuseSnapshot:
        """See ``Snapshotter``."""
        shown = [path for layer in lowers for path in self._shown(layer)]
        server = Server(self._program, scratch, self.farm(scratch, shown))
        return FuseSnapshot(self._layers, scratch / "u", tuple(lowers), server, single=self._single)

    def _shown(self, layer: Path) -> Iterator[Path]:
        """Yield what to show for a layer, the lower one first.

        Of a file with several names in a layer, the program makes one file, and when a step changes it, whichever name
        it met first becomes the changed one, in the layer and in every later step. So there must be none.
        """
        yield layer
        parted = self._layers.made(f"{layer.name}.parted", lambda new: part(str(layer), str(new), self._copier))
        if any(parted.iterdir()):
            yield parted

    def shadow(self, base: Path, lowers: Sequence[Path]) -> dict[str, Any]:
        """See ``Snapshotter``: a copy, because every server is a process to look after."""
        from builder.run.copying import CopySnapshotter

        return CopySnapshotter(self._layers, single=self._single).shadow(base, lowers)


class FuseSnapshot(OverlaySnapshot):
    """One tree of fuse-overlayfs; see ``Snapshot``."""

    def __init__(self, layers: Layers, upper: Path, lowers: tuple[Path, ...], server: Server, *, single: bool) -> None:
        super().__init__(layers, upper, lowers, b"", single=single)
        self._server = server
        self._begun = time.time_ns() - _CLOCK_GRAIN

    def fields(self) -> dict[str, Any]:
        """See ``Snapshot``."""
        return {"tree": os.fsencode(self._server.tree)}

    def items(self, clamp: int | None) -> Iterator[Item]:
        """See ``Snapshot``."""
        self._server.stop()
        translate(self._upper, self._lowers, self._begun)
        return super().items(clamp)

    def remove(self) -> None:
        """See ``Snapshot``."""
        self._server.stop()


def find() -> str:
    """Return the path of fuse-overlayfs. Raises OSError if it or its device is missing."""
    os.close(os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    for place in _PLACES:
        if os.access(f"{place}/{_PROGRAM}", os.X_OK):
            return f"{place}/{_PROGRAM}"
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), _PROGRAM)


def attempt(scratch: bytes) -> bytes:
    """Use fuse-overlayfs once, in a child with a mount namespace of its own. Raises OSError."""
    base = Path(os.fsdecode(scratch))
    for name in ("a/x", "u", "w"):
        os.makedirs(base / name)
    try:
        os.mknod(base / "gone", stat.S_IFCHR, os.makedev(0, 0))
    except OSError as error:  # as on overlayfs; layers need them
        raise OSError(error.errno, error.strerror, f"{_PROGRAM}, which needs devices that mark deletions") from error
    server = Server(find(), base, b"lowerdir=a,upperdir=u,workdir=w")
    os.rmdir(server.tree / "x")
    server.stop()
    return b""


def translate(upper: Path, lowers: Sequence[Path], since: int) -> None:
    """Turn the marks of fuse-overlayfs in an upper directory into the kernel's. Raises OSError.

    It deletes like the kernel, or with a file ``.wh.NAME`` where it may make no devices; a directory that hides what is
    below has an attribute of its own or a file ``.wh..wh..opq``. What it copies up moves the directory's time, which
    the kernel puts back, and so does this where it was moved after ``since``, in nanoseconds.
    """
    pending = [(str(upper), [str(path) for path in reversed(lowers)])]
    while pending:
        place, below = pending.pop()
        before = os.stat(place)
        opaque = _take_attribute(place)
        with os.scandir(place) as entries:
            found = {entry.name: entry for entry in entries}
        if found.pop(OPAQUE_NAME, None):
            os.unlink(f"{place}/{OPAQUE_NAME}")
            opaque = True
        if opaque:
            below = []
        same = bool(below)
        for name, entry in found.items():
            shown = _shown_below(name, below)
            if name.startswith(WHITEOUT_PREFIX) and entry.is_file(follow_symlinks=False):
                os.unlink(entry.path)
                os.mknod(f"{place}/{name[len(WHITEOUT_PREFIX) :]}", stat.S_IFCHR, os.makedev(0, 0))
                same = False
            else:
                same = same and bool(shown) and _kind(shown[0]) == _kind(entry.path)
            if entry.is_dir(follow_symlinks=False):
                pending.append((entry.path, [path for path in shown if _kind(path) == stat.S_IFDIR]))
        if opaque:
            _mark(place)
        moved = same and before.st_mtime_ns >= since
        mtime = os.stat(below[0]).st_mtime_ns if moved else before.st_mtime_ns
        os.utime(place, ns=(before.st_atime_ns, mtime))


def _shown_below(name: str, directories: Sequence[str]) -> list[str]:
    """Return what of ``name`` is to be seen in the directories, topmost first: a file, or directories that merge."""
    shown: list[str] = []
    for directory in directories:
        path = f"{directory}/{name}"
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            continue
        if is_whiteout(status) or (shown and not stat.S_ISDIR(status.st_mode)):
            break
        shown.append(path)
        if not stat.S_ISDIR(status.st_mode) or is_opaque(path):
            break
    return shown


def _kind(path: str) -> int:
    return stat.S_IFMT(os.lstat(path).st_mode)


def _take_attribute(directory: str) -> bool:
    try:
        opaque = os.getxattr(directory, _OPAQUE_XATTR) == b"y"
        os.removexattr(directory, _OPAQUE_XATTR)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise
    return opaque


def _mark(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        set_opaque(fd)
    finally:
        os.close(fd)

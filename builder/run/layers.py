"""Unpacked layers in the store, one directory each, for one ownership view (design, "The store"). Worker side.

``layers/<view>/<name>`` appears by rename, complete or not at all. ``.locks/<name>`` holds its size in bytes, and has
the mtime of its last use: the directory's own is the image's. One without a layer, of a build that was killed, is
removed by whoever opens the store next. Nothing is synced to the disk: after a crash of the
machine any file may be short, so the layers of an earlier boot are not used.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from builder.errors import ImageError
from builder.rootfs.measure import allocated
from builder.rootfs.rooted import DIRECTORY, remove, remove_tree
from builder.rootfs.whiteout import is_overlay_whiteout, make_whiteout

_MARKER = ".boot"


class Layers:
    """The layers of one view. Thread-safe, and safe with other processes."""

    def __init__(self, root: Path, view: str, scratch: Path, *, single: bool) -> None:
        self._home = root / "layers" / view
        self._scratch = scratch
        self._single = single
        self._counter = itertools.count()
        self._forget_earlier_boots()

    def path(self, name: str) -> Path:
        """Return where the layer ``name`` is or would be."""
        return self._home / name

    def ensure(self, name: str, blob: bytes, diff_id: str, lower: Sequence[Path], warn: Callable[[str], None]) -> Path:
        """Return the unpacked layer, made from the file ``blob`` if it is not there yet.

        ``lower`` are the layers below it, bottom first, or none for one that stands alone. Raises LayerFormatError and
        others of ``rootfs.unpack``, which also uses ``warn``; ImageError for a blob that is another layer.
        """
        bottom = name.endswith(".0")
        return self.made(name, lambda new: self.unpack(new, blob, diff_id, warn, lower=lower, bottom=bottom))

    def made(self, name: str, make: Callable[[Path], None]) -> Path:
        """Return the directory ``name``; if it is not there yet, ``make`` makes it as the one it is given."""
        final = self._home / name
        if self._is_there(final):
            return final
        with self._locked(name) as lock:
            if self._is_there(final):
                return final
            temporary = self.temporary()
            make(temporary)
            _note_size(lock, temporary)
            os.rename(temporary, final)
        return final

    def unpack(
        self,
        target: Path,
        blob: bytes,
        diff_id: str,
        warn: Callable[[str], None],
        *,
        lower: Sequence[Path] = (),
        bottom: bool = True,
    ) -> None:
        """Extract one layer to the new directory ``target``; raises what ``ensure`` raises."""
        from builder.rootfs.unpack import unpack

        with open(blob, "rb") as stream:
            found = unpack(stream, target, lower=lower, bottom=bottom, single=self._single, warn=warn)
        if found != diff_id:
            raise ImageError(f"layer {diff_id} holds other bytes: {found}", hint="the base image is damaged")

    def adopt(self, upper: Path, name: str, emitted: Mapping[str, int | None]) -> None:
        """Keep the upper directory of a step as the layer it was packed as.

        ``emitted`` are the paths in the layer with their mtimes in seconds, None for whiteouts. The directory is made
        equal to what unpacking the layer would give: it may come to lie on other layers than those it was made on.
        """
        with self.adopting(upper, name, emitted):
            pass

    @contextlib.contextmanager
    def adopting(self, upper: Path, name: str, emitted: Mapping[str, int | None]) -> Iterator[None]:
        """Do what ``adopt`` does at the end of the block; until then, who wants the layer waits for it."""
        with self._locked(name) as lock:
            yield
            final = self._home / name
            if not final.exists():
                _normalise(os.fsencode(upper), {os.fsencode(path): mtime for path, mtime in emitted.items()})
                _note_size(lock, upper)
                os.rename(upper, final)

    def temporary(self) -> Path:
        """Return a name for a new directory beside the layers."""
        return self._scratch / f"layer-{next(self._counter)}"

    def _is_there(self, final: Path) -> bool:
        with contextlib.suppress(OSError):
            os.utime(self._home / ".locks" / final.name)
        return final.is_dir()

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[int]:
        path = self._home / ".locks" / name
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                if not _names(path, fd):
                    continue  # removed while we waited: with its layer, or because there was none
                yield fd
                return
            finally:
                os.close(fd)

    def _forget_earlier_boots(self) -> None:
        (self._home / ".locks").mkdir(mode=0o700, parents=True, exist_ok=True)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        marker = self._home / _MARKER
        with self._locked(_MARKER):
            if marker.exists() and marker.read_text() == boot:
                return
            stale = self.temporary()
            stale.mkdir()
            for name in os.listdir(self._home):
                if not name.startswith("."):
                    os.rename(self._home / name, stale / name)
            marker.write_text(boot)
        remove_tree(stale)


def _names(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def _note_size(lock: int, tree: Path) -> None:
    with contextlib.suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % allocated(tree), 0)


def _normalise(upper: bytes, emitted: Mapping[bytes, int | None]) -> None:
    pending = [b""]
    while pending:
        place = pending.pop()
        with os.scandir(upper + b"/" + place) as entries:
            for entry in list(entries):
                path = place + b"/" + entry.name if place else entry.name
                if path not in emitted or (
                    emitted[path] is None and not is_overlay_whiteout(entry.stat(follow_symlinks=False))
                ):
                    _remove(entry)  # no change, or a socket, which no layer can hold
                elif entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                    _make_transparent(entry.path)
    for path, mtime in emitted.items():
        if mtime is None and not os.path.lexists(upper + b"/" + path):
            parent, _, name = path.rpartition(b"/")
            directory = os.open(upper + b"/" + parent, DIRECTORY)
            try:
                make_whiteout(os.fsdecode(name), directory)
            finally:
                os.close(directory)
    # Times last: what was removed and made above has moved those of directories.
    for path, mtime in emitted.items():
        if mtime is not None:
            os.utime(upper + b"/" + path, ns=(mtime * 10**9, mtime * 10**9), follow_symlinks=False)


def _remove(entry: os.DirEntry[bytes]) -> None:
    parent = os.open(os.path.dirname(entry.path), DIRECTORY)
    try:
        remove(parent, os.fsdecode(entry.name))
    finally:
        os.close(parent)


def _make_transparent(directory: bytes) -> None:
    """Drop the mark that hides everything below: the layer says the same with whiteouts."""
    with contextlib.suppress(OSError):
        os.removexattr(directory, b"user.overlay.opaque")

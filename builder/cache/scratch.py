"""Temporary files on the store's own file system, and the lease that says their owner is alive.

Every process that writes holds an flock on ``leases/ID`` for as long as it lives; its entries in ``tmp/`` are called
``ID.random``. Whoever starts next removes the entries whose lease nobody holds. That a lease is locked and not that
a process id exists decides: stores are shared by containers that do not see each other's processes. Directories of a
RUN (``.run``) hold files of other user ids; the sandbox's worker removes those, this module only names them.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from builder.cache.locks import try_lock
from builder.cache.sealed import discard, make_directories, names
from builder.errors import OutputError, room_hint
from builder.patterns import pattern

RUN_SUFFIX = ".run"
_ABANDONED = 86400.0  # seconds: the age that decides where there are no locks
_OURS = pattern(r"[0-9]+-[0-9a-f]{16}\.[0-9a-f]{16}(\..*)?", re.DOTALL)


class Scratch:
    """The temporary area of one store, for one process. Thread-safe."""

    def __init__(
        self,
        root: Path,
        warn: Callable[[str], None],
        using: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        """``using`` keeps others from removing files while a lease is taken: they see it, or are done."""
        self._using = using
        self._tmp = root / "tmp"
        self._leases = root / "leases"
        self._warn = warn
        self._mutex = threading.Lock()
        self._owner = ""
        self._fd: int | None = None

    def hold_lease(self) -> str:
        """Say to other processes that this one is at work; return the name of the lease. Done once, kept until close.

        Raises OutputError when the store cannot be written.
        """
        with self._mutex:
            if not self._owner:
                with self._using():
                    self._owner = self._take_lease()
            return self._owner

    def file(self, suffix: str = "") -> Path:
        """Return a name for a new temporary file; the caller creates it, and removes or moves it.

        Raises OutputError.
        """
        return self._tmp / f"{self.hold_lease()}.{os.urandom(8).hex()}{suffix}"

    def directory(self, *, run: bool = False) -> Path:
        """Create a temporary directory; the caller removes it. ``run`` leaves it to the sandbox after a crash.

        Raises OutputError.
        """
        path = self.file(RUN_SUFFIX if run else "")
        try:
            os.mkdir(path, 0o700)
        except OSError as error:
            raise OutputError(f"cannot create {path}: {error.strerror}", hint=room_hint(error)) from error
        return path

    def sweep(self) -> None:
        """Remove what dead processes left behind, except directories of a RUN."""
        for path in self._orphans():
            if not path.name.endswith(RUN_SUFFIX):
                _remove(path)
        for owner in names(self._leases):
            self._is_dead(owner)

    def stale_runs(self) -> list[Path]:
        """Name the RUN directories of dead processes."""
        return [path for path in self._orphans() if path.name.endswith(RUN_SUFFIX)]

    def leases(self) -> list[str]:
        """Name the leases that are held, ours included."""
        return [owner for owner in names(self._leases) if not self._is_dead(owner)]

    def others_began(self) -> float | None:
        """Return when the first of the others that hold a lease began, in unix seconds; None where there are none."""
        began = [time.time() - _age(self._leases / owner) for owner in self.leases() if owner != self._owner]
        return min(began, default=None)

    def close(self) -> None:
        """Remove our own temporary files and give back the lease."""
        with self._mutex:
            owner, self._owner = self._owner, ""
            fd, self._fd = self._fd, None
        if not owner:
            return
        for name in names(self._tmp):
            if name.partition(".")[0] == owner and not name.endswith(RUN_SUFFIX):
                _remove(self._tmp / name)
        discard(self._leases / owner)
        if fd is not None:
            os.close(fd)

    def _take_lease(self) -> str:
        try:
            make_directories(self._tmp)
            make_directories(self._leases)
            while True:
                owner = f"{os.getpid()}-{os.urandom(8).hex()}"
                # None: a sweep saw the file before we had locked it, and removed it.
                self._fd = self._lock_or_warn(self._leases / owner)
                if self._fd is not None:
                    return owner
        except OSError as error:
            raise OutputError(
                f"cannot write to the store {self._tmp.parent}: {error.strerror}", hint=room_hint(error)
            ) from error

    def _lock_or_warn(self, path: Path) -> int | None:
        try:
            return try_lock(path)
        except OSError as error:
            if not path.exists():
                raise
            self._warn(f"cannot lock {path} ({error.strerror}); temporary files are kept for a day after a crash")
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def _orphans(self) -> Iterator[Path]:
        dead: dict[str, bool] = {self._owner: False}
        for name in names(self._tmp):
            if not _OURS.fullmatch(name):
                # Made by a library, or by a pybuild that names its files otherwise: no lease speaks for it.
                if _age(self._tmp / name) > _ABANDONED:
                    yield self._tmp / name
                continue
            owner = name.partition(".")[0]
            if owner not in dead:
                dead[owner] = self._is_dead(owner)
            if dead[owner]:
                yield self._tmp / name

    def _is_dead(self, owner: str) -> bool:
        """Say whether nobody holds the lease ``owner``; a lease found dead is removed while we hold it."""
        if owner == self._owner:
            return False
        path = self._leases / owner
        try:
            fd = try_lock(path, create=False)
        except FileNotFoundError:
            return True
        except OSError:
            return _age(path) > _ABANDONED
        if fd is None:
            return False
        discard(path)
        os.close(fd)
        return True


def _age(path: Path) -> float:
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return 0.0


def _remove(path: Path) -> None:
    """Remove a file or a tree, also one with directories that its owner may not write to; what stays, stays."""
    try:
        os.unlink(path)
        return
    except (IsADirectoryError, PermissionError):
        pass
    except OSError:
        return
    from builder.rootfs.rooted import remove_tree  # here: needed only after a crash

    _make_removable(path)
    remove_tree(path)


def _make_removable(path: Path) -> None:
    try:
        os.chmod(path, 0o700)
        for parent, directories, _ in os.walk(path):
            for name in directories:  # made accessible before os.walk goes there
                child = os.path.join(parent, name)
                if not os.path.islink(child):
                    os.chmod(child, 0o700)
    except OSError:
        pass

"""Locks between processes and threads: flock(2) on small files.

The kernel releases a lock when its owner dies, so a waiter takes over from a killed build by itself. Descriptors are
O_CLOEXEC, and must never exist in a process that forks without exec: the child would keep the lock. Where the file
system has no locks the work goes on without, with a warning: what is recorded stays right (the first writer wins),
only work may be done twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cache.sealed import make_directories
from builder.errors import InterruptedBuildError

if TYPE_CHECKING:
    import threading

_FIRST_WAIT = 0.01  # seconds; doubled up to the longest
_LONGEST_WAIT = 0.2


@contextlib.contextmanager
def hold(
    path: Path,
    *,
    shared: bool = False,
    keep: bool = True,
    cancel: threading.Event | None = None,
    waiting: Callable[[], None] | None = None,
    warn: Callable[[str], None] = lambda _: None,
) -> Iterator[None]:
    """Hold the lock file ``path`` while the block runs; other threads of this process wait too.

    ``waiting`` is called once if someone else has it, ``cancel`` ends the wait with InterruptedBuildError.
    ``keep=False`` removes the file at the end, for exclusive locks whose names are not used again.
    """
    fd = _acquire(path, shared=shared, cancel=cancel, waiting=waiting, warn=warn)
    try:
        yield
    finally:
        if fd is not None:
            _release(path, fd, keep=keep)


def try_lock(path: Path, *, create: bool = True) -> int | None:
    """Take the exclusive lock if it is free and return its descriptor, else None. Raises OSError."""
    fd = _open(path) if create else os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_current(path, fd):
            return fd
    except BlockingIOError:
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _acquire(
    path: Path,
    *,
    shared: bool,
    cancel: threading.Event | None,
    waiting: Callable[[], None] | None,
    warn: Callable[[str], None],
) -> int | None:
    while True:
        fd: int | None = None
        try:
            fd = _open(path)
            _wait(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, cancel, waiting)
        except OSError as error:
            if fd is not None:
                os.close(fd)
            warn(f"cannot lock {path} ({error.strerror}); another build may do the same work")
            return None
        except BaseException:
            if fd is not None:
                os.close(fd)
            raise
        if _is_current(path, fd):
            return fd
        os.close(fd)  # its last owner removed the file while we waited
        waiting = None


def _wait(fd: int, operation: int, cancel: threading.Event | None, waiting: Callable[[], None] | None) -> None:
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
        return
    except BlockingIOError:
        if waiting is not None:
            waiting()
    if cancel is None:
        fcntl.flock(fd, operation)
        return
    pause = _FIRST_WAIT
    while not cancel.wait(pause):
        try:
            fcntl.flock(fd, operation | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pause = min(2 * pause, _LONGEST_WAIT)
    raise InterruptedBuildError("interrupted while waiting for another build")


def _release(path: Path, fd: int, *, keep: bool) -> None:
    if not keep:
        # Removed while still held: whoever waits on this file sees that it is gone and starts over.
        with contextlib.suppress(OSError):
            os.unlink(path)
    os.close(fd)


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        make_directories(path.parent)
        return os.open(path, flags, 0o600)


def _is_current(path: Path, fd: int) -> bool:
    """Say whether ``path`` still names the file that ``fd`` locked."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(fd))
    except FileNotFoundError:
        return False

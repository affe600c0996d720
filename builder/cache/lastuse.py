"""When files of the store were last used: their mtimes, moved at use; and how using and removing keep apart.

Who uses a file says so under a shared lock, who removes one looks again under the exclusive one: what was said to be
in use a moment ago is not removed, and what was removed is not said to be there. The lock is flock(2) on VERSION,
which always exists, and is never held for longer than a few system calls.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from builder.cache.location import VERSION

RECENT = 60.0
"""Seconds for which a file counts as just used: so often its mtime is moved at most."""

MARGIN = 90.0
"""Seconds before the start of the oldest running process within which what was used is not removed."""


class LastUse:
    """The last use of files under ``root``. Thread-safe, process-safe."""

    def __init__(self, root: Path) -> None:
        self._version = root / VERSION

    def touch(self, path: Path | str) -> bool:
        """Say that a file is used now and from now on; return whether it is there."""
        try:
            if time.time() - os.lstat(path).st_mtime < RECENT:
                return True
            with self.using():
                os.utime(path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError:
            pass  # a store that cannot be written: nothing is removed there either
        return True

    def using(self) -> AbstractContextManager[None]:
        """Keep others from removing files while the block runs. Threads may do so at the same time."""
        return self._locked(fcntl.LOCK_SH)

    def removing(self) -> AbstractContextManager[None]:
        """Keep others from using files while the block runs, which is not to last."""
        return self._locked(fcntl.LOCK_EX)

    @contextlib.contextmanager
    def _locked(self, operation: int) -> Iterator[None]:
        fd = self._take(operation)
        try:
            yield
        finally:
            if fd is not None:
                os.close(fd)

    def _take(self, operation: int) -> int | None:
        """Return the descriptor that holds the lock, None where there are no locks."""
        # An exclusive lock of NFS wants a file that is open for writing.
        access = os.O_RDWR if operation == fcntl.LOCK_EX else os.O_RDONLY
        try:
            fd = os.open(self._version, access | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            fcntl.flock(fd, operation)
        except OSError:
            os.close(fd)
            return None
        return fd

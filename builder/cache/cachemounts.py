"""Directories of ``RUN --mount=type=cache``: which instance a RUN gets, and the locks that say so.

``mounts/<hash of id>/<n>/`` with ``<n>.lock`` beside it. Mode and owner on creation, and filling a new one from
``from=``, are done by the sandbox: an empty directory is a new one. Contents never enter a key.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from builder.cache.locks import hold, try_lock
from builder.cache.sealed import make_directories
from builder.errors import OutputError, room_hint

if TYPE_CHECKING:
    import threading

Sharing = Literal["shared", "private", "locked"]

MOUNT_ID = "id"
"""The file in ``mounts/<hash of id>`` that says the id, for people."""


class CacheMounts:
    """All cache mounts of a store. Whoever needs several acquires them sorted by id, so that nobody waits in a ring."""

    def __init__(self, root: Path, warn: Callable[[str], None]) -> None:
        self._directory = root / "mounts"
        self._warn = warn

    @contextlib.contextmanager
    def acquire(
        self,
        mount_id: str,
        sharing: Sharing = "shared",
        *,
        cancel: threading.Event | None = None,
        waiting: Callable[[], None] | None = None,
    ) -> Iterator[Path]:
        """Yield the directory a RUN may use until the block ends.

        ``shared``: together with others; ``locked``: alone, after waiting; ``private``: the first instance that nobody
        uses, a new one if need be. Raises OutputError, and InterruptedBuildError when ``cancel`` ends the wait.
        """
        digest = hashlib.sha256(mount_id.encode("utf-8", "surrogatepass")).hexdigest()
        home = self._directory / digest
        try:
            make_directories(home)
        except OSError as error:
            raise OutputError(f"cannot write {home}: {error.strerror}", hint=room_hint(error)) from error
        self._say_id(home, mount_id)
        if sharing == "private":
            with self._first_free(home) as path:
                yield path
            return
        lock = home / "0.lock"
        with (
            hold(lock, shared=sharing == "shared", cancel=cancel, waiting=waiting, warn=self._warn),
            _in_use(lock),
        ):
            yield _made(home / "0")

    def _say_id(self, home: Path, mount_id: str) -> None:
        with contextlib.suppress(OSError):
            descriptor = os.open(home / MOUNT_ID, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as stream:
                stream.write(mount_id.encode("utf-8", "surrogatepass"))

    @contextlib.contextmanager
    def _first_free(self, home: Path) -> Iterator[Path]:
        number = 0
        while True:
            try:
                fd = try_lock(home / f"{number}.lock")
            except OSError as error:
                raise OutputError(f"cannot lock {home}: {error.strerror}") from error
            if fd is not None:
                break
            number += 1
        try:
            with _in_use(home / f"{number}.lock"):
                yield _made(home / str(number))
        finally:
            os.close(fd)


@contextlib.contextmanager
def _in_use(lock: Path) -> Iterator[None]:
    """Let the lock file's mtime say when its directory was last used."""
    with contextlib.suppress(OSError):
        os.utime(lock)
    yield
    with contextlib.suppress(OSError):
        os.utime(lock)


def _made(path: Path) -> Path:
    try:
        make_directories(path)
    except OSError as error:
        raise OutputError(f"cannot create {path}: {error.strerror}", hint=room_hint(error)) from error
    return path

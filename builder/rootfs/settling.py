"""Large files that are brought to the disk while they are written, so that the sync at their end is short."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import BinaryIO

from builder.streams import Writable

_SETTLED = 32 << 20
"""Bytes after which a large file is brought to the disk while more of it is written."""


class _Settling:
    """Writes to a file, and has a thread bring it to the disk whenever enough has come."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._fresh = 0
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None

    def write(self, data: bytes, /) -> None:
        self._stream.write(data)
        self._fresh += len(data)
        if self._fresh >= _SETTLED and (self._thread is None or not self._thread.is_alive()):
            self._fresh = 0
            self._thread = threading.Thread(target=self._sync, name="settle", daemon=True)
            self._thread.start()

    def end(self) -> OSError | None:
        if self._thread is not None:
            self._thread.join()
        return self._error

    def _sync(self) -> None:
        try:
            os.fdatasync(self._stream.fileno())
        except OSError as error:
            # The kernel tells it once: whoever syncs the file later would not hear of it.
            self._error = error


@contextlib.contextmanager
def settling(stream: BinaryIO) -> Iterator[Writable]:
    """Yield what writes to a file that will be synced: so that little is left to do by then. Raises OSError."""
    target = _Settling(stream)
    try:
        yield target
    finally:
        error = target.end()
    if error is not None:
        raise error

"""The tar that archives are written as: sorted by the caller, root's, without times, straight into a stream."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from builder.errors import OutputError
from builder.image.digest import Digest, copy_verified
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.tarwriter import END, header, padding
from builder.streams import Readable, Writable, writing


class TarSink:
    """Appends entries to ``stream``; nothing is kept in memory, and the stream need not be seekable."""

    def __init__(self, stream: Writable) -> None:
        self._stream = stream

    def directory(self, path: str) -> None:
        """Add a directory."""
        self._stream.write(header(Entry(path=path, kind=Kind.DIRECTORY, mode=0o755)))

    def file(self, path: str, data: bytes) -> None:
        """Add a small file."""
        self._stream.write(header(Entry(path=path, kind=Kind.FILE, mode=0o644, size=len(data))))
        self._stream.write(data)
        self._stream.write(padding(len(data)))

    def blob(self, path: str, source: Readable, digest: Digest, size: int) -> None:
        """Add a file of exactly these bytes. Raises DigestMismatchError, with the tar broken in the middle."""
        self._stream.write(header(Entry(path=path, kind=Kind.FILE, mode=0o644, size=size)))
        copy_verified(source, self._stream, digest, size, f"blob {digest}")
        self._stream.write(padding(size))

    def end(self) -> None:
        """Add the end marker."""
        self._stream.write(END)


@contextlib.contextmanager
def output(target: Path | BinaryIO) -> Iterator[BinaryIO]:
    """Open ``target`` for writing: a path appears whole or not at all, a stream is flushed and left open.

    Raises OutputError, also for what goes wrong while writing.
    """
    if isinstance(target, Path):
        with writing(target) as stream:
            yield stream
        return
    try:
        yield target
        target.flush()
    except OSError as error:
        raise OutputError(f"cannot write the archive: {error.strerror}") from error

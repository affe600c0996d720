"""Moving bytes: bounded copies, writers that count and hash, parts of files, files that appear whole or not at all.

Nothing here knows what the bytes mean. Chunks are 1 MiB; memory never grows with the stream.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from builder.errors import OutputError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK = 1 << 20


class Writable(Protocol):
    """Anything bytes can be written to."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""
        ...


class Readable(Protocol):
    """Anything bytes can be read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, empty at the end."""
        ...


class HashingWriter:
    """Passes bytes on, and knows their SHA-256 (hex) and their count."""

    __slots__ = ("_hash", "_target", "size")

    def __init__(self, target: Writable) -> None:
        self._target = target
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Hash, count and pass on ``data``."""
        self._hash.update(data)
        self._target.write(data)
        self.size += len(data)
        return len(data)

    def hexdigest(self) -> str:
        """Return the SHA-256 of all bytes so far."""
        return self._hash.hexdigest()


class Window(io.RawIOBase):
    """Bytes ``start`` to ``start + size`` of a file, with a position of its own; closes ``fd``."""

    def __init__(self, fd: int, start: int, size: int) -> None:
        self._fd = fd
        self._start = start
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move the position and return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read at the position, without moving that of the descriptor."""
        target = memoryview(buffer).cast("B")
        want = max(0, min(len(target), self._size - self._position))
        if not want:
            return 0
        count = os.preadv(self._fd, [target[:want]], self._start + self._position)
        self._position += count
        return count

    def close(self) -> None:
        """Close the descriptor."""
        if not self.closed:
            os.close(self._fd)
        super().close()


def copy(source: Readable, target: Writable, *, limit: int | None = None) -> int:
    """Copy ``source`` to its end, at most ``limit`` bytes of it; return the count."""
    total = 0
    while True:
        want = CHUNK if limit is None else min(CHUNK, limit - total)
        chunk = source.read(want) if want > 0 else b""
        if not chunk:
            return total
        target.write(chunk)
        total += len(chunk)


def read_up_to(source: Readable, size: int) -> bytes:
    """Read ``size`` bytes, less at the end only."""
    data = b""
    while len(data) < size and (more := source.read(size - len(data))):
        data += more
    return data


def digest_of(source: Readable) -> bytes:
    """Read all of ``source``; return its SHA-256."""
    hasher = hashlib.sha256()
    while chunk := source.read(CHUNK):
        hasher.update(chunk)
    return hasher.digest()


def read_limited(source: Readable, limit: int, too_large: Callable[[], Exception]) -> bytes:
    """Read all of ``source``; raise ``too_large()`` as soon as it holds more than ``limit`` bytes."""
    parts: list[bytes] = []
    left = limit + 1
    while left > 0 and (chunk := source.read(min(CHUNK, left))):
        parts.append(chunk)
        left -= len(chunk)
    if left <= 0:
        raise too_large()
    return b"".join(parts)


@contextlib.contextmanager
def replacing(path: Path, *, mode: int = 0o644, sync: bool = False) -> Iterator[BinaryIO]:
    """Open a file that takes ``path``'s place when the block ends well, and leaves no trace when it does not.

    Raises OutputError for a file system that refuses.
    """
    if not path.name:
        raise OutputError(f"cannot write {path}: it is a directory", hint="name a file in it")
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(fd, "wb") as stream:
            yield stream
            stream.flush()
            if sync:
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Open what the user named as an output: like ``replacing``, but devices, pipes and descriptors are written to.

    ``/dev/null`` must not become a file, and ``/dev/stdout`` means where it leads. So are files that are mounted, or
    lie where nobody may make others. Raises OutputError.
    """
    # Appending: a descriptor of a file may have been written to already.
    how = os.O_APPEND if is_special(path) else os.O_TRUNC if is_fixed(path) else None
    if how is None:
        with replacing(path) as stream:
            yield stream
        return
    try:
        with open(os.open(path, os.O_WRONLY | how | os.O_CLOEXEC | os.O_NOCTTY), "wb") as stream:
            yield stream
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def is_fixed(path: Path) -> bool:
    """Say whether a file can be written to, but not replaced, as ``/dev/termination-log`` in pods: it is a mount."""
    if not os.path.isfile(path) or not os.access(path, os.W_OK, effective_ids=True):
        return False
    if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
        return True
    try:
        mounts = Path("/proc/self/mountinfo").read_bytes()
    except OSError:
        return False
    name = os.fsencode(os.path.realpath(path))
    for char in b"\\ \t\n":
        name = name.replace(b"%c" % char, b"\\%03o" % char)
    return any(line.split(b" ", 5)[4] == name for line in mounts.splitlines())


def is_special(path: Path) -> bool:
    """Say whether a path leads to what cannot be replaced: a device, a pipe, a descriptor; or a directory."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return True
        link = os.readlink(path) if os.path.islink(path) else ""
        return link.startswith("/proc/") or os.path.realpath(path.parent).startswith("/proc/")
    except OSError:
        return False

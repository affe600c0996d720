"""Small files that prove themselves: one header line with a checksum over kind, name and contents, then the contents.

A file that is truncated, flipped, renamed or of another kind is found out when read. Files appear whole through
rename(2), or through link(2) where the first writer wins. They are not fsynced: after a power loss an empty file is a
miss, and what they point to is fsynced. What the contents mean is the callers' business.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from builder.errors import CacheError

_MAGIC = b"pybuild-"


def seal(kind: str, name: str, body: bytes) -> bytes:
    """Return the bytes of a file of ``kind`` that is called ``name``."""
    return b"%b%b 1 %b\n%b" % (_MAGIC, kind.encode(), _checksum(kind, name, body), body)


def read(path: Path, kind: str, name: str, *, limit: int) -> bytes | None:
    """Return the contents of a sealed file, None when there is no file.

    Raises CacheError naming the file when it is larger than ``limit`` bytes, unreadable, or not what it should be.
    """
    try:
        data = read_plain(path, limit=limit)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CacheError(f"cannot read {path}: {error.strerror}") from error
    header, newline, body = data.partition(b"\n")
    if not newline or header != seal(kind, name, body).partition(b"\n")[0]:
        raise CacheError(f"{path} is damaged")
    return body


def read_plain(path: Path, *, limit: int) -> bytes:
    """Return the bytes of a regular file of at most ``limit`` bytes. Raises OSError, CacheError."""
    # O_NONBLOCK: a fifo in the file's place must not hang the build.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(fd, "rb", buffering=0) as stream:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_size > limit:
            raise CacheError(f"{path} is not a file of at most {limit} bytes")
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise CacheError(f"{path} is not a file of at most {limit} bytes")
    return data


def write_temporary(temporary: Path, data: bytes) -> None:
    """Write a new private file. Raises OSError; a half-written file is removed."""
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as stream:
            stream.write(data)
    except BaseException:
        discard(temporary)
        raise


def sync(path: Path) -> None:
    """Bring a finished file to the disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace(temporary: Path, path: Path) -> None:
    """Put ``temporary`` in ``path``'s place, creating directories as needed. Raises OSError."""
    try:
        os.replace(temporary, path)
    except FileNotFoundError:
        make_directories(path.parent)
        os.replace(temporary, path)


def link(temporary: Path, path: Path) -> bool:
    """Give ``temporary`` the second name ``path`` unless that exists; say whether it was free. Raises OSError."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except FileNotFoundError:
        make_directories(path.parent)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    return True


def make_directories(path: Path) -> None:
    """Create a directory of the store and its parents, private to us. Raises OSError."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        make_directories(path.parent)
        make_directories(path)


def names(directory: Path) -> list[str]:
    """Return the names in a directory of the store, none if it cannot be read."""
    try:
        return os.listdir(directory)
    except OSError:
        return []


def discard(path: Path) -> None:
    """Remove a file if it is there and can be removed."""
    try:
        os.unlink(path)
    except OSError:
        pass


def _checksum(kind: str, name: str, body: bytes) -> bytes:
    return hashlib.sha256(b"%b\0%b\0%b" % (kind.encode(), name.encode(), body)).hexdigest().encode()

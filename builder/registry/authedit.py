"""Changing a file with accounts: under a lock, at once or not at all, and nothing in it that is not ours to change.

Other programs' settings in the file stay as they are, in their order. The file is for its owner alone afterwards.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from builder.errors import OutputError
from builder.patterns import pattern
from builder.registry.authfile import FILE_LIMIT, json_object

LOCK_SECONDS = 10.0
"""How long another login may take."""

_INDENT = pattern(rb"\s*\{[ \t]*\r?\n([ \t]+)")
_PAUSE = 0.05
_NO_LOCKS = frozenset({errno.EBADF, errno.ENOLCK, errno.ENOTSUP, errno.EINVAL})
_MOUNTED = frozenset({errno.EBUSY, errno.EXDEV})


def edit(path: Path, change: Callable[[dict[str, object]], bool]) -> bool:
    """Let ``change`` alter the object in a file, which is made if need be; return what it says: whether it did.

    A link is followed to a file of the user's own. Raises OutputError, and AuthenticationError for a broken file.
    """
    target = Path(os.path.realpath(path))
    try:
        _make_directories(target.parent)
        with _locked(target.parent):
            raw, found = _current(target, path)
            value = json_object(raw, str(path)) if raw.strip() else {}
            if not change(value):
                return False
            _replace(target, _text(value, raw), found)
            return True
    except OSError as error:
        raise OutputError(
            f"cannot write the accounts in {path}: {error.strerror}", hint="name another file with --authfile"
        ) from error


def _make_directories(directory: Path) -> None:
    for one in reversed((directory, *directory.parents)):
        with contextlib.suppress(FileExistsError):
            os.mkdir(one, 0o700)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the directory's lock: the file itself is replaced, and a file of locks would be litter."""
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        ending = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > ending:
                    raise OutputError(f"another program has held the lock of {directory} for long") from None
                time.sleep(_PAUSE)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                break  # some network file systems lock no directories
        yield
    finally:
        os.close(opened)


def _current(target: Path, path: Path) -> tuple[bytes, os.stat_result | None]:
    try:
        opened = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return b"", None
    with open(opened, "rb") as stream:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise OutputError(f"{path} is no file that accounts can be written to")
        if os.geteuid() not in (0, found.st_uid):
            raise OutputError(f"{path} belongs to another user, who would get the account")
        return stream.read(FILE_LIMIT + 1), found


def _text(value: dict[str, object], before: bytes) -> bytes:
    indented = _INDENT.match(before)
    indent = indented[1].decode() if indented else "\t"
    text = json.dumps(value, indent=indent, ensure_ascii=False) + ("\n" if before.endswith(b"\n") else "")
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair, which JSON can only have as an escape.
        return json.dumps(value, indent=indent).encode()


def _replace(target: Path, contents: bytes, found: os.stat_result | None) -> None:
    temporary = target.with_name(f".{target.name}.{os.urandom(8).hex()}")
    opened = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(opened, "wb") as stream:
            os.fchmod(opened, 0o600)
            if found is not None and (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
                # Root writes for a user; another group is not worth a failure.
                with contextlib.suppress(PermissionError):
                    os.fchown(opened, found.st_uid, found.st_gid)
            stream.write(contents)
            stream.flush()
            os.fsync(opened)
        try:
            os.rename(temporary, target)
        except OSError as error:
            if error.errno not in _MOUNTED:
                raise
            _overwrite(target, contents)  # a file mounted by itself, as containers have it, cannot be replaced
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _overwrite(target: Path, contents: bytes) -> None:
    with open(os.open(target, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "wb") as stream:
        with contextlib.suppress(PermissionError):
            os.fchmod(stream.fileno(), 0o600)
        stream.write(contents)
        stream.truncate()

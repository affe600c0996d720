"""Where the store is, and whether a directory may be it (design, "The store").

The candidates in order: ``--root``, ``$PYBUILD_ROOT``, ``$XDG_CACHE_HOME/pybuild``, ``$HOME/.cache/pybuild``,
``/var/tmp/pybuild-UID``. In pods a uid without a passwd entry, HOME unset or ``/`` and a read-only root file system
are normal, so nothing here asks the passwd database or expands ``~``. The environment comes in as an argument.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from builder.errors import OutputError, UsageError
from builder.streams import replacing

FORMAT = b"pybuild store 1\n"
"""Contents of the file VERSION; another format is refused, never guessed at."""

VERSION = "VERSION"
_HINT = "give a directory of yours with --root DIR or PYBUILD_ROOT; it is created when missing"
# What a volume or an initialisation that was killed leaves in a directory that is otherwise empty.
_HARMLESS = ("lost+found", ".VERSION.")


class _UnusableError(Exception):
    """Why a candidate is passed over; ``loud`` when its owner would want to know."""

    def __init__(self, reason: str, *, loud: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.loud = loud


def choose_root(
    env: Mapping[str, str],
    explicit: str | os.PathLike[str] | None,
    uid: int,
    *,
    warn: Callable[[str], None] = lambda _: None,
    var_tmp: Path = Path("/var/tmp"),
) -> Path:
    """Return the first candidate that is absolute, ours and writable, created and marked as a store.

    An explicit directory that is unusable is an error at once: nobody who names a store wants another one. A relative
    explicit one is taken from the current directory. ``warn`` hears why a candidate that exists was passed over.
    Raises OutputError naming every candidate and what is wrong with it.
    """
    if explicit is not None:
        root = Path(os.path.abspath(explicit))
        prepare_root(root, uid)
        return root
    problems: list[str] = []
    for origin, path in candidates(env, uid, var_tmp):
        try:
            _check_candidate(origin, path, uid)
            _prepare(Path(path), uid)
        except _UnusableError as error:
            problems.append(f"{path or origin} ({origin}): {error.reason}")
            if error.loud or origin == "PYBUILD_ROOT":
                warn(f"the store cannot be in {path} ({origin}): {error.reason}")
            continue
        return Path(path)
    raise OutputError("no place for the store:\n  " + "\n  ".join(problems), hint=_HINT)


def prepare_root(root: Path, uid: int) -> None:
    """Make ``root`` a store of ``uid``, or check that it is one.

    A directory that belongs to someone else, that others can write to, that another format uses or that holds
    anything else is refused with OutputError.
    """
    try:
        _prepare(root, uid)
    except _UnusableError as error:
        raise OutputError(f"the store cannot be in {root}: {error.reason}", hint=_HINT) from None


def check_readable(root: Path) -> None:
    """Check that ``root`` is a store that can be read, whoever it belongs to. Raises UsageError."""
    try:
        if not _has_version(root):
            raise UsageError(f"{root} is not a store", hint="pybuild warm --store DIR REF makes one")
        with contextlib.suppress(FileNotFoundError):
            os.listdir(root / "blobs" / "sha256")  # the rest is as private as that
    except _UnusableError as error:
        raise UsageError(f"{root}: {error.reason}") from None
    except OSError as error:
        private = f"its owner can let others read it: chmod -R a+rX {root}"
        hint = private if isinstance(error, PermissionError) else None
        raise UsageError(f"cannot read the store {root}: {error.strerror}", hint=hint) from error


def only_readable(env: Mapping[str, str], explicit: str | os.PathLike[str] | None) -> Path | None:
    """Return the store that is named explicitly, or by PYBUILD_ROOT, if there is one that cannot be written."""
    named = explicit or env.get("PYBUILD_ROOT")
    if not named or os.access(named, os.W_OK | os.X_OK, effective_ids=True):
        return None
    root = Path(os.path.abspath(named))
    return root if os.path.lexists(root / VERSION) else None


def candidates(env: Mapping[str, str], uid: int, var_tmp: Path = Path("/var/tmp")) -> Iterator[tuple[str, str]]:
    """Yield where a store may be, best first, and what says so; nothing is looked at."""
    if root := env.get("PYBUILD_ROOT"):
        yield "PYBUILD_ROOT", root
    if cache := env.get("XDG_CACHE_HOME"):
        yield "XDG_CACHE_HOME", os.path.join(cache, "pybuild")
    if home := env.get("HOME"):
        yield "HOME", os.path.join(home, ".cache", "pybuild")
    yield "last resort", os.path.join(var_tmp, f"pybuild-{uid}")


def _check_candidate(origin: str, path: str, uid: int) -> None:
    if not os.path.isabs(path) or "\0" in path:
        raise _UnusableError("not an absolute path", loud=False)
    if origin == "HOME" and not os.path.isdir(path.removesuffix("/.cache/pybuild") or "/"):
        raise _UnusableError("the home directory does not exist", loud=False)  # /nonexistent is not ours to create
    if uid == 0 and origin in ("HOME", "XDG_CACHE_HOME"):
        # sudo that keeps HOME: directories of root in another user's home would break that user's programs.
        owner = _owner_of_nearest(path)
        if owner != 0:
            raise _UnusableError(f"inside a directory of uid {owner}", loud=False)


def _owner_of_nearest(path: str) -> int:
    while True:
        try:
            return os.stat(path).st_uid
        except OSError:
            if path in ("/", ""):
                return 0
            path = os.path.dirname(path)


def _prepare(root: Path, uid: int) -> None:
    try:
        info = _lstat_or_create(root)
        _check_directory(root, info, uid)
        if not _has_version(root):
            _initialise(root)
        if info.st_mode & 0o077 and not stat.S_ISLNK(info.st_mode):
            # Unpacked images hold set-uid programs: no other user may reach them.
            os.chmod(root, 0o700)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _UnusableError(reason, loud=False) from None


def _lstat_or_create(root: Path) -> os.stat_result:
    try:
        return os.lstat(root)
    except FileNotFoundError:
        _make_parents(root.parent)
        try:
            os.mkdir(root, 0o700)
        except FileExistsError:
            pass  # another pybuild was faster
        return os.lstat(root)


def _make_parents(path: Path) -> None:
    if path.is_dir():
        return
    _make_parents(path.parent)
    try:
        os.mkdir(path, 0o700)  # what the XDG specification asks of ~/.cache
    except FileExistsError:
        pass


def _check_directory(root: Path, info: os.stat_result, uid: int) -> None:
    if stat.S_ISLNK(info.st_mode):
        # In /var/tmp anybody may have put a link to a directory of ours that is no store.
        if info.st_uid not in (uid, 0):
            raise _UnusableError(f"a symbolic link made by uid {info.st_uid}")
        info = os.stat(root)
    if not stat.S_ISDIR(info.st_mode):
        raise _UnusableError("not a directory")
    if info.st_uid != uid:
        raise _UnusableError(f"belongs to uid {info.st_uid}, not to uid {uid}; a directory inside it would do")
    if info.st_mode & 0o022:
        raise _UnusableError(f"others can write to it (mode {info.st_mode & 0o7777:04o}); chmod 700 would do")
    if not os.access(root, os.W_OK | os.X_OK, effective_ids=True):
        raise _UnusableError("not writable", loud=False)


def _has_version(root: Path) -> bool:
    try:
        fd = os.open(root / VERSION, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        found = os.read(fd, 100)
    finally:
        os.close(fd)
    if found == FORMAT:
        return True
    raise _UnusableError(f"a store of another format ({found[:30]!r}); remove it or choose another directory")


def _initialise(root: Path) -> None:
    foreign = [name for name in os.listdir(root) if not name.startswith(_HARMLESS)]
    if foreign and not _has_version(root):  # asked again: another pybuild may have been faster
        raise _UnusableError(f"not empty and not a store (it holds {min(foreign)!r})")
    try:
        with replacing(root / VERSION, mode=0o600, sync=True) as stream:
            stream.write(FORMAT)
    except OutputError as error:
        raise _UnusableError(error.message, loud=False) from None

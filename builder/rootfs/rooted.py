"""Paths of unpacked trees: symbolic links mean what they mean inside the tree, and nothing leads out of it.

A path is first resolved textually with its links read one by one (``..`` stops at the root, as it does in a container),
then opened component by component with O_NOFOLLOW, so that a link put there in between is an error and not a way out.
That is what openat2(RESOLVE_IN_ROOT) promises, but on every kernel and without ctypes. Directories are given as
descriptors; the caller closes what it is given.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from builder.rootfs.entry import UnsafePathError
from builder.rootfs.limits import MAX_LINKS

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_NOT_A_LINK = (errno.EINVAL, errno.ENOENT, errno.ENOTDIR)


def split(path: str) -> tuple[str, str]:
    """Return the parent and the name of a clean relative path."""
    parent, _, name = path.rpartition("/")
    return parent, name


def join(parent: str, name: str) -> str:
    """Return the path of ``name`` in ``parent``, where ``""`` is the root."""
    return f"{parent}/{name}" if parent else name


def resolve_links(path: str, read_link: Callable[[str], str | None], *, follow_last: bool = True) -> str:
    """Return where ``path`` leads: without links, dots and slashes at its ends, never out of the root.

    ``read_link`` is asked with paths whose parents are no links; None means not a link. What does not exist stays in
    the answer as it is written. Raises UnsafePathError for a chain of links that does not end.
    """
    done: list[str] = []
    todo = path.split("/")
    todo.reverse()
    links = 0
    while todo:
        name = todo.pop()
        if name in ("", "."):
            continue
        if name == "..":
            del done[-1:]
            continue
        done.append(name)
        if not todo and not follow_last:
            break
        target = read_link("/".join(done))
        if target is None:
            continue
        links += 1
        if links > MAX_LINKS:
            raise UnsafePathError(f"{path}: too many symbolic links")
        if target.startswith("/"):
            done.clear()
        else:
            done.pop()
        todo.extend(reversed(target.split("/")))
    return "/".join(done)


def resolve(root: int, path: str, *, follow_last: bool = True) -> str:
    """Return where ``path`` leads inside the tree ``root``; see :func:`resolve_links`."""

    def read_link(candidate: str) -> str | None:
        try:
            return os.readlink(candidate, dir_fd=root)
        except OSError as error:
            if error.errno in _NOT_A_LINK:
                return None
            raise

    return resolve_links(path, read_link, follow_last=follow_last)


def open_parent(root: int, path: str) -> tuple[int, str]:
    """Open the directory ``path`` lies in and return it with the last name, which may be a link or missing.

    Raises OSError as open(2) does, UnsafePathError for a path without a name of its own and for a tree that changes.
    """
    canonical = resolve(root, path, follow_last=False)
    parent, name = split(canonical)
    if not name:
        raise UnsafePathError(f"{path or '/'}: names the root itself")
    return open_directory(root, parent), name


def open_directory(root: int, canonical: str) -> int:
    """Open the directory ``canonical``, a path without links; one on the way is an error. Raises as open_parent."""
    fd = os.dup(root)
    try:
        for name in canonical.split("/") if canonical else ():
            below = _open_child(fd, name)
            os.close(fd)
            fd = below
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open_child(directory: int, name: str) -> int:
    try:
        return os.open(name, DIRECTORY, dir_fd=directory)
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise UnsafePathError(f"{name}: became a symbolic link while it was used") from None
        raise


def remove(directory: int, name: str) -> None:
    """Remove ``name`` and, if it is a directory, all below it; links are removed, not followed. Missing is fine.

    One descriptor and no recursion however deep the tree is.
    """
    try:
        os.unlink(name, dir_fd=directory)
        return
    except FileNotFoundError:
        return
    except IsADirectoryError:
        fd = os.open(name, DIRECTORY, dir_fd=directory)
    trail: list[tuple[list[str], tuple[int, int]]] = []
    pending = _clear(fd)
    try:
        while pending or trail:
            if pending:
                below = os.open(pending[-1], DIRECTORY, dir_fd=fd)
                trail.append((pending, _identity(fd)))
                os.close(fd)
                fd = below
                pending = _clear(fd)
            else:
                pending, parent = trail.pop()
                above = os.open("..", DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = above
                if _identity(fd) != parent:
                    raise UnsafePathError(f"{name}: the tree was moved while it was being removed")
                os.rmdir(pending.pop(), dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=directory)


def remove_tree(path: Path) -> None:
    """Remove ``path`` and all below it, as far as the system lets us; never raises OSError. Any depth will do."""
    try:
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        remove(parent, path.name)
    except (OSError, UnsafePathError):
        pass  # what stays is scratch, and looked for again at the next start
    finally:
        os.close(parent)


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _clear(fd: int) -> list[str]:
    """Unlink everything but directories; return those that are not empty."""
    kept: list[str] = []
    with os.scandir(fd) as entries:
        found: Sequence[tuple[str, bool]] = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_dir in found:
        if not is_dir:
            os.unlink(name, dir_fd=fd)
            continue
        try:
            os.rmdir(name, dir_fd=fd)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            kept.append(name)
    return kept

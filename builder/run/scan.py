"""What a step changed in a plain tree: the difference of two scans, brought into overlay form (run-sandbox.md 5, end).

A scan reads no contents. It finds every change nevertheless, because programs can set a file's mtime but not its ctime,
if the clock that ctimes are taken from has moved on since the scan before: ``settle`` waits for that. A ctime says too
much rather than too little, so what it finds are candidates; what the layers below hold in the very same form is
dropped by ``rootfs.diff``, which makes the layer of the directory that ``stage`` fills. The tree is read when nobody
writes to it any more.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from builder.rootfs.diff import is_same
from builder.rootfs.entry import LayerFormatError
from builder.rootfs.limits import MAX_DEPTH
from builder.rootfs.rooted import DIRECTORY, join, open_directory, split
from builder.rootfs.whiteout import descend, is_whiteout, lookup, make_whiteout
from builder.run.flat import Copier

Key = tuple[int, ...]
Table = dict[str, Key]
"""Everything in a tree by its path, in the order it was found, the root left out."""

_CLOCK = 5  # CLOCK_REALTIME_COARSE
_PATIENCE = 1_000_000_000  # nanoseconds a clock is waited for; a ctime further ahead was made by another clock
_TICK = 0.001
_ASIDE = ".wh.pybuild"  # no step may leave such a name
_MTIME, _CTIME, _LINKS = 4, 5, 7  # places in a key


def key(status: os.stat_result) -> Key:
    """Return what tells whether a file was changed; ctime is what no program can forge."""
    return (
        status.st_mode,
        status.st_uid,
        status.st_gid,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
        status.st_nlink,
        status.st_rdev,
    )


def scan(tree: str) -> Table:
    """Return the state of everything in a tree. Raises OSError, and LayerFormatError for paths no layer can hold."""
    table: Table = {}
    pending = [""]
    while pending:
        parent = pending.pop()
        if parent.count("/") >= MAX_DEPTH:
            raise LayerFormatError(f"{parent[:200]}...: more than {MAX_DEPTH} directories deep")
        try:
            entries = os.scandir(f"{tree}/{parent}")
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise LayerFormatError(f"a path is too long for a layer: {parent[:200]}...") from error
        prefix = parent + "/" if parent else ""
        with entries:
            for entry in entries:
                path = prefix + entry.name
                status = entry.stat(follow_symlinks=False)
                table[path] = key(status)
                if stat.S_ISDIR(status.st_mode):
                    pending.append(path)
    return table


def settle(table: Table) -> None:
    """Wait until whatever changes from now on gets another ctime than ``table`` has: at most some milliseconds."""
    newest = max((found[_CTIME] for found in table.values()), default=0)
    while 0 <= newest - time.clock_gettime_ns(_CLOCK) < _PATIENCE:
        time.sleep(_TICK)


class Changes:
    """What happened to a tree between two scans. Both tables stay what they were."""

    def __init__(self, before: Table, after: Table) -> None:
        self._before = before
        self._after = after
        self.changed = {path for path, found in after.items() if before.get(path) != found}
        """Paths that are new, or may be other than before; of linked files all names, for they share a ctime."""
        self.gone = {path for path in before if path not in after and self._in_directory(path)}
        """Paths that are not there any more, in directories that are."""

    def _in_directory(self, path: str) -> bool:
        parent = split(path)[0]
        return not parent or (parent in self._after and stat.S_ISDIR(self._after[parent][0]))

    def _linked(self, path: str) -> bool:
        found = self._after[path]
        return found[_LINKS] > 1 and stat.S_ISREG(found[0])

    def stage(self, tree: str, upper: Path, lowers: Sequence[Path], copier: Copier) -> None:
        """Fill ``upper``, new and empty, so that it is what an overlay's upper directory would hold.

        Sockets, and devices that would be deletions, are removed from the tree: no later step may see them. Raises
        OSError.
        """
        staging = _Staging(tree, upper, lowers, copier)
        try:
            for path in sorted(self.changed | self.gone):
                if path in self.gone:
                    staging.delete(path)
                else:
                    staging.add(path)
            staging.finish()
        finally:
            staging.close()

    def tidy(self, tree: str, emitted: Mapping[str, int | None], copier: Copier) -> None:
        """Make the tree what it is for those who start from the layer: with its times, and without linked files.

        ``emitted`` are the layer's paths and mtimes in seconds. Raises OSError.
        """
        root = os.open(tree, DIRECTORY)
        try:
            for path in self.changed:
                if self._linked(path):
                    _part(tree, root, path, copier)
            self._set_times(root, emitted)
        finally:
            os.close(root)

    def _set_times(self, root: int, emitted: Mapping[str, int | None]) -> None:
        for path in sorted(self.changed | emitted.keys(), reverse=True):
            when = emitted.get(path)
            if when is not None:
                _set_time(root, path, when * 10**9)
            elif path in self.changed and path in self._before:
                _set_time(root, path, self._before[path][_MTIME])

    def refreshed(self, tree: str, emitted: Iterable[str]) -> Table:
        """Return the table after ``tidy`` by looking only at what had changed and at what that touched."""
        table = dict(self._after)
        for path in self.changed.union(emitted):
            try:
                table[path] = key(os.lstat(f"{tree}/{path}"))
            except (FileNotFoundError, NotADirectoryError):
                table.pop(path, None)
        return table


def _part(tree: str, root: int, path: str, copier: Copier) -> None:
    """Give a file with several names one of its own: that is what becomes of it in an overlay when it is written to."""
    status = os.lstat(f"{tree}/{path}")
    if status.st_nlink == 1:
        return
    parent, name = split(path)
    directory = open_directory(root, parent)
    try:
        os.rename(name, _ASIDE, src_dir_fd=directory, dst_dir_fd=directory)
        copier.copy(join(f"{tree}/{parent}", _ASIDE), status, directory, name)
        os.unlink(_ASIDE, dir_fd=directory)
    finally:
        os.close(directory)


def _set_time(root: int, path: str, nanoseconds: int) -> None:
    parent, name = split(path)
    try:
        directory = open_directory(root, parent)
    except FileNotFoundError:
        return
    try:
        os.utime(name, ns=(nanoseconds, nanoseconds), dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        pass  # a socket, which is in no layer and not in the tree any more
    finally:
        os.close(directory)


class _Staging:
    def __init__(self, tree: str, upper: Path, lowers: Sequence[Path], copier: Copier) -> None:
        self._tree = tree
        self._copier = copier
        self._root = os.open(tree, DIRECTORY)
        self._upper = os.open(upper, DIRECTORY)
        self._stacks = {"": tuple(str(path) for path in reversed(lowers))}
        self._made: list[str] = []
        self._links: dict[int, str] = {}
        self._current = ("", os.dup(self._upper))

    def close(self) -> None:
        """Close what is open."""
        for fd in (self._root, self._upper, self._current[1]):
            os.close(fd)

    def delete(self, path: str) -> None:
        """Note that a path is gone; whether the layers below have it at all is found out later."""
        parent, name = split(path)
        make_whiteout(name, self._directory(parent))

    def add(self, path: str) -> None:
        """Copy a path that may have changed, without what a directory holds."""
        file = f"{self._tree}/{path}"
        status = os.lstat(file)
        if stat.S_ISDIR(status.st_mode):
            self._directory(path)
        elif is_whiteout(status):
            self._forbidden(path)
        elif status.st_nlink == 1 or not stat.S_ISREG(status.st_mode):
            if not self._unchanged(file, path, status):
                parent, name = split(path)
                self._copier.copy(file, status, self._directory(parent), name)
        else:
            self._linked(file, path, status)

    def finish(self) -> None:
        """Directories last: what was put into them has moved their times."""
        for path in sorted(self._made, reverse=True):
            fd = open_directory(self._upper, path)
            try:
                self._copier.dress(f"{self._tree}/{path}", os.lstat(f"{self._tree}/{path}"), fd)
            finally:
                os.close(fd)
        self._copier.dress(self._tree, os.stat(self._tree), self._upper)

    def _linked(self, file: str, path: str, status: os.stat_result) -> None:
        parent, name = split(path)
        directory = self._directory(parent)
        first = self._links.setdefault(status.st_ino, path)
        if first == path:
            self._copier.copy(file, status, directory, name)
        else:
            os.link(first, name, src_dir_fd=self._upper, dst_dir_fd=directory, follow_symlinks=False)

    def _forbidden(self, path: str) -> None:
        self.delete(path)
        parent, name = split(path)
        directory = open_directory(self._root, parent)
        try:
            before = os.fstat(directory)
            os.unlink(name, dir_fd=directory)
            os.utime(directory, ns=(before.st_atime_ns, before.st_mtime_ns))
        finally:
            os.close(directory)

    def _directory(self, path: str) -> int:
        """Return a descriptor, valid until the next call, of a directory in the upper, made if it is missing."""
        if self._current[0] == path:
            return self._current[1]
        fd, here = os.dup(self._upper), ""
        try:
            for name in path.split("/") if path else ():
                here = join(here, name)
                try:
                    below = os.open(name, DIRECTORY, dir_fd=fd)
                except FileNotFoundError:
                    os.mkdir(name, 0o700, dir_fd=fd)
                    self._made.append(here)
                    below = os.open(name, DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = below
        except BaseException:
            os.close(fd)
            raise
        os.close(self._current[1])
        self._current = (path, fd)
        return fd

    def _unchanged(self, file: str, path: str, status: os.stat_result) -> bool:
        """Whether the layers below have the very same file: it need not be copied to be dropped later."""
        parent, name = split(path)
        found = lookup(self._stack(parent), name)
        return found is not None and is_same(file, status, *found, single=self._copier.single)

    def _stack(self, path: str) -> tuple[str, ...]:
        known = self._stacks.get(path)
        if known is None:
            parent, name = split(path)
            above = self._stack(parent)
            known = self._stacks[path] = descend(above, name) if above else ()
        return known

"""Plain trees instead of overlays: an unpacked layer is applied to one, entry by entry (run-sandbox.md 3). Worker side.

The tree was written to by steps, so nothing in it is believed: every name is used relative to the descriptor of a
directory that was opened without following links, and what is in the way is removed, not followed. Layers are complete
and nobody writes to them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from builder.rootfs.restore import REFUSED
from builder.rootfs.rooted import DIRECTORY, NEW_FILE, remove
from builder.rootfs.whiteout import OWNER, is_opaque, is_whiteout, may_unpack, read_xattrs
from builder.streams import CHUNK
from builder.values import dataclass

_OLD_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_RANGES = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


@dataclass(frozen=True, slots=True)
class Copier:
    """Copies single files with everything a layer can say about them. ``single``: owners are recorded ones.

    Without ``devices`` those of images are left out of trees: where nothing can be mounted, there is no "nodev".
    """

    single: bool
    devices: bool = True

    def copy(self, source: str, status: os.stat_result, directory: int, name: str) -> None:
        """Make ``name``, which must not exist, like ``source``, which is no directory and no socket. Raises OSError."""
        if stat.S_ISREG(status.st_mode):
            self._copy_file(source, status, directory, name)
            return
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(source), name, dir_fd=directory)
        else:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=directory)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=directory)
        self._copy_xattrs(source, f"/proc/self/fd/{directory}/{name}")
        os.utime(name, ns=_times(status), dir_fd=directory, follow_symlinks=False)

    def dress(self, source: str, status: os.stat_result, fd: int) -> None:
        """Give an open file or directory everything but the contents of ``source``, in the only order that works."""
        os.fchown(fd, status.st_uid, status.st_gid)
        os.fchmod(fd, stat.S_IMODE(status.st_mode))
        self._copy_xattrs(source, fd)
        os.utime(fd, ns=_times(status))

    def _copy_file(self, source: str, status: os.stat_result, directory: int, name: str) -> None:
        old = os.open(source, _OLD_FILE)
        try:
            new = os.open(name, NEW_FILE, 0o600, dir_fd=directory)
            try:
                copy_contents(old, new, status)
                self.dress(source, status, new)
            finally:
                os.close(new)
        finally:
            os.close(old)

    def _copy_xattrs(self, source: str, target: int | str) -> None:
        for name, value in read_xattrs(source, self.wanted).items():
            try:
                os.setxattr(target, name, value, follow_symlinks=isinstance(target, int))
            except OSError as error:
                if error.errno not in REFUSED:
                    raise  # else whoever unpacked the layer was warned already

    def wanted(self, attribute: str) -> bool:
        """Whether an attribute is brought along."""
        return may_unpack(attribute) or (self.single and attribute == OWNER)


def _times(status: os.stat_result) -> tuple[int, int]:
    return status.st_mtime_ns, status.st_mtime_ns


def copy_contents(old: int, new: int, status: os.stat_result) -> None:
    """Copy what is in the file ``old`` to the empty file ``new``; blocks are shared where the file system can."""
    position, size = 0, status.st_size
    if status.st_blocks * 512 >= size:
        _copy_range(old, new, 0, size)
        return
    while position < size:
        try:
            position = os.lseek(old, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break  # a hole up to the end
        end = os.lseek(old, position, os.SEEK_HOLE)
        _copy_range(old, new, position, end)
        position = end
    os.ftruncate(new, size)


def _copy_range(old: int, new: int, position: int, end: int) -> None:
    try:
        while position < end:
            done = os.copy_file_range(old, new, min(end - position, 1 << 30), position, position)
            if not done:
                return
            position += done
        return
    except OSError as error:
        if error.errno not in _NO_RANGES:
            raise
    while position < end and (chunk := os.pread(old, min(CHUNK, end - position), position)):
        position += os.pwrite(new, chunk, position)


def apply(layer: str, tree: int, copier: Copier) -> None:
    """Make the tree, an open directory, what it is under the layer in the directory ``layer``, in overlay form.

    Files with several names become several files: an overlay parts them as well, when a step writes to one. Raises
    OSError; the tree is then neither the one nor the other.
    """
    _Application(copier).directory(layer, tree)
    copier.dress(layer, os.stat(layer), tree)


def part(layer: str, target: str, copier: Copier) -> None:
    """Make the directory ``target``, of the files of a layer that have several names: each is one of its own there.

    Laid over the layer it hides that they were linked. Raises OSError.
    """
    os.mkdir(target, 0o700)
    directories = {""}
    for path in _linked(layer, ""):
        parent = os.path.dirname(path)
        os.makedirs(f"{target}/{parent}", exist_ok=True)
        while parent not in directories:
            directories.add(parent)
            parent = os.path.dirname(parent)
        source = f"{layer}/{path}"
        directory = os.open(os.path.dirname(f"{target}/{path}"), DIRECTORY)
        try:
            copier.copy(source, os.lstat(source), directory, os.path.basename(path))
        finally:
            os.close(directory)
    for place in sorted(directories, reverse=True):  # what is made in a directory moves its time
        fd = os.open(f"{target}/{place}", DIRECTORY)
        try:
            copier.dress(f"{layer}/{place}", os.lstat(f"{layer}/{place}"), fd)
        finally:
            os.close(fd)


def _linked(layer: str, below: str) -> Iterator[str]:
    with os.scandir(f"{layer}/{below}") as entries:
        for entry in entries:
            path = f"{below}/{entry.name}" if below else entry.name
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                yield from _linked(layer, path)
            elif stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
                yield path


class _Application:
    def __init__(self, copier: Copier) -> None:
        self._copier = copier

    def directory(self, source: str, target: int) -> None:
        """Bring what one directory of the layer holds; layers are not deeper than ``limits.MAX_DEPTH``."""
        with os.scandir(source) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if is_whiteout(status):
                    remove(target, entry.name)
                elif stat.S_ISDIR(status.st_mode):
                    self._subdirectory(entry, status, target)
                else:
                    remove(target, entry.name)
                    if self._copier.devices or not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
                        self._copier.copy(entry.path, status, target, entry.name)

    def _subdirectory(self, entry: os.DirEntry[str], status: os.stat_result, target: int) -> None:
        if is_opaque(entry.path):
            remove(target, entry.name)
        try:
            fd = os.open(entry.name, DIRECTORY, dir_fd=target)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            remove(target, entry.name)
            os.mkdir(entry.name, 0o700, dir_fd=target)
            fd = os.open(entry.name, DIRECTORY, dir_fd=target)
        try:
            self.directory(entry.path, fd)
            self._forget_xattrs(fd)
            self._copier.dress(entry.path, status, fd)
        finally:
            os.close(fd)

    def _forget_xattrs(self, fd: int) -> None:
        """A directory the tree had before has the attributes the layer says, and no other."""
        for name in read_xattrs(f"/proc/self/fd/{fd}/.", self._copier.wanted):
            os.removexattr(fd, name)

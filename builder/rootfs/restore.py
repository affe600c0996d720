"""The contents and metadata of one file, as a tar entry says, on a file just made.

semantics 14, 56 and 57. Always in this order: chown clears set-id bits and capabilities, everything moves the times.
What the file system or the namespace refuses is either an error that names the way out, or a warning.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from builder.errors import SandboxError
from builder.rootfs import whiteout
from builder.rootfs.entry import Entry, Kind, LayerFormatError
from builder.rootfs.limits import MAX_ID
from builder.streams import CHUNK, Readable
from builder.values import dataclass

Warn = Callable[[str], None]

_ZEROS = bytes(CHUNK)
_LARGEST_TIME = 1 << 55
REFUSED = (errno.EPERM, errno.ENOTSUP, errno.ENOSPC, errno.E2BIG, errno.EINVAL)
"""What a file system says of attributes that it does not take."""


@dataclass(frozen=True, slots=True)
class Restorer:
    """Sets metadata; ``single``: owners are recorded in an attribute, because only one uid exists."""

    single: bool
    warn: Warn

    def apply(self, fd: int, entry: Entry) -> None:
        """Give an open file or directory its metadata. Raises SandboxError for an owner outside the namespace."""
        _check_owner(entry)
        if not self.single:
            try:
                os.fchown(fd, entry.uid, entry.gid)
            except OSError as error:
                raise _unmapped(entry, error) from error
        os.fchmod(fd, entry.mode)
        if entry.xattrs:
            self._set_xattrs(fd, entry)
        if self.single and (entry.uid or entry.gid):
            os.setxattr(fd, whiteout.OWNER, whiteout.encode_owner(entry.uid, entry.gid))
        os.utime(fd, ns=_times(entry))

    def apply_to_name(self, directory: int, name: str, entry: Entry, *, file: str) -> None:
        """The same for what cannot be opened: links, fifos, devices. ``file`` is its whole path.

        Attributes have no system call that takes a directory. A recorded owner is not possible: only files and
        directories can have attributes in the user's namespace.
        """
        _check_owner(entry)
        if not self.single:
            try:
                os.chown(name, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)
            except OSError as error:
                raise _unmapped(entry, error) from error
        if entry.kind is not Kind.SYMLINK:
            os.chmod(name, entry.mode, dir_fd=directory)
        if entry.xattrs:
            self._set_xattrs(file, entry)
        os.utime(name, ns=_times(entry), dir_fd=directory, follow_symlinks=False)

    def _set_xattrs(self, file: int | str, entry: Entry) -> None:
        for attribute, value in entry.xattrs.items():
            if not whiteout.may_unpack(attribute):
                continue
            try:
                os.setxattr(file, attribute, value, follow_symlinks=isinstance(file, int))
            except OSError as error:
                if error.errno not in REFUSED:
                    raise
                self.warn(f"{entry.path}: cannot set the attribute {attribute} ({error.strerror})")


def write(fd: int, contents: Readable, entry: Entry) -> None:
    """Write a file's contents, holes for zeros. Raises LayerFormatError if they are not as long as announced."""
    size = 0
    while chunk := contents.read(CHUNK):
        size += len(chunk)
        if chunk == _ZEROS:
            os.lseek(fd, CHUNK, os.SEEK_CUR)  # a hole: images hold sparse files of many gigabytes
            continue
        view = memoryview(chunk)
        while view:
            view = view[os.write(fd, view) :]
    if size != entry.size:
        raise LayerFormatError(f"{entry.path}: {size} bytes where the header says {entry.size}")
    if size >= CHUNK:
        os.ftruncate(fd, size)


def _check_owner(entry: Entry) -> None:
    if not (0 <= entry.uid <= MAX_ID and 0 <= entry.gid <= MAX_ID):
        raise LayerFormatError(f"{entry.path}: {entry.uid}:{entry.gid} is no owner a file can have")


def _unmapped(entry: Entry, error: OSError) -> Exception:
    if error.errno != errno.EINVAL:
        return error
    return SandboxError(
        f"{entry.path} belongs to {entry.uid}:{entry.gid}, which the user namespace does not have",
        hint="give this user a larger range in /etc/subuid and /etc/subgid, or run as root",
    )


def _times(entry: Entry) -> tuple[int, int]:
    when = max(-_LARGEST_TIME, min(_LARGEST_TIME, entry.mtime)) * 1_000_000_000
    return when, when

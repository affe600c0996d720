"""The overlay form of a layer on disk: deletions, opaque directories, recorded owners, and lookups down a stack.

run-sandbox.md 2 and 5, semantics 51 and 57. A deleted name is a character device 0:0, or a socket where such devices
cannot be made, a directory that hides the layers below it has the attribute ``user.overlay.opaque`` = ``y``; one form
for root and for user namespaces. A stack of layers
is always given **top first** to the functions here, as the kernel looks names up; directories in it are plain path
strings, because the layers below are complete and nobody writes to them. This module neither walks trees nor knows tar.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping, Sequence

from builder.rootfs.entry import Entry, Kind, LayerFormatError
from builder.rootfs.limits import MAX_ID

OWNER = "user.rootlesscontainers"
"""Holds the owner a file should have where only one uid exists: protobuf, field 1 uid, field 2 gid."""

# Nothing else counts as a mark: a step can set other tools' attributes itself, and would delete what is below.
_OPAQUE = "user.overlay.opaque"
# An image or a program could otherwise make its own redirects, metacopies and opaque directories.
_OVERLAY = ("user.overlay.", "trusted.overlay.", "user.fuseoverlayfs.")
_HOST_ONLY = ("security.selinux", "system.nfs4_acl", OWNER)
_UNSUPPORTED = (errno.ENOTSUP, errno.ENODATA)

KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHAR,
    stat.S_IFBLK: Kind.BLOCK,
    stat.S_IFIFO: Kind.FIFO,
}
"""What a layer can hold, by the type bits of a mode."""


def is_whiteout(status: os.stat_result) -> bool:
    """Whether this says that a name is deleted: overlay's mark, or a socket, ours, which no layer can hold."""
    return is_overlay_whiteout(status) or stat.S_ISSOCK(status.st_mode)


def is_overlay_whiteout(status: os.stat_result) -> bool:
    """Whether this is how overlay says that a name is deleted."""
    return status.st_rdev == 0 and stat.S_ISCHR(status.st_mode)


def make_whiteout(name: str, directory: int) -> None:
    """Create the whiteout of ``name``; allowed without privileges since Linux 5.8.

    Overlayfs has no files of the kind that marks deletions in it. A store on one can carry no overlay either, so what
    marks them there is only read by us.
    """
    try:
        os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=directory)
    except PermissionError:
        os.mknod(name, stat.S_IFSOCK, dir_fd=directory)


def set_opaque(directory: int) -> None:
    """Let the directory hide what the layers below have under its name."""
    os.setxattr(directory, _OPAQUE, b"y")


def is_opaque(directory: str) -> bool:
    """Whether the directory hides what the layers below have under its name."""
    try:
        return os.getxattr(directory, _OPAQUE, follow_symlinks=False) == b"y"
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise


def may_unpack(attribute: str) -> bool:
    """Whether an extended attribute of a layer may be set on disk."""
    return not attribute.startswith(_OVERLAY) and attribute not in _HOST_ONLY


def belongs_in_layer(attribute: str) -> bool:
    """Whether an extended attribute found on disk goes into a layer: file capabilities and the users' own."""
    return attribute == "security.capability" or (attribute.startswith("user.") and may_unpack(attribute))


def read_xattrs(path: str, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Return the extended attributes of a file, not followed, whose names are ``wanted``, sorted."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
        if not names:
            return {}
        return {name: os.getxattr(path, name, follow_symlinks=False) for name in sorted(names) if wanted(name)}
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return {}
        raise


def layer_xattrs(path: str) -> dict[str, bytes]:
    """Return the extended attributes of a file, not followed, that belong into a layer."""
    return read_xattrs(path, belongs_in_layer)


def encode_owner(uid: int, gid: int) -> bytes:
    """Return the value of :data:`OWNER`."""
    return b"\x08" + _varint(uid) + b"\x10" + _varint(gid)


def decode_owner(value: bytes) -> tuple[int, int] | None:
    """Return uid and gid, or None for bytes that are no such record. A missing field is 0."""
    fields = {1: 0, 2: 0}
    position = 0
    while position < len(value):
        tag = value[position]
        number = _read_varint(value, position + 1)
        if number is None or tag & 7 or tag >> 3 not in fields:
            return None
        fields[tag >> 3], position = number
    return fields[1], fields[2]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(value: bytes, position: int) -> tuple[int, int] | None:
    number = 0
    for shift in range(0, 35, 7):
        if position >= len(value):
            return None
        byte = value[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number, position) if number <= MAX_ID else None
    return None


def recorded_owner(path: str) -> tuple[int, int] | None:
    """Return the owner recorded for a file, if there is one."""
    try:
        return decode_owner(os.getxattr(path, OWNER, follow_symlinks=False))
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return None
        raise


def describe(file: str, path: str, status: os.stat_result, *, single: bool, xattrs: Mapping[str, bytes]) -> Entry:
    """Return the entry ``path`` of the file on disk ``file``. ``single``: owners are the recorded ones.

    Raises LayerFormatError for what no layer can hold.
    """
    kind = KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        raise LayerFormatError(f"{path}: a layer cannot hold a file of this type")
    owner = recorded_owner(file) if single else None
    device = kind is Kind.CHAR or kind is Kind.BLOCK
    return Entry(
        path=path,
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=owner[0] if owner else status.st_uid,
        gid=owner[1] if owner else status.st_gid,
        size=status.st_size if kind is Kind.FILE else 0,
        mtime=status.st_mtime_ns // 1_000_000_000,
        target=os.readlink(file) if kind is Kind.SYMLINK else "",
        major=os.major(status.st_rdev) if device else 0,
        minor=os.minor(status.st_rdev) if device else 0,
        xattrs=xattrs,
    )


def lookup(stack: Sequence[str], name: str) -> tuple[str, os.stat_result] | None:
    """Find ``name`` in directories that merge, top first; None if no layer has it or one has deleted it."""
    for directory in stack:
        file = f"{directory}/{name}"
        try:
            status = os.lstat(file)
        except FileNotFoundError:
            continue
        return None if is_whiteout(status) else (file, status)
    return None


def descend(stack: Sequence[str], name: str) -> tuple[str, ...]:
    """Return the directories that merge at ``name`` of ``stack``, top first; none if it is no directory.

    As the kernel does, the search ends at a whiteout, at anything that is no directory, and below an opaque one.
    """
    found: list[str] = []
    for directory in stack:
        file = f"{directory}/{name}"
        try:
            status = os.lstat(file)
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(status.st_mode):
            break
        found.append(file)
        if is_opaque(file):
            break
    return tuple(found)


def names(stack: Sequence[str]) -> set[str]:
    """Return the names one sees in directories that merge, top first."""
    seen: set[str] = set()
    visible: set[str] = set()
    for directory in stack:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name not in seen:
                    seen.add(entry.name)
                    if not is_whiteout(entry.stat(follow_symlinks=False)):
                        visible.add(entry.name)
    return visible

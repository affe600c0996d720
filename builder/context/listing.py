"""What one directory of a context holds: names with their metadata, as compact as a hundred thousand of them ask for.

An entry is made of a node when somebody wants to see it; a build that finds everything in its cache does not. Owns
what of a host's file is told to an image (design, idea 3); does not decide which names are looked at.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import TypeAlias

from builder.context.ignore import Scope
from builder.context.statcache import PLAIN
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.whiteout import KINDS, belongs_in_layer

_IDENTITY = struct.Struct("<QQqqq")
size_in: Callable[[bytes], tuple[int]] = struct.Struct("<16xq").unpack_from
"""Reads how many bytes a file had out of its identity: ``b"%d" % size_in(identity)`` is the quickest there is."""

_SIZE_AND_MTIME = struct.Struct("<16xqq")
_NO_XATTRS: Mapping[str, bytes] = MappingProxyType({})
_SECOND = 1_000_000_000
_MODES: dict[int, int] = {}
"""One number for each mode: there are few."""


def identity(info: os.stat_result) -> bytes:
    """Return what changes whenever a file of this boot does: device, inode, size, mtime and ctime, packed."""
    return _IDENTITY.pack(info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


class Special:
    """What tells a node from a file of one name without attributes.

    ``conditional`` is an ignored directory, there only if an exception brings something below it back.
    """

    __slots__ = ("conditional", "device", "link", "target", "xattrs")

    def __init__(self) -> None:
        self.conditional = False
        self.device = 0
        self.link: tuple[int, int] | None = None
        self.target = ""
        self.xattrs = _NO_XATTRS


Node: TypeAlias = "tuple[int, bytes, bytes, Special | None]"
"""Mode with type bits, identity, what the stat cache knows (empty: nothing), and what is special."""


class Listing:
    """The nodes of a directory by name, in order."""

    __slots__ = ("conditional", "nodes", "scope", "unread")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.nodes: dict[str, Node] = {}
        self.conditional = False
        """Whether any of them is."""
        self.unread = 0, 0
        """Files of which nothing was known when they were listed, and their bytes."""

    def read(
        self,
        fd: int,
        directory: str,
        known: Mapping[bytes, bytes],
        hidden: tuple[int, int] | None,
        *,
        ignoring: bool,
    ) -> None:
        """Look at what ``fd``, which is ``directory``, holds; ``known`` is a stat cache's. Raises OSError."""
        with os.scandir(fd) as scanned:
            found = sorted(scanned, key=_name)
        nodes, pack = self.nodes, _IDENTITY.pack
        unread = unread_bytes = 0
        for one in found:
            conditional = ignoring and self._ignored(one, directory)
            if conditional is None:
                continue
            try:
                info = one.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # deleted since the directory was listed
            mode = _MODES.setdefault(info.st_mode, info.st_mode)
            key = pack(info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
            name = _name(one)
            value, xattrs = b"", _NO_XATTRS
            if stat.S_ISREG(mode):
                value = known.get(key, b"")
                if not value:
                    unread, unread_bytes = unread + 1, unread_bytes + info.st_size
                if not value.endswith(PLAIN):
                    xattrs = _read_xattrs(fd, name)
                if info.st_nlink == 1 and not xattrs:  # nearly all files
                    nodes[name] = (mode, key, value, None)
                    continue
            elif (info.st_dev, info.st_ino) == hidden:
                continue
            try:
                special = _special(fd, name, info, xattrs)
            except FileNotFoundError:
                continue
            special.conditional = conditional
            self.conditional |= conditional
            nodes[name] = (mode, key, value, special)
        self.unread = unread, unread_bytes

    def records(self) -> bytes:
        """Return what a stat cache is to remember: identities, and what is known of them."""
        return b"".join([part for node in self.nodes.values() if node[2] for part in (node[1], node[2])])

    def _ignored(self, found: os.DirEntry[str], directory: str) -> bool | None:
        """Say whether an entry is only there for what is below it, None if not even that."""
        name = _name(found)
        path = f"{directory}/{name}" if directory else name
        if not self.scope.matches(path):
            return False
        if not found.is_dir(follow_symlinks=False) or not self.scope.enter(path).may_change_below(path):
            return None
        return True


def entry_of(path: str, node: Node) -> Entry:
    """Return a node as an image sees it. Owners are 0:0, times whole seconds, sockets empty files."""
    mode, key, _, special = node
    size, mtime = _SIZE_AND_MTIME.unpack_from(key)
    mtime //= _SECOND
    if special is None:
        return Entry(path=path, kind=Kind.FILE, mode=mode & 0o7777, size=size, mtime=mtime, xattrs=_NO_XATTRS)
    kind = kind_of(node)
    if kind is Kind.SYMLINK:
        return Entry(path=path, kind=kind, mode=0o777, mtime=mtime, target=special.target)
    return Entry(
        path=path,
        kind=kind,
        mode=mode & 0o7777,
        size=size if stat.S_ISREG(mode) else 0,
        mtime=mtime,
        major=os.major(special.device),
        minor=os.minor(special.device),
        xattrs=special.xattrs,
    )


def size_of(node: Node) -> int:
    """Return how many bytes a regular file had."""
    return size_in(node[1])[0]


def sizes_in(nodes: Sequence[Node]) -> bytes:
    """Return what ``size_of`` does of many, 8 bytes each."""
    return b"".join([node[1][16:24] for node in nodes])


def kind_of(node: Node) -> Kind:
    """Return what a node is in an image."""
    return KINDS.get(stat.S_IFMT(node[0]), Kind.FILE)  # sockets become empty files


def encoded(name: str) -> bytes:
    """Return a name as the kernel knows it."""
    return name.encode("utf-8", "surrogateescape")


def _decoded(found: os.DirEntry[str]) -> str:
    return os.fsencode(found.name).decode("utf-8", "surrogateescape")


_name: Callable[[os.DirEntry[str]], str] = attrgetter("name") if sys.getfilesystemencoding() == "utf-8" else _decoded


def _special(fd: int, name: str, info: os.stat_result, xattrs: Mapping[str, bytes]) -> Special:
    """Look at what a node has besides its stat and, if it is a file, its attributes. Raises OSError."""
    special = Special()
    special.xattrs = xattrs
    mode = info.st_mode
    if stat.S_ISLNK(mode):
        special.target = os.readlink(encoded(name), dir_fd=fd).decode("utf-8", "surrogateescape")
    elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        special.device = info.st_rdev
    elif stat.S_ISDIR(mode):
        special.xattrs = _read_xattrs(fd, name)
    if info.st_nlink > 1 and not stat.S_ISDIR(mode):
        special.link = (info.st_dev, info.st_ino)
    return special


def _read_xattrs(fd: int, name: str) -> Mapping[str, bytes]:
    """Return the attributes an image may carry, as far as they can be read: capabilities and the user's own."""
    # There is no listxattr below a descriptor; the kernel's own name of one is as safe, and follows nothing here.
    place = b"/proc/self/fd/%d/%b" % (fd, encoded(name))
    try:
        names = os.listxattr(place, follow_symlinks=False)
    except OSError:
        return _NO_XATTRS
    kept: dict[str, bytes] = {}
    for attribute in names:
        if belongs_in_layer(attribute):
            try:
                kept[attribute] = os.getxattr(place, attribute, follow_symlinks=False)
            except OSError:
                continue  # gone meanwhile, or not for us
    return kept or _NO_XATTRS

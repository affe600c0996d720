"""A host directory as a tree: the build context as COPY sees it.

Every access goes component by component through directory descriptors with O_NOFOLLOW, so nothing outside the root is
ever read, whatever symlinks the tree holds or grows meanwhile. Ignored paths behave as if they were not there.
A directory is listed once and remembered: one build sees one state of the names and metadata, and whether a file's
contents still belong to them is checked by who reads it (design, idea 3).
"""

from __future__ import annotations

import io
import os
import stat
import struct
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from builder.context.ignore import IgnoreRules, Patterns, Scope
from builder.errors import ContextError
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.rooted import DIRECTORY
from builder.rootfs.whiteout import KINDS, belongs_in_layer

_IDENTITY = struct.Struct("<QQqqq")
_NO_XATTRS: Mapping[str, bytes] = MappingProxyType({})
# Without O_NONBLOCK, a FIFO that took the file's place would hold us for ever.
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_UTF8_NAMES = sys.getfilesystemencoding() == "utf-8"


def identity(info: os.stat_result) -> bytes:
    """Return what changes whenever a file of this boot does: device, inode, size, mtime and ctime, packed."""
    return _IDENTITY.pack(info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


class _Node:
    """An entry with what only this host knows of it."""

    __slots__ = ("conditional", "entry", "identity", "link", "socket")

    def __init__(self, entry: Entry, info: os.stat_result, key: bytes) -> None:
        self.entry = entry
        self.identity = key
        self.link = (info.st_dev, info.st_ino) if info.st_nlink > 1 and entry.kind is not Kind.DIRECTORY else None
        self.socket = stat.S_ISSOCK(info.st_mode)
        self.conditional = False  # an ignored directory, there only if an exception brings something below it back


class _Listing:
    __slots__ = ("nodes", "scope")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.nodes: dict[str, _Node] = {}


class DirectoryTree:
    """The files below ``root`` that ``rules`` leave. Owners are 0:0, times whole seconds, sockets empty files.

    ``label`` is what messages call it, ``hidden`` a directory that is not shown: our own store may lie in a context.
    Holds descriptors: ``close`` it, or use it as a context manager.
    """

    def __init__(
        self,
        root: Path,
        rules: IgnoreRules | None = None,
        *,
        label: str = "the build context",
        hidden: Path | None = None,
    ) -> None:
        self.root = root
        self.label = label
        self._hidden = _place(hidden) if hidden is not None else None
        self._patterns = rules.patterns if rules is not None else Patterns(())
        self._lock = threading.RLock()
        self._listings: dict[str, _Listing] = {}
        self._inhabited: dict[str, bool] = {}
        self._trail: list[tuple[str, int]] = []
        self._is_plain: Callable[[bytes], bool] = lambda _: False
        try:
            self._root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ContextError(f"cannot read {label} {root}: {error.strerror}") from error

    def __enter__(self) -> DirectoryTree:
        """Return the tree itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Give the descriptors back; nothing can be read afterwards."""
        with self._lock:
            self._shorten_trail(0)
            if self._root_fd >= 0:
                os.close(self._root_fd)
                self._root_fd = -1

    def refresh(self) -> None:
        """Forget what was listed: the next question sees the files as they are then."""
        with self._lock:
            self._shorten_trail(0)
            self._listings.clear()
            self._inhabited.clear()

    def skip_xattrs(self, is_plain: Callable[[bytes], bool]) -> None:
        """Do not ask for extended attributes of files whose identity ``is_plain`` knows to have none."""
        self._is_plain = is_plain

    def ignores(self, path: str) -> bool:
        """Say whether the ignore file takes ``path`` out; never where it has exceptions, which may bring it back."""
        return not self._patterns.has_exceptions and self._patterns.matches(path)

    def lstat(self, path: str) -> Entry | None:
        """Return the entry at ``path``, None if it is absent or ignored. No symlink is followed."""
        if path == "":
            info = os.fstat(self._root_fd)
            return Entry(
                path="", kind=Kind.DIRECTORY, mode=info.st_mode & 0o7777, mtime=info.st_mtime_ns // 1_000_000_000
            )
        node = self._node(path)
        return node.entry if node is not None else None

    def children(self, path: str) -> Sequence[Entry]:
        """Return the entries directly in ``path`` that are not ignored, by name."""
        listing = self._list(path)
        if listing is None:
            return ()
        return [
            node.entry for node in listing.nodes.values() if not node.conditional or self._has_some(node.entry.path)
        ]

    def open(self, path: str) -> BinaryIO:
        """Open a regular file unbuffered; raise ContextError naming it if that cannot be."""
        node = self._node(path)
        if node is None or node.entry.kind is not Kind.FILE:
            raise ContextError(f"{path}: no such file in {self.label}")
        if node.socket:
            return io.BytesIO()
        directory, _, name = path.rpartition("/")
        try:
            with self._lock:
                fd = os.open(_encode(name), _FILE_FLAGS, dir_fd=self._descend(directory))
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                os.close(fd)
                raise ContextError(f"{path} in {self.label} was replaced while the build was reading it")
            return os.fdopen(fd, "rb", buffering=0)
        except OSError as error:
            raise self._unreadable(path, error) from error

    def link_key(self, path: str) -> tuple[int, int] | None:
        """Return device and inode of a file that has other names too."""
        node = self._node(path)
        return node.link if node is not None else None

    def identity(self, path: str) -> bytes | None:
        """Return the ``identity`` the file had when it was listed; None for what is no regular file."""
        node = self._node(path)
        return None if node is None or node.socket or node.entry.kind is not Kind.FILE else node.identity

    def _node(self, path: str) -> _Node | None:
        directory, _, name = path.rpartition("/")
        listing = self._list(directory)
        node = listing.nodes.get(name) if listing is not None else None
        if node is None or (node.conditional and not self._has_some(path)):
            return None
        return node

    def _has_some(self, directory: str) -> bool:
        """Say whether anything below an ignored directory was brought back."""
        with self._lock:
            seen: list[str] = []
            todo = [directory]
            while todo:
                place = todo.pop()
                known = self._inhabited.get(place)
                listing = self._list(place) if known is None else None
                nodes = listing.nodes.values() if listing is not None else ()
                if known or any(not node.conditional for node in nodes):
                    # All that was seen before and does not lie above is known to hold nothing.
                    self._inhabited.update((one, _is_at_or_below(place, one)) for one in [*seen, place])
                    return True
                seen.append(place)
                todo += [node.entry.path for node in nodes]
            self._inhabited.update(dict.fromkeys(seen, False))
            return False

    def _list(self, directory: str) -> _Listing | None:
        """Return what is in ``directory``; None if it is not there, ignored with all below, or no directory."""
        listing = self._listings.get(directory)
        if listing is not None:
            return listing
        with self._lock:
            # From the nearest one that is listed down: paths may have more names than Python has stack frames.
            parents = [directory]
            while parents[-1] and parents[-1] not in self._listings:
                parents.append(parents[-1].rpartition("/")[0])
            while parents:
                listing = self._list_below(parents.pop())
                if listing is None:
                    return None
            return listing

    def _list_below(self, directory: str) -> _Listing | None:
        """Do what ``_list`` does, with the directory above listed already."""
        listing = self._listings.get(directory)
        if listing is None:
            conditional = False
            scope = self._patterns.scope()
            if directory:
                above, _, name = directory.rpartition("/")
                parent = self._listings[above]
                node = parent.nodes.get(name)
                if node is None or node.entry.kind is not Kind.DIRECTORY:
                    return None
                conditional = node.conditional
                scope = parent.scope.enter(directory)
            listing = self._listings[directory] = self._read(directory, scope, forgiving=conditional)
        return listing

    def _read(self, directory: str, scope: Scope, *, forgiving: bool) -> _Listing:
        listing = _Listing(scope)
        try:
            fd = self._descend(directory)
            with os.scandir(fd) as found:
                names = sorted(found, key=_name)
            for one in names:
                node = self._examine(fd, directory, one, scope)
                if node is not None:
                    listing.nodes[node.entry.path.rpartition("/")[2]] = node
        except OSError as error:
            # An ignored directory that we may not even read is nobody's business.
            if not forgiving:
                raise self._unreadable(directory or str(self.root), error) from error
        return listing

    def _examine(self, fd: int, directory: str, found: os.DirEntry[str], scope: Scope) -> _Node | None:
        name = _name(found)
        path = f"{directory}/{name}" if directory else name
        ignored = scope.matches(path)
        if ignored and not found.is_dir(follow_symlinks=False):
            return None
        if ignored and not scope.enter(path).may_change_below(path):
            return None
        try:
            info = found.stat(follow_symlinks=False)
            if (info.st_dev, info.st_ino) == self._hidden:
                return None
            key = identity(info)
            node = _Node(self._entry(fd, path, name, info, key), info, key)
        except FileNotFoundError:
            return None  # deleted since the directory was listed
        node.conditional = ignored
        return node

    def _entry(self, fd: int, path: str, name: str, info: os.stat_result, key: bytes) -> Entry:
        kind = KINDS.get(stat.S_IFMT(info.st_mode), Kind.FILE)  # sockets become empty files
        mtime = info.st_mtime_ns // 1_000_000_000
        if kind is Kind.SYMLINK:
            target = os.readlink(_encode(name), dir_fd=fd).decode("utf-8", "surrogateescape")
            return Entry(path=path, kind=kind, mode=0o777, mtime=mtime, target=target)
        mode = info.st_mode & 0o7777
        if kind is Kind.FILE and not stat.S_ISSOCK(info.st_mode):
            xattrs = _NO_XATTRS if self._is_plain(key) else _read_xattrs(fd, name)
            return Entry(path=path, kind=kind, mode=mode, size=info.st_size, mtime=mtime, xattrs=xattrs)
        if kind is Kind.DIRECTORY:
            return Entry(path=path, kind=kind, mode=mode, mtime=mtime, xattrs=_read_xattrs(fd, name))
        if kind in (Kind.CHAR, Kind.BLOCK):
            major, minor = os.major(info.st_rdev), os.minor(info.st_rdev)
            return Entry(path=path, kind=kind, mode=mode, mtime=mtime, major=major, minor=minor)
        return Entry(path=path, kind=kind, mode=mode, mtime=mtime)

    def _descend(self, directory: str) -> int:
        """Return a descriptor of ``directory``, good until the next call; the lock is held."""
        if self._root_fd < 0:
            raise ContextError(f"{self.label} is closed")
        parts = directory.split("/") if directory else []
        common = 0
        while common < min(len(parts), len(self._trail)) and parts[common] == self._trail[common][0]:
            common += 1
        self._shorten_trail(common)
        fd = self._trail[-1][1] if self._trail else self._root_fd
        for part in parts[common:]:
            fd = os.open(_encode(part), DIRECTORY, dir_fd=fd)
            self._trail.append((part, fd))
        return fd

    def _shorten_trail(self, length: int) -> None:
        while len(self._trail) > length:
            os.close(self._trail.pop()[1])

    def _unreadable(self, path: str, error: OSError) -> ContextError:
        return ContextError(
            f"cannot read {path} in {self.label}: {error.strerror}",
            hint="make it readable, or list it in .dockerignore if the build does not need it",
        )


def _name(found: os.DirEntry[str]) -> str:
    return found.name if _UTF8_NAMES else os.fsencode(found.name).decode("utf-8", "surrogateescape")


def _is_at_or_below(path: str, top: str) -> bool:
    return path == top or path.startswith(top + "/")


def _encode(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _read_xattrs(fd: int, name: str) -> Mapping[str, bytes]:
    """Return the attributes an image may carry, as far as they can be read: capabilities and the user's own."""
    # There is no listxattr below a descriptor; the kernel's own name of one is as safe, and follows nothing here.
    place = b"/proc/self/fd/%d/%b" % (fd, _encode(name))
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


def _place(directory: Path) -> tuple[int, int] | None:
    try:
        info = os.stat(directory)
    except OSError:
        return None
    return info.st_dev, info.st_ino

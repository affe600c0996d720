"""A host directory as a tree: the build context as COPY sees it.

Every access goes component by component through directory descriptors with O_NOFOLLOW, so nothing outside the root is
ever read, whatever symlinks the tree holds or grows meanwhile. Ignored paths behave as if they were not there.
A directory is listed once and remembered: one build sees one state of the names and metadata, and whether a file's
contents still belong to them is checked by who reads it (design, idea 3).
"""

from __future__ import annotations

import functools
import io
import os
import stat
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from builder.context.ignore import IgnoreRules, Patterns, Scope
from builder.context.listing import Listing, Node, encoded, entry_of, identity, kind_of
from builder.errors import ContextError
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.rooted import DIRECTORY

# Without O_NONBLOCK, a FIFO that took the file's place would hold us for ever.
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


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
        self._listings: dict[str, Listing] = {}
        self._inhabited: dict[str, bool] = {}
        self._trail: list[tuple[str, int]] = []
        self._here = "", -1
        self._known: Callable[[str], Mapping[bytes, bytes]] = lambda _: {}
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

    def believe(self, known: Callable[[str], Mapping[bytes, bytes]]) -> None:
        """Ask ``known`` for a directory's records by identity, and only other files for their extended attributes."""
        self._known = known

    def learn(self, directory: str, name: str, node: Node, record: bytes | None) -> bytes:
        """Put a record, if there is one, into a file of which nothing is known; return what is known of it then.

        Nothing if ``node`` is not what is listed there.
        """
        listing = self._listings.get(directory)
        now = None if listing is None else listing.nodes.get(name)
        if listing is None or now is None or now[1] != node[1]:
            return b""
        if record is None or now[2]:
            return now[2]
        listing.nodes[name] = (*now[:2], record, now[3])
        return record

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
        return entry_of(path, node) if node is not None else None

    def children(self, path: str) -> Sequence[Entry]:
        """Return the entries directly in ``path`` that are not ignored, by name."""
        prefix = f"{path}/" if path else ""
        return [entry_of(prefix + name, node) for name, node in self.nodes(path)]

    def nodes(self, path: str) -> Collection[tuple[str, Node]]:
        """Return names and nodes of what is directly in ``path`` and not ignored, by name."""
        listing = self._list(path)
        if listing is None:
            return ()
        if not listing.conditional:
            return listing.nodes.items()
        prefix = f"{path}/" if path else ""
        return [
            (name, node)
            for name, node in listing.nodes.items()
            if not _is_conditional(node) or self._has_some(prefix + name)
        ]

    def unread(self, path: str) -> tuple[int, int]:
        """Return how many files in ``path`` nothing was known of when it was listed, and their bytes."""
        listing = self._list(path)
        return (0, 0) if listing is None else listing.unread

    def walk(self, path: str) -> Iterator[tuple[str, Collection[tuple[str, Node]]]]:
        """Yield every directory from ``path`` down, each before those in it, and its ``nodes``."""
        pending = [path]
        while pending:
            directory = pending.pop()
            nodes = self.nodes(directory)
            yield directory, nodes
            prefix = f"{directory}/" if directory else ""
            below = [prefix + name for name, node in nodes if node[3] is not None and stat.S_ISDIR(node[0])]
            pending += reversed(below)

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Yield all directories that were listed and what is known of the files in them."""
        for directory, listing in list(self._listings.items()):
            yield directory, listing.records()

    def open(self, path: str) -> BinaryIO:
        """Open a regular file unbuffered; raise ContextError naming it if that cannot be, and if it cannot be read."""
        node = self._node(path)
        if node is None or kind_of(node) is not Kind.FILE:
            raise ContextError(f"{path}: no such file in {self.label}")
        if stat.S_ISSOCK(node[0]):
            return io.BytesIO()
        directory, _, name = path.rpartition("/")
        try:
            return _File(self._open(directory, name)[0], functools.partial(self._unreadable, path))
        except OSError as error:
            raise self._unreadable(path, error) from error

    def read(self, directory: str, name: str, size: int) -> tuple[bytes, bytes]:
        """Return the first ``size`` + 1 bytes of a regular file, and its ``identity`` when they were about to be read.

        It is one that ``nodes`` told of: nothing is asked again. Raises ContextError naming it if that cannot be.
        """
        try:
            fd, info = self._open(directory, name)
            try:
                data = os.read(fd, size + 1)
                while len(data) not in (info.st_size, size + 1) and (more := os.read(fd, size + 1 - len(data))):
                    data += more
            finally:
                os.close(fd)
        except OSError as error:
            raise self._unreadable(f"{directory}/{name}" if directory else name, error) from error
        return data, identity(info)

    def read_again(self, directory: str, name: str, size: int) -> bytes:
        """Return what ``read`` does to a caller who knows the digest of these bytes: where they lie is no matter."""
        try:
            with self._lock:
                fd = os.open(encoded(name), _FILE_FLAGS, dir_fd=self._descend(directory))
            try:
                data = os.read(fd, size + 1)
                while len(data) < size and (more := os.read(fd, size + 1 - len(data))):
                    data += more
            finally:
                os.close(fd)
        except OSError as error:
            raise self._unreadable(f"{directory}/{name}" if directory else name, error) from error
        return data

    def _open(self, directory: str, name: str) -> tuple[int, os.stat_result]:
        """Return a descriptor of a regular file, and what it tells. Raises OSError and ContextError."""
        with self._lock:
            fd = os.open(encoded(name), _FILE_FLAGS, dir_fd=self._descend(directory))
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            os.close(fd)
            path = f"{directory}/{name}" if directory else name
            raise ContextError(f"{path} in {self.label} was replaced while the build was reading it")
        return fd, info

    def link_key(self, path: str) -> tuple[int, int] | None:
        """Return device and inode of a file that has other names too."""
        node = self._node(path)
        return None if node is None or node[3] is None else node[3].link

    def file(self, path: str) -> Node | None:
        """Return the node of a regular file; None for what is none."""
        node = self._node(path)
        return node if node is not None and stat.S_ISREG(node[0]) else None

    def _node(self, path: str) -> Node | None:
        directory, _, name = path.rpartition("/")
        listing = self._list(directory)
        node = listing.nodes.get(name) if listing is not None else None
        if node is None or (_is_conditional(node) and not self._has_some(path)):
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
                nodes = listing.nodes if listing is not None else {}
                if known or not all(map(_is_conditional, nodes.values())):
                    # All that was seen before and does not lie above is known to hold nothing.
                    self._inhabited.update((one, _is_at_or_below(place, one)) for one in [*seen, place])
                    return True
                seen.append(place)
                todo += [f"{place}/{name}" for name in nodes]
            self._inhabited.update(dict.fromkeys(seen, False))
            return False

    def _list(self, directory: str) -> Listing | None:
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

    def _list_below(self, directory: str) -> Listing | None:
        """Do what ``_list`` does, with the directory above listed already."""
        listing = self._listings.get(directory)
        if listing is None:
            conditional = False
            scope = self._patterns.scope()
            if directory:
                above, _, name = directory.rpartition("/")
                parent = self._listings[above]
                node = parent.nodes.get(name)
                if node is None or not stat.S_ISDIR(node[0]):
                    return None
                conditional = _is_conditional(node)
                scope = parent.scope.enter(directory)
            listing = self._listings[directory] = self._read(directory, scope, forgiving=conditional)
        return listing

    def _read(self, directory: str, scope: Scope, *, forgiving: bool) -> Listing:
        listing = Listing(scope)
        try:
            fd = self._descend(directory)
            listing.read(fd, directory, self._known(directory), self._hidden, ignoring=bool(self._patterns))
        except OSError as error:
            # An ignored directory that we may not even read is nobody's business.
            if not forgiving:
                raise self._unreadable(directory or str(self.root), error) from error
        return listing

    def _descend(self, directory: str) -> int:
        """Return a descriptor of ``directory``, good until the next call; the lock is held."""
        here, fd = self._here
        if fd >= 0 and here == directory:
            return fd
        if self._root_fd < 0:
            raise ContextError(f"{self.label} is closed")
        parts = directory.split("/") if directory else []
        common = 0
        while common < min(len(parts), len(self._trail)) and parts[common] == self._trail[common][0]:
            common += 1
        self._shorten_trail(common)
        fd = self._trail[-1][1] if self._trail else self._root_fd
        for part in parts[common:]:
            fd = os.open(encoded(part), DIRECTORY, dir_fd=fd)
            self._trail.append((part, fd))
        self._here = directory, fd
        return fd

    def _shorten_trail(self, length: int) -> None:
        self._here = "", -1
        while len(self._trail) > length:
            os.close(self._trail.pop()[1])

    def _unreadable(self, path: str, error: OSError) -> ContextError:
        return ContextError(
            f"cannot read {path} in {self.label}: {error.strerror}",
            hint="make it readable, or list it in .dockerignore if the build does not need it",
        )


class _File(io.FileIO):
    """A file open for reading, whose failures are not those of whatever is written meanwhile."""

    def __init__(self, fd: int, failed: Callable[[OSError], ContextError]) -> None:
        super().__init__(fd, "rb")
        self._failed = failed

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to ``size`` bytes."""
        try:
            return super().read(-1 if size is None else size)
        except OSError as error:
            raise self._failed(error) from error


def _is_conditional(node: Node) -> bool:
    return node[3] is not None and node[3].conditional


def _is_at_or_below(path: str, top: str) -> bool:
    return path == top or path.startswith(top + "/")


def _place(directory: Path) -> tuple[int, int] | None:
    try:
        info = os.stat(directory)
    except OSError:
        return None
    return info.st_dev, info.st_ino

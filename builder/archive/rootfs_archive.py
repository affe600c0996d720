"""The root filesystem of an image as a tar or a directory (outputs ``type=tar`` and ``type=local``).

Read off the merged view, never unpacked anywhere in between. In a directory everything belongs to the caller, as with
``docker build -o``: set-id bits that would then mean another account are dropped. Nothing is ever written through a
symlink, neither the image's nor one that was there before.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from builder.archive.tarsink import output
from builder.errors import OutputError
from builder.rootfs.contents import LayerContents
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.rooted import DIRECTORY, NEW_FILE, open_parent, split
from builder.rootfs.tarwriter import END, header, padding
from builder.rootfs.view import Located, View
from builder.streams import copy
from builder.values import dataclass, replace


@dataclass(frozen=True, slots=True)
class Tree:
    """The root filesystem of one image. ``contents`` has one reader per layer of ``view``.

    ``below`` is the name of a directory that it is written in, empty for none.
    """

    view: View
    contents: Sequence[LayerContents]
    below: str = ""


def write_rootfs_tar(trees: Sequence[Tree], target: Path | BinaryIO) -> None:
    """Write the trees as one tar without whiteouts: each sorted, parents first, owners and times as in the image.

    Raises OutputError, and what reading layers raises.
    """
    directories: set[str] = set()
    with output(target) as stream:
        for tree in trees:
            if tree.below:
                stream.write(header(Entry(path=tree.below, kind=Kind.DIRECTORY, mode=0o755)))
            for located, first in _with_links(tree.view):
                entry = located.entry
                if len(trees) > 1 and not tree.below and entry.kind is Kind.DIRECTORY:
                    if entry.path in directories:
                        continue
                    directories.add(entry.path)
                _write_entry(stream, tree, located, first)
        stream.write(END)


def _write_entry(stream: BinaryIO, tree: Tree, located: Located, first: str | None) -> None:
    entry = located.entry
    named = replace(entry, path=f"{tree.below}/{entry.path}") if tree.below else entry
    if first is not None:
        stream.write(header(_hardlink(named, f"{tree.below}/{first}" if tree.below else first)))
        return
    stream.write(header(named))
    if entry.kind is Kind.FILE and entry.size:
        with tree.contents[located.layer].open(located.offset, entry.size) as source:
            _copy_exactly(source, stream, entry)
        stream.write(padding(entry.size))


def write_rootfs_directory(tree: Tree, target: Path) -> tuple[str, ...]:
    """Write the tree below the directory ``target``, made if need be; files there of other names stay.

    Returns the paths of the device nodes that the caller may not make. Raises OutputError.
    """
    target = target / tree.below
    with _writing(target, ""):
        target.mkdir(parents=True, exist_ok=True)
        with _Directory(target, tree.contents) as directory:
            for located, first in _with_links(tree.view):
                with _writing(target, located.entry.path):
                    directory.add(located, first)
    return tuple(directory.skipped)


def first_clash(earlier: Sequence[Tree], tree: Tree) -> str:
    """Return a path that ``tree`` and one of ``earlier`` both have, other than as a directory; empty for none."""
    for located in tree.view.walk("") if earlier else ():
        path, kind = located.entry.path, located.entry.kind
        for one in earlier:
            other = one.view.kind_of(path) if path else None
            if other is not None and (kind, other[0]) != (Kind.DIRECTORY, Kind.DIRECTORY):
                return path
    return ""


@contextlib.contextmanager
def _writing(target: Path, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        shown = os.fsencode(target / path).decode(errors="replace")
        raise OutputError(f"cannot write {shown}: {error.strerror}") from error


def _with_links(view: View) -> Iterator[tuple[Located, str | None]]:
    """Yield everything but the root, with the path that a file was already yielded under, if it was.

    Only real links are remembered: a tree has far more files than links.
    """
    yielded: dict[str, str] = {}
    for located in view.walk(""):
        path, group = located.entry.path, located.group
        if not path:
            continue
        if located.entry.kind is not Kind.FILE:
            yield located, None
        elif group in yielded:
            yield located, yielded[group]
        elif group == path:
            yield located, None
        elif "\0" not in group and _order(group) < _order(path):
            yield located, group
        else:
            yielded[group] = path
            yield located, None


def _order(path: str) -> list[bytes]:
    return os.fsencode(path).split(b"/")


def _hardlink(entry: Entry, first: str) -> Entry:
    return Entry(
        path=entry.path,
        kind=Kind.HARDLINK,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        mtime=entry.mtime,
        target=first,
    )


def _copy_exactly(source: BinaryIO, target: BinaryIO, entry: Entry) -> None:
    if copy(source, target, limit=entry.size) != entry.size:
        raise OutputError(f"the contents of {entry.path} ended early")


class _Directory:
    """A directory that entries are written into in pre-order; holds a descriptor for each directory on the way."""

    def __init__(self, target: Path, contents: Sequence[LayerContents]) -> None:
        self._contents = contents
        self._root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open: list[tuple[str, int, Entry]] = []
        self._uid, self._gid = os.geteuid(), os.getegid()
        self.skipped: list[str] = []

    def __enter__(self) -> _Directory:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            while self._open:
                self._leave(finished=kind is None)
        finally:
            os.close(self._root)

    def add(self, located: Located, first: str | None) -> None:
        """Write one entry; ``first`` is the earlier name of the same file."""
        entry = located.entry
        parent, name = split(entry.path)
        while self._open and self._open[-1][0] != parent:
            self._leave(finished=True)
        directory = self._open[-1][1] if self._open else self._root
        if entry.kind is Kind.DIRECTORY:
            self._open.append((entry.path, _enter(directory, name), entry))
            return
        temporary = f".pybuild-{os.getpid()}-{os.urandom(4).hex()}"
        try:
            if self._make(directory, temporary, located, first):
                os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        finally:
            # Also after success: rename does nothing when both names are one file already.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=directory)

    def _make(self, directory: int, name: str, located: Located, first: str | None) -> bool:
        entry = located.entry
        if entry.kind is Kind.SYMLINK:
            os.symlink(os.fsencode(entry.target), name, dir_fd=directory)
        elif entry.kind is Kind.FILE:
            if first is None or not self._link(first, directory, name):
                self._write(directory, name, located)
            return True
        elif not self._make_node(directory, name, entry):
            return False
        os.utime(name, (entry.mtime, entry.mtime), dir_fd=directory, follow_symlinks=False)
        return True

    def _write(self, directory: int, name: str, located: Located) -> None:
        entry = located.entry
        with os.fdopen(os.open(name, NEW_FILE, 0o600, dir_fd=directory), "wb") as stream:
            if entry.size:
                with self._contents[located.layer].open(located.offset, entry.size) as source:
                    _copy_exactly(source, stream, entry)
            stream.flush()
            _set_user_xattrs(stream.fileno(), entry)
            os.fchmod(stream.fileno(), self._mode(entry))
            os.utime(stream.fileno(), (entry.mtime, entry.mtime))

    def _link(self, first: str, directory: int, name: str) -> bool:
        try:
            parent, source = open_parent(self._root, first)
            try:
                os.link(source, name, src_dir_fd=parent, dst_dir_fd=directory, follow_symlinks=False)
            finally:
                os.close(parent)
        except OSError:
            # A file system without links, too many of them, a directory that its mode has closed: then a copy.
            return False
        return True

    def _make_node(self, directory: int, name: str, entry: Entry) -> bool:
        kinds = {Kind.CHAR: stat.S_IFCHR, Kind.BLOCK: stat.S_IFBLK, Kind.FIFO: stat.S_IFIFO}
        try:
            os.mknod(name, kinds[entry.kind] | 0o600, os.makedev(entry.major, entry.minor), dir_fd=directory)
        except PermissionError:
            self.skipped.append(entry.path)
            return False
        os.chmod(name, self._mode(entry), dir_fd=directory)
        return True

    def _leave(self, *, finished: bool) -> None:
        _, fd, entry = self._open.pop()
        try:
            if finished:
                os.fchmod(fd, self._mode(entry))
                os.utime(fd, (entry.mtime, entry.mtime))
        finally:
            os.close(fd)

    def _mode(self, entry: Entry) -> int:
        mode = entry.mode & 0o7777
        if entry.uid != self._uid:
            mode &= ~stat.S_ISUID
        if entry.gid != self._gid and entry.kind is not Kind.DIRECTORY:
            mode &= ~stat.S_ISGID
        return mode


def _enter(directory: int, name: str) -> int:
    """Open the directory ``name``, made if it is missing and put in the place of a file or link."""
    try:
        return _open_writable(directory, name)
    except FileNotFoundError:
        pass
    except OSError as error:
        if not isinstance(error, NotADirectoryError) and not stat.S_ISLNK(os.lstat(name, dir_fd=directory).st_mode):
            raise
        os.unlink(name, dir_fd=directory)
    os.mkdir(name, 0o700, dir_fd=directory)
    return _open_writable(directory, name)


def _open_writable(directory: int, name: str) -> int:
    fd = os.open(name, DIRECTORY, dir_fd=directory)
    if os.fstat(fd).st_mode & 0o700 != 0o700:
        # One of an earlier run, with the image's mode.
        os.fchmod(fd, 0o700)
    return fd


def _set_user_xattrs(fd: int, entry: Entry) -> None:
    for name, value in entry.xattrs.items():
        if name.startswith("user."):
            with contextlib.suppress(OSError):
                os.setxattr(fd, name, value)

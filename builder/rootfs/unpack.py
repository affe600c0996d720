"""One layer's tar becomes a directory in overlay form, on top of the layers below it.

design ("The store"), run-sandbox.md 2, semantics 50, 51, 56, 58, 60, 61. The result is what an overlay mount needs, so
that mounting the stack shows what extracting all tars in order would have made: a directory made only because something
lies in it carries the metadata it has below (the kernel shows the upper one's); a parent that is a link, here or below,
is followed within the merged root; a hard link to a file below copies that file up. Whiteouts hide what is below, never
what the same layer brings, wherever in the tar they stand.

The tar is hostile. Everything is done relative to descriptors of directories opened without following links. The worker
calls this inside its user namespace, so owners are the image's own. Which bytes are a tar is tarreader's business.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, assert_never

from builder.errors import OutputError, room_hint
from builder.image.digest import DiffID, Digest
from builder.rootfs import whiteout
from builder.rootfs.compression import decompress
from builder.rootfs.entry import Entry, Kind, LayerFormatError
from builder.rootfs.merged import Merged
from builder.rootfs.restore import Restorer, Warn, write
from builder.rootfs.rooted import DIRECTORY, NEW_FILE, join, remove, split
from builder.rootfs.tarreader import read_members
from builder.streams import CHUNK, Readable

_OPEN_LIMIT = 200


def unpack(
    blob: BinaryIO,
    target: Path,
    *,
    lower: Sequence[Path] = (),
    bottom: bool = False,
    single: bool = False,
    warn: Warn | None = None,
) -> DiffID:
    """Extract the layer ``blob`` (of any compression) to the directory ``target``, new or empty; return its DiffID.

    ``lower`` are the unpacked layers below, bottom first. Without them the layer is taken to stand alone: its whiteouts
    are kept though nothing tells what they hide, unless it is the ``bottom`` of its stack. ``single``: there is one
    uid, and owners are recorded in an attribute. ``warn`` hears of what this user may not create: device nodes,
    attributes. Raises LayerFormatError, UnsafePathError, SandboxError for owners outside the namespace, OutputError for
    the disk.
    """
    source = _Hashing(decompress(blob))
    layer = _Layer(target, [str(path) for path in reversed(lower)], bottom, single, warn or _ignore)
    current = ""
    try:
        layer.start()
        for member, contents in read_members(source):
            current = member.entry.path
            layer.add(member.entry, contents)
        layer.finish()
        return DiffID(source.finish())
    except OSError as error:
        where = f"{target}: {current}" if current else str(target)
        if error.errno == errno.ENAMETOOLONG:
            raise LayerFormatError(f"{where[:200]}: the name is too long for this file system") from error
        raise OutputError(f"cannot unpack a layer into {where}: {error.strerror}", hint=room_hint(error)) from error
    finally:
        layer.close()


_DEVICES = "dev/"
"""What a RUN sees there is the sandbox's own, whatever the image has."""


def _ignore(_message: str) -> None:
    """Take a warning nobody wants to hear."""


class _Hashing:
    def __init__(self, source: Readable) -> None:
        self._source = source
        self._hash = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        return data

    def finish(self) -> Digest:
        """Read what is behind the end of the archive, which the DiffID covers too."""
        while self.read(CHUNK):
            pass
        return Digest.from_hex(self._hash.hexdigest())


class _Layer:
    def __init__(self, target: Path, stack: list[str], bottom: bool, single: bool, warn: Warn) -> None:
        self._target = str(target)
        self._bottom = bottom
        self._restore = Restorer(single, warn)
        self._merged = Merged(stack)
        self._open: dict[str, int] = {}
        self._pending: dict[str, Entry] = {}  # metadata of directories, set when nothing more is put into them
        self._implied: set[str] = set()  # those of them that have it from below
        self._late: list[Entry] = []

    def start(self) -> None:
        try:
            os.mkdir(self._target, 0o700)
        except FileExistsError:
            os.chmod(self._target, 0o700)
        self._open[""] = self._merged.root = os.open(self._target, DIRECTORY)
        self._pending[""] = self._metadata_below("")

    def add(self, entry: Entry, contents: Readable) -> None:
        if len(self._open) > _OPEN_LIMIT:
            self._close_directories()
        match entry.kind:
            case Kind.WHITEOUT | Kind.OPAQUE:
                if not self._hide(entry):
                    self._late.append(entry)
            case Kind.DIRECTORY:
                path = self._resolve(entry.path)
                self._pending[path] = entry
                self._implied.discard(path)
                self._directory(path)
            case Kind.HARDLINK:
                self._link(entry)
            case Kind.FILE | Kind.SYMLINK | Kind.CHAR | Kind.BLOCK | Kind.FIFO:
                self._create(self._resolve(entry.path), entry, contents)
            case _:
                assert_never(entry.kind)

    def finish(self) -> None:
        """Settle what had to wait: whiteouts before their parents, and directories, children first."""
        for entry in self._late:
            self._hide(entry)
        for path in sorted(self._pending, reverse=True):
            fd = os.open(path, DIRECTORY, dir_fd=self._open[""]) if path else self._open[""]
            try:
                self._restore.apply(fd, self._pending[path])
            finally:
                if path:
                    os.close(fd)

    def close(self) -> None:
        self._close_directories()
        if "" in self._open:
            os.close(self._open.pop(""))

    def _close_directories(self, below: str = "") -> None:
        for path in [path for path in self._open if path and _is_at_or_below(path, below)]:
            os.close(self._open.pop(path))

    # --- directories

    def _resolve(self, path: str) -> str:
        """Return where an entry really goes: its parents may be links, here or below; its own name is not followed."""
        parent, name = split(path)
        return join(self._merged.resolve(parent), name) if parent else name

    def _directory(self, path: str) -> int:
        """Return a descriptor, ours, of a directory of this layer; make it and its parents if they are not there."""
        known = self._open.get(path)
        if known is not None:
            return known
        start = split(path)[0]
        while start not in self._open:
            start = split(start)[0]
        here, fd = start, os.dup(self._open[start])
        try:
            for name in path[len(start) :].strip("/").split("/"):
                here = join(here, name)
                child = self._enter(fd, here, name)
                os.close(fd)
                fd = child
        except BaseException:
            os.close(fd)
            raise
        self._open[path] = fd
        return fd

    def _enter(self, parent: int, path: str, name: str) -> int:
        try:
            return os.open(name, DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            if path not in self._pending:
                self._pending[path] = self._metadata_below(path)
                self._implied.add(path)
            covers = False
        except NotADirectoryError:
            os.unlink(name, dir_fd=parent)
            covers = True
        self._merged.replaced(path, by_link=False)
        os.mkdir(name, 0o700, dir_fd=parent)
        fd = os.open(name, DIRECTORY, dir_fd=parent)
        if covers:
            # What it takes the place of had already hidden the layers below.
            self._pending.setdefault(path, Entry(path=path, kind=Kind.DIRECTORY))
            whiteout.set_opaque(fd)
            self._merged.hide(path)
        return fd

    def _metadata_below(self, path: str) -> Entry:
        stack = self._merged.directories(path)
        if not stack:
            return Entry(path=path, kind=Kind.DIRECTORY)
        return self._describe(stack[0], path, os.lstat(stack[0]))

    def _describe(self, file: str, path: str, status: os.stat_result) -> Entry:
        xattrs = whiteout.read_xattrs(file, whiteout.may_unpack)
        return whiteout.describe(file, path, status, single=self._restore.single, xattrs=xattrs)

    # --- deletions

    def _hide(self, entry: Entry) -> bool:
        """Hide what is below; False if the directory it is about is not there yet."""
        if not self._merged.stack and self._bottom:
            return True
        about = entry.path if entry.kind is Kind.OPAQUE else split(entry.path)[0]
        if self._merged.resolve(about) != about or self._is_file(about):
            return True  # behind a link it would delete somewhere else than it says
        if not self._merged.stack:
            return self._hide_unknown(entry, about)
        stack = self._merged.directories(about)
        if entry.kind is Kind.WHITEOUT:
            hidden = {split(entry.path)[1]} if whiteout.lookup(stack, split(entry.path)[1]) else set()
        elif about:
            hidden = set()
            if stack:
                self._make_opaque(about)
        else:
            hidden = whiteout.names(stack)  # the kernel takes no notice of an opaque root
        for name in sorted(hidden):
            self._hide_name(join(about, name))
        return True

    def _is_file(self, path: str) -> bool:
        """Whether this layer has something else than a directory at ``path``, or above it."""
        try:
            return not stat.S_ISDIR(os.stat(path or ".", dir_fd=self._open[""], follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return False
        except NotADirectoryError:
            return True

    def _hide_unknown(self, entry: Entry, about: str) -> bool:
        try:
            os.close(os.open(about or ".", DIRECTORY, dir_fd=self._open[""]))
        except (FileNotFoundError, NotADirectoryError):
            return False
        if entry.kind is Kind.WHITEOUT:
            self._hide_name(entry.path)
        elif about:
            self._make_opaque(about)
        return True

    def _hide_name(self, path: str) -> None:
        parent, name = split(path)
        directory = self._directory(parent)
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            whiteout.make_whiteout(name, directory)
            self._merged.replaced(path, by_link=False)
            return
        if stat.S_ISDIR(status.st_mode):
            self._make_opaque(path)
            self._forget_below(path)

    def _make_opaque(self, path: str) -> None:
        whiteout.set_opaque(self._directory(path))
        self._merged.hide(path)
        self._forget_below(path + "/")

    def _forget_below(self, top: str) -> None:
        """Directories that were here before they were said to be deleted below have nothing from there."""
        for path in [path for path in self._implied if path == top or path.startswith(top.rstrip("/") + "/")]:
            self._implied.remove(path)
            self._pending[path] = Entry(path=path, kind=Kind.DIRECTORY)

    # --- everything that is no directory

    def _create(self, path: str, entry: Entry, contents: Readable) -> None:
        parent, name = split(path)
        if not name:
            raise LayerFormatError(f"the root of a layer is a {entry.kind.name.lower()}, not a directory")
        directory = self._directory(parent)
        self._merged.replaced(path, by_link=entry.kind is Kind.SYMLINK)
        try:
            self._make(directory, name, path, entry, contents)
        except FileExistsError:
            self._make_room(directory, name, path)
            self._make(directory, name, path, entry, contents)

    def _make_room(self, directory: int, name: str, path: str) -> None:
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            self._close_directories(path)
            for gone in [found for found in self._pending if _is_at_or_below(found, path)]:
                del self._pending[gone]
                self._implied.discard(gone)
            self._merged.forget()
        remove(directory, name)

    def _make(self, directory: int, name: str, path: str, entry: Entry, contents: Readable) -> None:
        match entry.kind:
            case Kind.FILE:
                fd = os.open(name, NEW_FILE, 0o600, dir_fd=directory)
                try:
                    write(fd, contents, entry)
                    self._restore.apply(fd, entry)
                finally:
                    os.close(fd)
                return
            case Kind.SYMLINK:
                os.symlink(entry.target, name, dir_fd=directory)
            case Kind.FIFO:
                os.mkfifo(name, 0o600, dir_fd=directory)
            case _:
                if not self._make_device(directory, name, path, entry):
                    return
        self._restore.apply_to_name(directory, name, entry, file=f"{self._target}/{path}")

    def _make_device(self, directory: int, name: str, path: str, entry: Entry) -> bool:
        kind = stat.S_IFCHR if entry.kind is Kind.CHAR else stat.S_IFBLK
        problem = "is how overlay marks a deletion"
        if (entry.kind, entry.major, entry.minor) != (Kind.CHAR, 0, 0):
            try:
                os.mknod(name, kind | 0o600, os.makedev(entry.major, entry.minor), dir_fd=directory)
                return True
            except PermissionError as error:
                problem = f"cannot be created here ({error.strerror})"
        if not path.startswith(_DEVICES):
            self._restore.warn(
                f"device node {path} ({entry.major}:{entry.minor}) {problem}; it is in the image but not in RUN steps"
            )
        parent = split(path)[0]
        if not self._merged.stack or whiteout.lookup(self._merged.directories(parent), name):
            whiteout.make_whiteout(name, directory)
        return False

    def _link(self, entry: Entry) -> None:
        path, source = self._resolve(entry.path), self._resolve(entry.target)
        if path == source:
            return
        parent, name = split(source)
        status = self._bring_up(source, entry)
        if stat.S_ISDIR(status.st_mode):
            raise LayerFormatError(f"{entry.path}: a hard link to the directory {entry.target}")
        if _is_at_or_below(source, path) or _is_at_or_below(path, source):
            raise LayerFormatError(f"{entry.path}: takes the place of {entry.target}, which it links to")
        here = self._directory(split(path)[0])
        there = self._directory(parent)
        self._merged.replaced(path, by_link=stat.S_ISLNK(status.st_mode))
        new = split(path)[1]
        try:
            os.link(name, new, src_dir_fd=there, dst_dir_fd=here, follow_symlinks=False)
        except FileExistsError:
            self._make_room(here, new, path)
            os.link(name, new, src_dir_fd=there, dst_dir_fd=here, follow_symlinks=False)

    def _bring_up(self, source: str, entry: Entry) -> os.stat_result:
        """Make sure that a link's target is in this layer: copy it from below if it is only there."""
        parent, name = split(source)
        try:
            status = os.stat(source or ".", dir_fd=self._open[""], follow_symlinks=False)
            if not whiteout.is_whiteout(status):
                return status
        except NotADirectoryError:
            pass
        except FileNotFoundError:
            found = whiteout.lookup(self._merged.directories(parent), name)
            if found is not None:
                return self._copy_up(source, *found)
        raise LayerFormatError(f"{entry.path}: a hard link to {entry.target}, which is not there")

    def _copy_up(self, path: str, file: str, status: os.stat_result) -> os.stat_result:
        if not stat.S_ISDIR(status.st_mode):
            entry = self._describe(file, path, status)
            readable = file if entry.kind is Kind.FILE else os.devnull
            with open(readable, "rb", buffering=0) as contents:
                self._create(path, entry, contents)
        return status


def _is_at_or_below(path: str, top: str) -> bool:
    return not top or path == top or path.startswith(top + "/")

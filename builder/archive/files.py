"""Named files inside a directory or a tar, read without trusting either: no links out, no unbounded reads.

Names are image-spec paths (``blobs/sha256/...``). A tar is indexed once and then read in place; a compressed one is
inflated into an unlinked temporary file first, because its parts are needed in another order.
"""

from __future__ import annotations

import errno
import io
import os
import posixpath
import stat
import weakref
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from builder.errors import ContextError, ImageError, OutputError
from builder.patterns import pattern
from builder.rootfs.entry import Kind, LayerFormatError, UnsafePathError
from builder.streams import CHUNK, Window, copy, read_limited

MAX_FILES = 100_000
"""Entries of one image archive; a few per layer are normal."""

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_NAME = pattern("[^\0/\ud800-\udfff]+")
_LINK_LIMIT = 8
_TAR_MAGIC_AT = 257
_TAR_MAGIC = b"ustar"
_ZEROS = bytes(CHUNK)


class Files(Protocol):
    """Read access to files by name; thread-safe."""

    where: str

    def size(self, name: str) -> int | None:
        """Return a file's size, None when there is no such file. Raises UnsafePathError for a link that leads out."""
        ...

    def open(self, name: str) -> BinaryIO:
        """Open a file, seekable. Raises ImageError when it is not there."""
        ...

    def directories(self) -> list[str]:
        """Return the names of the directories at the top, sorted."""
        ...

    def close(self) -> None:
        """Let go of what is held; files already open stay open."""
        ...


def read_file(files: Files, name: str, limit: int) -> bytes:
    """Return a file's contents. Raises ImageError beyond ``limit`` bytes."""
    with files.open(name) as stream:
        return read_limited(
            stream, limit, lambda: ImageError(f"{files.where}: {name} is longer than the {limit} bytes it may have")
        )


def open_files(path: Path, scratch: Path | None = None, where: str = "") -> Files:
    """Open a directory or a tar of any compression; ``scratch`` is where a compressed one is inflated.

    ``where`` is what messages call it instead of ``path``. Raises ContextError when there is nothing to open,
    ImageError for what is no tar, OutputError for a full disk.
    """
    try:
        if path.is_dir():
            return DirectoryFiles(path)
        return TarFiles(path, scratch, where)
    except OSError as error:
        raise ContextError(f"cannot read {path}: {error.strerror}") from error


class DirectoryFiles:
    """Files below a directory; not a single symlink below it is followed."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # An image may be used to the end without anybody who knows that; a file closes itself then, a descriptor not.
        self._closing = weakref.finalize(self, os.close, self._root)

    def size(self, name: str) -> int | None:
        """Return a file's size, None when there is no such file."""
        try:
            fd = self._open(name)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise ImageError(f"{self.where}: cannot read {name}: {error.strerror}") from error
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)

    def open(self, name: str) -> BinaryIO:
        """Open a file."""
        try:
            return os.fdopen(self._open(name), "rb")
        except OSError as error:
            raise ImageError(f"{self.where}: cannot read {name}: {error.strerror}") from error

    def directories(self) -> list[str]:
        """Return the names of the directories at the top, sorted."""
        with os.scandir(self._root) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))

    def close(self) -> None:
        """Close the directory."""
        self._closing()
        self._root = -1

    def _open(self, name: str) -> int:
        *parents, last = name.split("/")
        directory = os.dup(self._root)
        try:
            for part in parents:
                below = self._step(directory, part, os.O_DIRECTORY, name)
                os.close(directory)
                directory = below
            fd = self._step(directory, last, os.O_NONBLOCK, name)
        finally:
            os.close(directory)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise UnsafePathError(f"{self.where}: {name} is not a regular file")
        return fd

    def _step(self, directory: int, part: str, flags: int, name: str) -> int:
        if part in ("", ".", "..") or not _NAME.fullmatch(part):
            raise UnsafePathError(f"{self.where}: {name!r} is not a name inside it")
        try:
            return os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=directory)
        except OSError:
            if stat.S_ISLNK(os.lstat(part, dir_fd=directory).st_mode):
                raise UnsafePathError(f"{self.where}: {name} leads through a symbolic link") from None
            raise


class TarFiles:
    """Files in a tar on disk. The last entry of a name counts; links inside the tar are followed."""

    def __init__(self, path: Path, scratch: Path | None = None, where: str = "") -> None:
        self.where = where or str(path)
        self._stream: BinaryIO = open(path, "rb", buffering=0)  # noqa: SIM115  closed by close()
        self._found: dict[str, tuple[int, int] | str] = {}
        try:
            head = os.pread(self._stream.fileno(), _TAR_MAGIC_AT + len(_TAR_MAGIC), 0)
            if head[_TAR_MAGIC_AT:] != _TAR_MAGIC:
                self._inflate(scratch)
            if not os.fstat(self._stream.fileno()).st_size:
                raise ImageError(
                    f"{self.where} is empty: there is no archive of an image in it",
                    hint="what should have written it has failed, or wrote elsewhere",
                )
            self._index()
        except LayerFormatError as error:
            self._stream.close()
            raise ImageError(f"{self.where} is no archive of an image, or a damaged one: {error.message}") from error
        except BaseException:
            self._stream.close()
            raise
        self._closing = weakref.finalize(self, self._stream.close)

    def size(self, name: str) -> int | None:
        """Return a file's size, None when there is no such file."""
        found = self._follow(name)
        return None if found is None else found[1]

    def open(self, name: str) -> BinaryIO:
        """Open a file."""
        found = self._follow(name)
        if found is None:
            raise ImageError(f"{self.where}: there is no {name} in it")
        return cast(BinaryIO, io.BufferedReader(Window(os.dup(self._stream.fileno()), *found), CHUNK))

    def directories(self) -> list[str]:
        """Return the names of the directories at the top, sorted."""
        return sorted({name.partition("/")[0] for name in self._found if "/" in name})

    def close(self) -> None:
        """Close the tar."""
        self._closing()

    def _follow(self, name: str) -> tuple[int, int] | None:
        for _ in range(_LINK_LIMIT):
            found = self._found.get(name)
            if not isinstance(found, str):
                return found
            name = found
            if name.startswith(("../", "/")) or name == "..":
                raise UnsafePathError(f"{self.where}: a link in it leads out of it")
        raise UnsafePathError(f"{self.where}: links in it go round in circles")

    def _inflate(self, scratch: Path | None) -> None:
        import tempfile

        from builder.rootfs.compression import decompress

        try:
            with self._stream as packed:
                plain = cast(BinaryIO, tempfile.TemporaryFile(dir=scratch))  # noqa: SIM115  closed by close()
                self._stream = plain
                copy(decompress(packed), plain)
            plain.flush()
        except OSError as error:
            raise OutputError(
                f"cannot inflate {self.where} in {scratch or tempfile.gettempdir()}: {error.strerror}",
                hint="free some space, or choose another place with --root DIR",
            ) from error
        plain.seek(0)

    def _index(self) -> None:
        from builder.rootfs.tarreader import read_members

        source = _Skipping(self._stream)
        for count, (member, _) in enumerate(read_members(source, whiteouts=False)):
            if count >= MAX_FILES:
                raise ImageError(f"{self.where}: more than {MAX_FILES} entries for one image archive")
            entry = member.entry
            if entry.kind is Kind.FILE:
                # A sparse file has its bytes elsewhere than one after the other; nobody writes images so.
                if member.segments is None:
                    self._found[entry.path] = (member.offset, entry.size)
                    source.skip(entry.size)
            elif entry.kind is Kind.SYMLINK:
                self._found[entry.path] = posixpath.normpath(
                    posixpath.join(posixpath.dirname(entry.path), entry.target)
                )
            elif entry.kind is Kind.HARDLINK:
                self._found[entry.path] = entry.target


class _Skipping:
    """A file whose next bytes can be declared uninteresting: they are then read as zeros, and not from the disk."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._end = os.fstat(stream.fileno()).st_size
        self._skip = 0

    def skip(self, size: int) -> None:
        # A size beyond the end stays for the tar reader to complain about.
        self._skip = size if self._stream.tell() + size <= self._end else 0

    def read(self, size: int = -1, /) -> bytes:
        if self._skip <= 0:
            return self._stream.read(size)
        size = min(size, self._skip, len(_ZEROS))
        self._skip -= size
        self._stream.seek(size, os.SEEK_CUR)
        return _ZEROS[:size]

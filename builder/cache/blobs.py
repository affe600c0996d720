"""Blobs by digest: ``blobs/sha256/ab/<hex>``, written under ``tmp/``, fsynced, then renamed.

The store's side of ``builder.image.blobs.BlobStore``. What is in place was hashed on its way in; bit rot is found by
``read`` (small blobs) and ``verify`` (any), which drop the blob with a warning, so that it is made or fetched again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from builder.cache import sealed
from builder.cache.scratch import Scratch
from builder.errors import OutputError, room_hint
from builder.image.digest import Digest, DigestMismatchError
from builder.streams import CHUNK

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SMALL = 4 << 20
"""Most bytes that ``read`` returns: a manifest or a config, never a layer."""

_WRITE_BACK = 16 << 20


class UnreadableBlobError(OutputError):
    """The disk does not give a blob's bytes back."""


class _BlobFile(io.FileIO):
    """An open blob whose failures say which file it is, also to those who write what they read somewhere else."""

    def __init__(self, fd: int, path: Path) -> None:
        super().__init__(fd, "rb")
        self._path = path
        self.name = str(path)  # else the descriptor's number, which tells nobody anything

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise UnreadableBlobError(f"cannot read {self._path}: {error.strerror}") from error

    def readall(self) -> bytes:
        try:
            return super().readall()
        except OSError as error:
            raise UnreadableBlobError(f"cannot read {self._path}: {error.strerror}") from error


class FileBlobWriter:
    """One blob on its way in. Not for several threads at once."""

    def __init__(self, store: FileBlobStore, temporary: Path) -> None:
        self._store = store
        self._temporary = temporary
        self._hash = hashlib.sha256()
        self.size = 0
        self._on_its_way = 0
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _refused(temporary, error) from error
        self._stream = open(fd, "wb", buffering=CHUNK // 4)  # noqa: SIM115 - closed by commit or __exit__

    def write(self, data: bytes, /) -> int:
        """Add ``data``. Raises OutputError when the store is full or refuses."""
        try:
            self._stream.write(data)
            if self.size - self._on_its_way >= _WRITE_BACK:
                self._write_back()
        except OSError as error:
            raise _refused(self._temporary, error) from error
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    def _write_back(self) -> None:
        """Let the disk begin: otherwise all of a large blob is written at its end, while somebody waits for it."""
        self._stream.flush()
        with contextlib.suppress(OSError):
            # Said of pages that are not written yet, this begins to write them; they stay in memory.
            os.posix_fadvise(
                self._stream.fileno(), self._on_its_way, self.size - self._on_its_way, os.POSIX_FADV_DONTNEED
            )
        self._on_its_way = self.size

    def commit(self, expected: Digest | None = None) -> Digest:
        """Make the bytes visible under their digest, atomically and durably; idempotent.

        Raises DigestMismatchError if they are not ``expected``, OutputError if the store refuses.
        """
        digest = Digest.from_hex(self._hash.hexdigest())
        if expected is not None and digest != expected:
            raise DigestMismatchError(f"{self.size} bytes have digest {digest}, expected {expected}")
        if self._stream.closed:
            return digest
        try:
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._stream.close()
        except OSError as error:
            raise _refused(self._temporary, error) from error
        self._store.place(self._temporary, digest)
        return digest

    def __enter__(self) -> FileBlobWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        if not self._stream.closed:
            try:
                self._stream.close()
            except OSError:
                pass  # bytes that could not be flushed, and are thrown away anyway
        sealed.discard(self._temporary)


class FileBlobStore:
    """Blobs in files. Safe for many threads and processes."""

    def __init__(
        self,
        root: Path,
        scratch: Scratch,
        warn: Callable[[str], None],
        touch: Callable[[Path], bool],
        second: Path | None = None,
    ) -> None:
        """``touch`` says that a file is used from now on, and returns whether it is there.

        ``second`` is another store, where blobs are looked for that are not here; it is never written to.
        """
        self._second = None if second is None else second / "blobs" / "sha256"
        self._refused = root / "refused"
        self._directory = root / "blobs" / "sha256"
        self._scratch = scratch
        self._warn = warn
        self._touch = touch
        self._opened: set[Digest] = set()

    def path(self, digest: Digest) -> Path:
        """Return where the blob is, or would be."""
        own = self.own_path(digest)
        if self._second is not None and not os.path.lexists(own) and not os.path.lexists(self._refused / digest.hex):
            other = self._second / digest.hex[:2] / digest.hex
            if os.path.lexists(other):
                return other
        return own

    def own_path(self, digest: Digest) -> Path:
        """Return where the blob is in the store that is written to, or would be."""
        return self._directory / digest.hex[:2] / digest.hex

    def owns(self, digest: Digest) -> bool:
        """Say whether the blob is here, and not only in the second store."""
        return os.path.lexists(self.own_path(digest))

    def bring_home(self, digest: Digest) -> None:
        """Copy a blob that is only in the second store. Raises DigestMismatchError for a damaged one, OutputError."""
        if self.owns(digest) or self._second is None:
            return
        try:
            with self.open(digest) as source, self.writer() as writer:
                while chunk := source.read(CHUNK):
                    writer.write(chunk)
                writer.commit(digest)
        except OSError as error:
            raise OutputError(f"cannot read {self.path(digest)}: {error.strerror}") from error

    def open(self, digest: Digest, *, used: bool = True) -> BinaryIO:
        """Open a blob for reading, seekable; ``used``: it counts as used now.

        Raises FileNotFoundError when it is not there, OutputError when it cannot be read, here and at every read.
        """
        path = self.path(digest)
        if used:
            self._touch(path)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise OutputError(f"cannot read {path}: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise FileNotFoundError(f"{path} is not a file")
        self._opened.add(digest)
        return io.BufferedReader(_BlobFile(fd, path))

    def size(self, digest: Digest) -> int | None:
        """Return the size of a blob, None when it is not there."""
        try:
            info = os.lstat(self.path(digest))
        except OSError:
            return None
        return info.st_size if stat.S_ISREG(info.st_mode) else None

    def contains(self, digest: Digest, size: int | None = None) -> bool:
        """Say whether ``open`` finds it from now on; with ``size``, a blob of another size is a miss and a warning."""
        found = self.size(digest)
        if found is None or size is None or found == size:
            return found is not None and self._touch(self.path(digest))
        # Not dropped: the size may come from a stranger's manifest.
        self._warn(f"{self.path(digest)} has {found} bytes instead of {size}; it is not used")
        return False

    def writer(self) -> FileBlobWriter:
        """Start a new blob. Raises OutputError."""
        return FileBlobWriter(self, self._scratch.file())

    def put(self, data: bytes) -> Digest:
        """Store ``data``. Raises OutputError."""
        with self.writer() as writer:
            writer.write(data)
            return writer.commit()

    def adopt(self, temporary: Path, digest: Digest) -> Path:
        """Take over a finished file of the temporary area whose bytes the caller has already hashed; return its place.

        Raises OutputError.
        """
        try:
            sealed.sync(temporary)
        except OSError as error:
            raise _refused(temporary, error) from error
        return self.place(temporary, digest)

    def place(self, temporary: Path, digest: Digest) -> Path:
        """Rename a fsynced file into place. One that is there already is replaced: it may be the damaged one."""
        path = self.own_path(digest)
        try:
            sealed.replace(temporary, path)
        except OSError as error:
            raise _refused(path, error) from error
        return path

    def read(self, digest: Digest, *, limit: int = SMALL, used: bool = True) -> bytes | None:
        """Return a small blob whose bytes were checked again, None when it is missing, too large or damaged."""
        try:
            with self.open(digest, used=used) as stream:
                data = stream.read(limit + 1)
                if len(data) > limit:
                    self._warn(f"{self.path(digest)} is larger than {limit} bytes; it is not used")
                    return None
                if Digest.of(data) == digest:
                    return data
                self._drop_damaged(digest, stream)
        except FileNotFoundError:
            pass
        except OutputError as error:
            self._warn(error.message)
        return None

    def verify(self, digest: Digest) -> bool:
        """Read a blob and say whether it is there and intact; one that is not is dropped, with a warning."""
        try:
            with self.open(digest) as stream:
                hasher = hashlib.sha256()
                try:
                    while chunk := stream.read(CHUNK):
                        hasher.update(chunk)
                except UnreadableBlobError as error:
                    # Of a bad disk, other sectors may be good.
                    self._warn(error.message)
                if hasher.hexdigest() == digest.hex:
                    return True
                self._drop_damaged(digest, stream)
        except FileNotFoundError:
            pass
        except OutputError as error:
            self._warn(error.message)
        return False

    def blame(self) -> bool:
        """Verify all blobs that were opened until now, because work failed; say whether some were damaged."""
        damaged = [one for one in sorted(self._opened) if self.contains(one) and not self.verify(one)]
        return bool(damaged)

    def drop(self, digest: Digest) -> None:
        """Remove a blob; readers that have it open keep it."""
        sealed.discard(self.own_path(digest))

    def _drop_damaged(self, digest: Digest, stream: BinaryIO) -> None:
        path = self.path(digest)
        if path != self.own_path(digest):
            self._refuse(digest, path)
            return
        self._warn(f"{path} is damaged and was removed; it is made or fetched again when needed")
        try:
            # Another process may have put a good one there in the meantime.
            if os.path.samestat(os.lstat(path), os.fstat(stream.fileno())):
                os.unlink(path)
        except OSError:
            pass

    def _refuse(self, digest: Digest, path: Path) -> None:
        """Remember that the second store's copy is damaged, where we may not remove it."""
        self._warn(f"{path} is damaged and is not used any more; it is made or fetched again when needed")
        try:
            sealed.make_directories(self._refused)
            os.close(
                os.open(self._refused / digest.hex, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            )
        except OSError as error:
            self._warn(f"cannot write {self._refused / digest.hex}: {error.strerror}")


def _refused(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write {path}: {error.strerror}", hint=room_hint(error))

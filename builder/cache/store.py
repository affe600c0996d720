"""The store: everything pybuild keeps between builds, in plain files under one directory (design, "The store").

Safe for many processes at once and against SIGKILL at any instant: files appear whole, a reader never sees half of
one, and a broken or missing one is a miss with a warning. Directories are made at the first write, so that opening
costs a handful of system calls. What the files mean to a build is decided in ``engine``.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cache import sealed
from builder.cache.blobs import FileBlobStore
from builder.cache.cachemounts import CacheMounts, Sharing
from builder.cache.filesystem import filesystem_type, is_network
from builder.cache.lastuse import MARGIN, LastUse
from builder.cache.location import check_readable, prepare_root
from builder.cache.locks import hold, try_lock
from builder.cache.parsed import Parsed
from builder.cache.refs import References
from builder.cache.scratch import Scratch
from builder.cache.selectors import Selectors
from builder.cache.table import Table
from builder.cache.variants import Variants
from builder.errors import OutputError, room_hint
from builder.image.digest import DiffID

if TYPE_CHECKING:
    import threading

    from builder.cache.imported import Imported
    from builder.cache.records import Records


class Store:
    """One open store. Thread-safe; close it at the end of the process' work."""

    def __init__(self, root: Path, warn: Callable[[str], None], second: Path | None = None) -> None:
        self.root = root
        self._second = second
        self._warn = warn = _once(warn)
        self._locks = root / "locks"
        self._uses = LastUse(root)
        self._scratch = Scratch(root, warn, self._uses.using)
        self.blobs = FileBlobStore(root, self._scratch, warn, self.touch, second)
        self.selectors = Selectors(self._table("selectors", "selector"))
        self.variants = Variants(self._table("variants", "variant"))
        self.refs = References(self._table("refs", "reference"))
        self.lists = self._table("manifests", "manifest list")
        self.parsed = Parsed(root, self._scratch, warn)
        self.mounts = CacheMounts(root, warn)

    @classmethod
    def open(cls, root: Path, *, warn: Callable[[str], None] = lambda _: None, second: Path | None = None) -> Store:
        """Open or create the store at ``root`` and remove what dead processes left in its temporary area.

        ``warn`` hears about damaged files, which are misses. What is not in it is looked for in the store ``second``,
        which is only read. Raises OutputError for a directory that is not ours, UsageError for a second one that is no
        store.
        """
        prepare_root(root, os.geteuid())
        if second is not None:
            check_readable(second)
        store = cls(root, warn, second)
        store._scratch.sweep()
        store._sweep_locks()
        return store

    @classmethod
    def look(cls, root: Path, *, warn: Callable[[str], None] = lambda _: None) -> Store:
        """Open a store to look at what it holds, whoever it belongs to. Raises UsageError for one that is none."""
        check_readable(root)
        return cls(root, warn)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove our temporary files and give back the lease; the store may be used again."""
        if "records" in self.__dict__:
            self.records.flush()
        self._scratch.close()

    def warn(self, message: str) -> None:
        """Pass on a warning about a file of the store, unless it was given before."""
        self._warn(message)

    # Temporary files: on the store's own file system, so that they can be renamed into place.

    def hold_lease(self) -> None:
        """Say that this process uses the store, until ``close``: nothing it may need is pruned. Raises OutputError."""
        self._scratch.hold_lease()

    def begin(self) -> None:
        """Say that a build begins: what those before it left is not its own."""
        if "records" in self.__dict__:
            self.records.begin()

    def leases(self) -> list[str]:
        """Name the running processes that hold a lease."""
        return self._scratch.leases()

    def others_began(self) -> float | None:
        """Return when the first of the other processes that hold a lease began, in unix seconds; None without any."""
        return self._scratch.others_began()

    def touch(self, path: Path) -> bool:
        """Say that a file of the store is used from now on, so that it is not removed; return whether it is there."""
        if self._second is not None and not path.is_relative_to(self.root):
            return os.path.lexists(path)
        return self._uses.touch(path)

    @contextlib.contextmanager
    def removing(self, path: Path, before: float) -> Iterator[bool]:
        """Keep others from using files while the block runs; yield whether ``path`` may be removed.

        That is when it was last used before that time, and before every other process that runs. The block is short.
        """
        with self._uses.removing():
            try:
                used = os.lstat(path).st_mtime
            except FileNotFoundError:
                yield False
                return
            began = self.others_began()
            yield used < (before if began is None else min(before, began - MARGIN))

    def temporary(self, suffix: str = "") -> Path:
        """Return a name for a new temporary file; the caller creates it. Raises OutputError."""
        return self._scratch.file(suffix)

    def scratch(self, *, run: bool = False) -> Path:
        """Create a temporary directory; the caller removes it, ``close`` or a later start at the latest.

        With ``run`` its name ends in ``.run`` and only the sandbox removes it. Raises OutputError.
        """
        return self._scratch.directory(run=run)

    def stale_scratch(self) -> list[Path]:
        """Name the ``.run`` directories of dead processes, for the sandbox to remove."""
        return self._scratch.stale_runs()

    # Tables of contents: written by ``rootfs``, which also checks them when they are read.

    def toc_path(self, diff_id: DiffID) -> Path:
        """Return where the table of contents of a layer is, or would be."""
        own = self.root / "toc" / diff_id.hex
        if self._second is not None and not own.exists():
            other = self._second / "toc" / diff_id.hex
            if other.exists():
                return other
        return own

    def publish_toc(self, temporary: Path, diff_id: DiffID) -> Path:
        """Put a finished table of contents in place, durably; return its path. Raises OutputError."""
        path = self.root / "toc" / diff_id.hex
        try:
            sealed.sync(temporary)
            sealed.replace(temporary, path)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}", hint=room_hint(error)) from error
        return path

    def drop_toc(self, diff_id: DiffID) -> None:
        """Remove a table of contents that turned out to be damaged or wrong."""
        sealed.discard(self.root / "toc" / diff_id.hex)

    # Locks and cache mounts.

    def lock(
        self, key: str, *, cancel: threading.Event | None = None, waiting: Callable[[], None] | None = None
    ) -> AbstractContextManager[None]:
        """Hold the lock of a name while the block runs; see ``locks.hold``.

        Take a key's lock when its inputs are complete, and wait for no second one while holding it. Who holds that of
        files nobody has read yet may wait for that of the key they turn out to have.
        """
        name = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
        return hold(self._locks / name, keep=False, cancel=cancel, waiting=waiting, warn=self._warn)

    def acquire_mount(
        self,
        mount_id: str,
        sharing: Sharing = "shared",
        *,
        cancel: threading.Event | None = None,
        waiting: Callable[[], None] | None = None,
    ) -> AbstractContextManager[Path]:
        """Hold the directory of a cache mount while the block runs; see ``CacheMounts.acquire``."""
        return self.mounts.acquire(mount_id, sharing, cancel=cancel, waiting=waiting)

    def imported(self, name: str) -> Imported:
        """Return what is kept of the source ``name`` of shared results."""
        from builder.cache.imported import Imported

        return Imported(self.root, name, self._scratch, self._locks, self._warn)

    @functools.cached_property
    def records(self) -> Records:
        """What the keys of executed steps were made of. A build that finds everything needs none of it."""
        from builder.cache.records import Records

        def records(root: Path, second: Records | None = None) -> Records:
            own, where = root == self.root, root / "records" / "places"
            touch = self._uses.touch if own else (lambda _: True)
            places = Table(where, "places of records", self._scratch, self._locks, self._warn, touch)
            return Records(root, places, self._scratch, second, writable=own)

        return records(self.root, None if self._second is None else records(self._second))

    def room(self) -> int | None:
        """Return the bytes that are free for the store, None where its file system does not say."""
        try:
            found = os.statvfs(self.root)
        except OSError:
            return None
        return found.f_bavail * found.f_frsize if found.f_blocks else None

    def must_have_room(self, size: int, what: str) -> None:
        """Raise OutputError when ``size`` bytes do not fit, before they are fetched."""
        room = self.room()
        if room is not None and size > room:
            raise OutputError(
                f"{what}: {size} bytes; the store {self.root} has room for {room}",
                hint="free some space (pybuild cache prune), or choose another place with --root DIR",
            )

    # The rest belongs to other packages, which only need a place.

    def directory(self, name: str) -> Path:
        """Create and return a directory of the store, such as ``layers``, ``stat``, ``http``, ``git``.

        Raises OutputError.
        """
        path = self.root / name
        try:
            sealed.make_directories(path)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}", hint=room_hint(error)) from error
        return path

    @functools.cached_property
    def on_network(self) -> bool:
        """Whether other machines may use this store: then ``layers`` and ``stat`` must not be."""
        return is_network(filesystem_type(self.root))

    def _table(self, name: str, kind: str) -> Table:
        second = None if self._second is None else self._second / name
        return Table(self.root / name, kind, self._scratch, self._locks, self._warn, self._uses.touch, second)

    def _sweep_locks(self) -> None:
        """Remove the lock files of dead processes; they hurt nobody but pile up."""
        for name in sealed.names(self._locks):
            _remove_if_free(self._locks / name)
        for view in sealed.names(self.root / "layers"):
            home = self.root / "layers" / view
            # An unpacked layer has one for as long as it is there.
            for name in {*sealed.names(home / ".locks")}.difference(sealed.names(home)):
                _remove_if_free(home / ".locks" / name, unless=home / name)


def _remove_if_free(lock: Path, unless: Path | None = None) -> None:
    """Remove a lock file that nobody holds, and that ``unless``, which its owner may just have made, does not need."""
    try:
        fd = try_lock(lock, create=False)
    except OSError:
        return
    if fd is not None:
        if unless is None or not os.path.lexists(unless):
            sealed.discard(lock)
        os.close(fd)


def _once(warn: Callable[[str], None]) -> Callable[[str], None]:
    """Return what warns of each thing once: a damaged file may be looked at by every step."""
    said: set[str] = set()

    def tell(message: str) -> None:
        if message not in said:
            said.add(message)
            warn(message)

    return tell

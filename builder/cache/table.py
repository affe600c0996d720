"""Small JSON records by name, one sealed file each: what selectors, variants and refs are kept in.

Reading never fails: a missing file is a miss, a broken one is a miss with a warning that names it. Writing replaces
or, with ``add``, lets the first writer win. Which fields a record has is the callers' business.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from builder.cache import sealed
from builder.cache.locks import hold
from builder.cache.scratch import Scratch
from builder.errors import CacheError, OutputError, room_hint

_LIMIT = 16 << 20
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class Table:
    """Records of one ``kind`` under ``directory``. Thread-safe, process-safe."""

    def __init__(
        self,
        directory: Path,
        kind: str,
        scratch: Scratch,
        locks: Path,
        warn: Callable[[str], None],
        touch: Callable[[Path], bool] = lambda _: True,
        second: Path | None = None,
    ) -> None:
        """``touch`` says that a file was used now; ``second`` is read where there is nothing, and never written."""
        self._touch = touch
        self._second = second
        self._directory = directory
        self._kind = kind
        self._scratch = scratch
        self._locks = locks
        self._warn = warn

    def path(self, name: str) -> Path:
        """Return where a record is, or would be."""
        return self._directory / name

    def get(self, name: str, *, used: bool = True) -> Mapping[str, object] | None:
        """Return the record ``name`` (a relative path), None when there is none that can be used.

        ``used``: it counts as used now; not so for who only looks through all of them.
        """
        found = self._read(self._directory / name, name)
        if found is not None:
            if used:
                self._touch(self._directory / name)
            return found
        return None if self._second is None else self._read(self._second / name, name)

    def _read(self, path: Path, name: str) -> Mapping[str, object] | None:
        try:
            body = sealed.read(path, self._kind, name, limit=_LIMIT)
            return None if body is None else _parse(path, body)
        except CacheError as error:
            self._warn(f"{error.message}; it is ignored")
            return None

    def put(self, name: str, record: Mapping[str, object]) -> None:
        """Write or replace a record. Raises OutputError."""
        path = self._directory / name
        temporary = self._scratch.file()
        try:
            sealed.write_temporary(temporary, self._serialise(name, record))
            sealed.replace(temporary, path)
        except OSError as error:
            sealed.discard(temporary)
            raise OutputError(f"cannot write {path}: {error.strerror}", hint=room_hint(error)) from error

    def add(
        self, name: str, record: Mapping[str, object], usable: Callable[[Mapping[str, object]], bool]
    ) -> Mapping[str, object]:
        """Write a record unless a ``usable`` one is there; return the one that counts from now on for everybody.

        A damaged one is replaced, under a lock, so that all who see the damage agree on one winner. Raises OutputError.
        """
        path = self._directory / name
        temporary = self._scratch.file()
        try:
            sealed.write_temporary(temporary, self._serialise(name, record))
            try:
                if sealed.link(temporary, path):
                    return record
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise  # else a file system without hard links: the lock decides alone
            with hold(self._locks / f"{self._kind}-{path.name}", keep=False, warn=self._warn):
                winner = self._read(path, name)
                if winner is not None and usable(winner):
                    return winner
                sealed.replace(temporary, path)
                return record
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}", hint=room_hint(error)) from error
        finally:
            sealed.discard(temporary)

    def names(self, under: str = "") -> Iterator[str]:
        """Yield the names of the records, sorted, of all or of those ``under`` a directory."""
        if self._second is None:
            yield from _names(self._directory, under)
        else:
            yield from sorted({*_names(self._directory, under), *_names(self._second, under)})

    def remove(self, name: str) -> None:
        """Remove a record if it is there."""
        sealed.discard(self._directory / name)

    def warn(self, message: str) -> None:
        """Pass on a warning."""
        self._warn(message)

    def damaged(self, name: str, problem: str) -> None:
        """Warn that a record, though whole, does not say what it should."""
        self._warn(f"{self._directory / name} is damaged ({problem}); it is ignored")

    def _serialise(self, name: str, record: Mapping[str, object]) -> bytes:
        body = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
        return sealed.seal(self._kind, name, body)


def _names(directory: Path, under: str) -> Iterator[str]:
    try:
        entries = sorted((directory / under).iterdir())
    except OSError:
        return
    for entry in entries:
        name = str(entry.relative_to(directory))
        if entry.is_dir():
            yield from _names(directory, name)
        else:
            yield name


def _parse(path: Path, body: bytes) -> Mapping[str, object]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CacheError(f"{path} is damaged") from error
    if not isinstance(value, dict):
        raise CacheError(f"{path} is damaged")
    return value

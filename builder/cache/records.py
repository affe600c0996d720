"""Records: what the keys of executed steps were made of, by name, for explaining why a later key is another one.

Written after a result, never read when one is found. A record that is missing, damaged or refused by the store only
makes an explanation poorer. ``places`` say which records are worth comparing: those made at the same place of a
Dockerfile. What the components mean is the engine's business.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import operator
import os
import threading
import time
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from builder.cache import sealed
from builder.cache.keys import Key
from builder.cache.record import SMALLEST, Place, Record, mark_of, unpack
from builder.cache.scratch import Scratch
from builder.cache.table import Table
from builder.errors import CacheError, OutputError
from builder.patterns import pattern
from builder.values import dataclass, replace

_KIND = "record"

_LARGEST_SENT = 1 << 20
"""Bytes of a packed record that others are sent."""

_HEAD = 64 + 8
_HEADER = pattern(rb"[0-9a-f]{72}")

_PLACES_VERSION = 2

_PER_PLACE, _MOST_PLACES = 16, 512
"""Keys that are remembered of one place, and of all places of a project."""

_PAUSE = 1.0
"""Seconds after which places are written again, if there are new ones."""

_CLOSE = 2
"""Steps that may have been put before a step, or taken away there, which stands where it was all the same."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A key that was made at a place of a project."""

    kind: str
    ordinal: int
    key: str
    stage: str
    mark: str


Nearness: TypeAlias = Literal["there", "project", "elsewhere"]
"""Whether a step stood at a place or next to it, somewhere else in the project, or in another one."""

_State = tuple[int, int, int] | None
_first_two = operator.itemgetter(0, 1)


class Records:
    """All records of a store, and those of a ``second`` one, which is only read. Thread-safe, process-safe."""

    def __init__(
        self, root: Path, places: Table, scratch: Scratch, second: Records | None = None, *, writable: bool = True
    ) -> None:
        self._directory = root / "records"
        self._places = places
        self._scratch = scratch
        self._second = second
        self._writable = writable
        self._remembering = threading.Lock()
        self._latest: set[Key] = set()
        self._read: dict[str, tuple[_State, list[_Entry]]] = {}
        self._unwritten: dict[str, list[_Entry]] = {}
        self._due = 0.0

    def find(self, key: Key) -> Record | None:
        """Return a record; missing, damaged and not to be understood are all None."""
        data = self.packed(key)
        return None if data is None else unpack(data)

    def has(self, key: Key) -> bool:
        """Say whether there is a record, in whatever state."""
        return os.path.exists(self._path(key)) or (self._second is not None and self._second.has(key))

    def packed(self, key: Key) -> bytes | None:
        """Return a record as it is kept, for those who send it elsewhere: ``unpack`` and ``add`` take it."""
        try:
            found = sealed.read(self._path(key), _KIND, key, limit=SMALLEST)
        except CacheError as error:
            self._places.warn(f"{error.message}; it is ignored")
            if self._writable:
                sealed.discard(self._path(key))
            found = None
        return self._second.packed(key) if found is None and self._second is not None else found

    def add(self, key: Key, data: bytes, place: Place, mark: str = "", *, latest: bool = False) -> None:
        """Keep what ``pack`` returned, as far as the store lets us, and remember its place and its ``mark_of``.

        ``latest``: it is of the build that asks for what is near, and no earlier one.
        """
        if latest:
            self._latest.add(key)
        path = self._path(key)
        try:
            if not path.exists():
                temporary = self._scratch.file()
                try:
                    sealed.write_temporary(temporary, sealed.seal(_KIND, key, data))
                    sealed.replace(temporary, path)
                finally:
                    sealed.discard(temporary)
            self._remember(key, place, mark)
        except (OSError, OutputError):
            pass  # whoever needs the disk for results hears about it there

    def begin(self) -> None:
        """Let what was ``latest`` be earlier: another build begins, which may be of the same process."""
        self._latest.clear()

    def receive(self, key: Key, data: bytes, project: str = "") -> None:
        """Keep a record from elsewhere as ``add`` does, unless it is not one: it is only ever shown to people.

        ``project`` is the one that it is said to be of.
        """
        record = unpack(data) if len(data) <= SMALLEST else None
        if record is not None:
            self.add(key, data, replace(record.place, project=project), mark_of(record.components))

    def near(self, place: Place, mark: str = "", taken: Container[str] = ()) -> Iterator[tuple[Key, Nearness]]:
        """Yield the keys of steps like that of ``place``, of the same project, ``mark``, step and latest first.

        Those do not count whose marks are ``taken``, by other steps, nor those of other stages that have another mark.
        """
        found = dict(self._near(place, mark, taken))
        if self._second is not None:
            for key, where in self._second.near(place, mark, taken):
                found.setdefault(key, where)
        yield from sorted(found.items(), key=lambda one: one[1] == "elsewhere")

    def _near(self, place: Place, mark: str, taken: Container[str]) -> Iterator[tuple[Key, Nearness]]:
        seen: set[str] = set()
        for project in dict.fromkeys((place.project, "")):
            entries = [
                (_rank(entry, place, mark), -number, entry)
                for number, entry in enumerate(self._entries(project, place.stage))
                if entry.kind == place.kind
                and entry.key not in self._latest
                and (entry.mark == mark or (entry.mark not in taken and entry.stage == place.stage))
            ]
            for _, _, entry in sorted(entries, key=_first_two):
                if entry.key in seen:
                    continue
                seen.add(entry.key)
                close = entry.stage == place.stage and abs(entry.ordinal - place.ordinal) <= _CLOSE
                yield Key(entry.key), "elsewhere" if project != place.project else "there" if close else "project"

    def _remember(self, key: Key, place: Place, mark: str) -> None:
        entry = _Entry(place.kind, place.ordinal, str(key), place.stage, mark)
        # Steps of several stages are executed at once.
        with self._remembering:
            for project in dict.fromkeys((place.project, "")):
                name = _place_name(project, place.stage)
                state, entries = self._known(name)
                self._read[name] = state, _with(entries, entry)
                self._unwritten.setdefault(name, []).append(entry)
            if time.monotonic() >= self._due:
                self._write()

    def flush(self) -> None:
        """Write what is to be remembered of places; a build that is killed may lose that of its last second."""
        with self._remembering, contextlib.suppress(OSError, OutputError):
            self._write()

    def _write(self) -> None:
        self._due = time.monotonic() + _PAUSE
        for name in list(self._unwritten):
            _, kept = self._known(name)
            del self._unwritten[name]
            keys = [[one.kind, one.ordinal, one.key, one.stage, one.mark] for one in kept]
            self._places.put(name, {"version": _PLACES_VERSION, "keys": keys})
            self._read[name] = _state(self._places.path(name)), kept

    def _entries(self, project: str, stage: str) -> list[_Entry]:
        """Return what was made in a project, or in a stage of whichever, oldest first."""
        with self._remembering:
            return self._known(_place_name(project, stage))[1]

    def _known(self, name: str) -> tuple[_State, list[_Entry]]:
        """Return a file's state, and its entries with those to come; it is read again if somebody else wrote it."""
        state = _state(self._places.path(name))
        known = self._read.get(name)
        if known is not None and known[0] == state:
            return known
        match self._places.get(name):
            case {"version": 2, "keys": list(entries)}:
                found = [_Entry(*one) for one in entries if _is_entry(one)]
            case _:
                found = []
        for entry in self._unwritten.get(name, ()):
            found = _with(found, entry)
        self._read[name] = known = state, found
        return known

    def _path(self, key: Key) -> Path:
        return self._directory / key[:2] / key


def bundle(records: Iterable[tuple[Key, bytes]]) -> bytes:
    """Return packed records as one file for others, as many as fit; large ones stay at home."""
    parts: list[bytes] = []
    size = 0
    for key, data in records:
        size += len(data) + _HEAD
        if len(data) > _LARGEST_SENT or size > SMALLEST:
            size -= len(data) + _HEAD
            continue
        parts.append(b"%b%08x%b" % (key.encode(), len(data), data))
    return b"".join(parts)


def unbundle(data: bytes) -> Iterator[tuple[Key, bytes]]:
    """Yield what ``bundle`` was given, as far as the bytes make sense; whoever made them."""
    start = 0
    while start < len(data):
        head = data[start : start + _HEAD]
        if not _HEADER.fullmatch(head):
            return
        size = int(head[64:], 16)
        start += _HEAD + size
        if size > _LARGEST_SENT or start > len(data):
            return
        yield Key(head[:64].decode()), data[start - size : start]


def _rank(entry: _Entry, place: Place, mark: str) -> tuple[int, int]:
    """Return how far a step is from a place; the same command a few steps away is nearer than another one there."""
    far = abs(entry.ordinal - place.ordinal)
    if entry.stage != place.stage:
        return 4, far
    if entry.mark == mark:
        return (1 if far else 0), far
    return (3 if far else 2), far


def _same(one: _Entry, other: _Entry) -> bool:
    return one.ordinal == other.ordinal and one.kind == other.kind and one.stage == other.stage


def _with(entries: list[_Entry], entry: _Entry) -> list[_Entry]:
    """Return what is remembered with one more: the latest of each place, and of all places together."""
    kept = [one for one in entries if one.key != entry.key or not _same(one, entry)]
    same = [one for one in kept if _same(one, entry)]
    if len(same) >= _PER_PLACE:
        gone = set(same[: len(same) - _PER_PLACE + 1])
        kept = [one for one in kept if one not in gone]
    return [*kept[-_MOST_PLACES + 1 :], entry]


def _state(path: Path) -> _State:
    """Return what changes when a file is put in place of another, None for no file."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _place_name(project: str, stage: str) -> str:
    """Return the name of the file for all steps of a project, or for a stage of whichever project."""
    return hashlib.sha256(json.dumps([project, "" if project else stage]).encode()).hexdigest()[:32]


def _is_entry(value: object) -> bool:
    match value:
        case [str(), int(), str(key), str(), str()]:
            return len(key) == 64 and set(key) <= set("0123456789abcdef")
        case _:
            return False

"""One record: what a key was made of, by name, and the bytes it is kept as.

Components are gone through, never held: those of a hundred thousand files are larger than all else a build knows of
them. What they mean is the engine's business, where records are kept that of :mod:`builder.cache.records`.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import operator
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from builder.cache.keys import Component
from builder.values import dataclass, replace

_VERSION = 1
SMALLEST, _LARGEST = 8 << 20, 64 << 20
"""Bytes of a record as it is kept, and unpacked."""

_MOST = 150_000
"""Components of a record; of more, files are told by their directories."""

_BATCH = 4096
"""Components that are packed in one go."""

_PIECE = 1 << 18
"""Bytes of a record that are unpacked in one go."""

_name_of = operator.itemgetter(0)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in which Dockerfile a step stands: a kind of operation, the ``ordinal``-th step of a stage.

    ``project`` tells the builds of a machine apart; it is empty where that does not matter.
    """

    project: str
    stage: str
    kind: str
    ordinal: int


Components: TypeAlias = Iterable[Component]
"""Components that can be gone through again and again; no name is there twice."""


class Streamed:
    """Components of which nobody keeps more than a few: they are made anew whenever they are gone through."""

    __slots__ = ("_begin",)

    def __init__(self, begin: Callable[[], Iterator[Component]]) -> None:
        self._begin = begin

    def __iter__(self) -> Iterator[Component]:
        """Begin again."""
        return self._begin()


@dataclass(frozen=True, slots=True)
class Record:
    """What a key was made of, by name. ``base`` describes the image it was made on, empty where it was no image.

    ``by_directory``: files are told by their directories, because they are too many.
    """

    place: Place
    base: str
    components: Components
    by_directory: bool = False


def pack(record: Record) -> bytes | None:
    """Return a record as bytes, None for one that would be too large. Names may repeat: they are ``grouped``."""
    data = _deflated(record)
    if data is None:
        components = grouped(record.components)
        many = len(components) > _MOST
        if many:
            components = coarse(components.items())
        data = _deflated(replace(record, components=components.items(), by_directory=many))
    return data if data is not None and len(data) <= SMALLEST else None


def _deflated(record: Record) -> bytes | None:
    """Return a record as bytes, None if it has a name twice or more components than we keep."""
    place = record.place
    head = {
        "version": _VERSION,
        "place": [place.stage, place.kind, place.ordinal],
        "base": record.base,
        "by_directory": record.by_directory,
    }
    # Twenty thousand files are a matter of milliseconds this way, and not as JSON.
    deflater = zlib.compressobj(1)
    parts = [deflater.compress(json.dumps(head).encode())]
    # The names themselves would be most of what a build keeps of a hundred thousand files.
    hashes: set[int] = set()
    count = 0
    left = iter(record.components)
    while batch := list(itertools.islice(left, _BATCH)):
        count += len(batch)
        hashes.update(map(hash, map(_name_of, batch)))
        if len(hashes) < count or count > _MOST:
            return None
        texts = list(itertools.chain.from_iterable(batch))
        body = "\0".join(["", *texts])
        if body.count("\0") != len(texts):
            body = "".join("\0" + text.replace("\0", "\ufffd") for text in texts)
        parts.append(deflater.compress(body.encode("utf-8", "surrogatepass")))
    return b"".join((*parts, deflater.flush()))


def unpack(data: bytes, *, own: bool = False) -> Record | None:
    """Return the record that ``pack`` made bytes of, None for anything else, whoever made it.

    Only what this process has packed is its ``own``, and is not looked through first.
    """
    try:
        texts = _inflated(data)
        value = json.loads(next(texts))
        # All of it once, so that nothing is wrong with what is gone through later.
        count = 0 if own else sum(1 for _ in itertools.islice(texts, 2 * _MOST + 1))
    except (zlib.error, ValueError, RecursionError):
        return None
    if count % 2:
        return None
    match value:
        case {
            "version": 1,
            "place": [str(stage), str(kind), int(ordinal)],
            "base": str(base),
            "by_directory": bool(many),
        }:
            components = Streamed(functools.partial(_components, data))
            return Record(Place("", stage, kind, ordinal), base, components, many)
        case _:
            return None


def _components(data: bytes) -> Iterator[Component]:
    texts = itertools.islice(_inflated(data), 1, None)
    return zip(texts, texts, strict=True)


def _inflated(data: bytes) -> Iterator[str]:
    """Yield the texts of a packed record. Raises zlib.error, ValueError."""
    inflater = zlib.decompressobj()
    parts: list[bytes] = []
    size = 0
    while not inflater.eof:
        piece = inflater.decompress(data, _PIECE)
        data = inflater.unconsumed_tail
        size += len(piece)
        if size > _LARGEST or not (piece or data or inflater.eof):
            raise ValueError("too large, or cut short")
        whole, ends, rest = piece.rpartition(b"\0")
        if ends:
            yield from b"".join((*parts, whole)).decode("utf-8", "surrogatepass").split("\0")
            parts.clear()
        parts.append(rest)
    yield b"".join(parts).decode("utf-8", "surrogatepass")


def grouped(components: Iterable[Component]) -> dict[str, str]:
    """Return components by name, in their order; the texts of those of one name together.

    A dictionary of texts, because tens of thousands of tuples would keep the garbage collector busy.
    """
    found: dict[str, str] = {}
    for name, text in components:
        found[name] = f"{found[name]}\n{text}" if name in found else text
    return found


def coarse(components: Iterable[Component]) -> dict[str, str]:
    """Return components with those that have a slash in their names put together by what stands before the last."""
    groups: dict[str, hashlib._Hash] = {}
    kept: dict[str, str] = {}
    for name, text in components:
        directory, slash, _ = name.rpartition("/")
        if not slash:
            kept[name] = text
            continue
        digest = groups.setdefault(f"{directory}/", hashlib.sha256())
        digest.update(f"{name}\0{text}\0".encode("utf-8", "surrogatepass"))
    return {**kept, **{name: f"directory sha256={digest.hexdigest()[:16]}" for name, digest in groups.items()}}


def mark_of(components: Iterable[Component]) -> str:
    """Return few characters for what a step is first of all: its command, directory or destination as it is written."""
    few = dict(itertools.islice(components, 2))
    name, text = next(iter(few.items()), ("", ""))
    if name == "destination":
        text = text.removeprefix(few.get("working directory", "").rstrip("/"))
    return hashlib.sha256(f"{name}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()[:8]

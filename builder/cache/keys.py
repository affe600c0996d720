"""Cache keys: one canonical, typed, length-framed encoding of plain values, and its SHA-256.

Equal values give equal bytes on every machine and in every release; different values give different bytes, so a
key never depends on where one field ends and the next begins. What goes into a key is decided in ``engine.keys``,
not here. See cache-and-graph.md 5.4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NewType, TypeAlias

from builder.values import dataclass, field

Key = NewType("Key", str)
"""64 hex digits; safe as a file name."""

_MANY = 4096
"""Pieces of an encoding that are kept before they are hashed."""

Value: TypeAlias = "bool | int | str | bytes | tuple[Value, ...] | Mapping[str, Value] | Summary | None"
"""What a key can be made of. No floats (no canonical text), no lists or sets (one type per meaning)."""


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """Many values that count by one digest of theirs; iterate over it to see them."""

    digest: bytes
    items: Callable[[], Iterator[Value]] = field(repr=False)

    def __iter__(self) -> Iterator[Value]:
        return self.items()


Component: TypeAlias = "tuple[str, str]"
"""A part of what a key is made of: its name, which means something to people, and its value as a text."""


@dataclass(slots=True, eq=False)
class Identity:
    """What a key stands for. ``describe`` tells it to people, when somebody asks; it holds no secrets."""

    kind: str
    version: int
    value: Value = field(repr=False)
    describe: Callable[[], Iterator[Component]] = field(repr=False)
    _key: Key | None = None

    @property
    def key(self) -> Key:
        """The key."""
        if self._key is None:
            self._key = key(self.kind, self.version, self.value)
        return self._key

    def components(self) -> Iterator[Component]:
        """Yield the parts by name, the most telling first; names may repeat."""
        yield from self.describe()
        yield "pybuild's version of keys", str(self.version)


def encode(value: Value) -> bytes:
    """Return the canonical bytes of ``value``: equal bytes if and only if equal values of equal types.

    The order of a mapping does not matter. Subclasses (a Digest, an enumeration of strings) count as their base.
    Raises TypeError for anything that is not a Value.
    """
    parts: list[bytes] = []
    _encode(value, parts, None)
    return b"".join(parts)


def key(kind: str, version: int, value: Value) -> Key:
    """Return the key of ``value`` as a ``kind`` of thing; ``version`` goes up when the kind's meaning changes."""
    digest = hashlib.sha256()
    parts: list[bytes] = []
    _encode(("pybuild", kind, version, value), parts, digest)
    digest.update(b"".join(parts))
    return Key(digest.hexdigest())


def _encode(value: Any, parts: list[bytes], digest: hashlib._Hash | None) -> None:
    """Append the bytes of ``value``; hand them to ``digest`` from time to time, where that is all they are for.

    A key of a context with a hundred thousand files has a million of these, hence the plain types first, and no calls
    for those in a tuple.
    """
    if type(value) is not tuple:
        _encode_one(value, parts, digest)
        return
    parts.append(b"l%d:" % len(value))
    append = parts.append
    for item in value:
        exact = type(item)
        if exact is int:
            append(_SMALL.get(item) or _encode_int(item))
        elif exact is str:
            # surrogateescape would give "\udcc3\udca9" and "\xe9" the same bytes; surrogatepass is injective.
            data = item.encode("utf-8", "surrogatepass")
            append(b"s%d:%b" % (len(data), data))
        elif item is None:
            append(b"n")
        elif exact is bytes:
            append(b"b%d:%b" % (len(item), item))
        elif exact is tuple and not item:
            append(b"l0:")
        else:
            _encode(item, parts, digest)
    if digest is not None and len(parts) > _MANY:
        digest.update(b"".join(parts))
        parts.clear()


def _encode_int(value: int) -> bytes:
    data = b"%d" % value
    return b"i%d:%b" % (len(data), data)


_SMALL = {value: _encode_int(value) for value in (0, 1, *range(0o600, 0o1000))}
"""Owners and modes, which every file has."""


def _encode_one(value: object, parts: list[bytes], digest: hashlib._Hash | None) -> None:
    match value:
        case None:
            parts.append(b"n")
        case bool():  # before int, which it is a subclass of
            parts.append(b"t" if value else b"f")
        case int():
            parts.append(_encode_int(int(value)))
        case str():
            data = str.__str__(value).encode("utf-8", "surrogatepass")
            parts.append(b"s%d:%b" % (len(data), data))
        case bytes():
            parts.append(b"b%d:%b" % (len(value), bytes(value)))
        case tuple():
            _encode(tuple(value), parts, digest)
        case Mapping():
            _encode_mapping(value, parts, digest)
        case Summary():
            parts.append(b"h%d:%b" % (len(value.digest), value.digest))
        case _:
            raise TypeError(f"a cache key cannot hold a {type(value).__name__}: {value!r:.100}")


def _encode_mapping(value: Mapping[object, object], parts: list[bytes], digest: hashlib._Hash | None) -> None:
    items: list[tuple[bytes, object]] = []
    for name, item in value.items():
        if not isinstance(name, str):
            raise TypeError(f"a mapping in a cache key needs str names, not {type(name).__name__}")
        data = name.encode("utf-8", "surrogatepass")
        items.append((b"s%d:%b" % (len(data), data), item))
    items.sort(key=lambda pair: pair[0])
    parts.append(b"m%d:" % len(items))
    for encoded, item in items:
        parts.append(encoded)
        _encode(item, parts, digest)

"""Cache keys: one canonical, typed, length-framed encoding of plain values, and its SHA-256.

Equal values give equal bytes on every machine and in every release; different values give different bytes, so a
key never depends on where one field ends and the next begins. What goes into a key is decided in ``engine.keys``,
not here. See cache-and-graph.md 5.4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NewType, TypeAlias

Key = NewType("Key", str)
"""64 hex digits; safe as a file name."""

Value: TypeAlias = "bool | int | str | bytes | tuple[Value, ...] | Mapping[str, Value] | None"
"""What a key can be made of. No floats (no canonical text), no lists or sets (one type per meaning)."""


def encode(value: Value) -> bytes:
    """Return the canonical bytes of ``value``: equal bytes if and only if equal values of equal types.

    The order of a mapping does not matter. Subclasses (a Digest, an enumeration of strings) count as their base.
    Raises TypeError for anything that is not a Value.
    """
    parts: list[bytes] = []
    _encode(value, parts)
    return b"".join(parts)


def key(kind: str, version: int, value: Value) -> Key:
    """Return the key of ``value`` as a ``kind`` of thing; ``version`` goes up when the kind's meaning changes."""
    return Key(hashlib.sha256(encode(("pybuild", kind, version, value))).hexdigest())


def _encode(value: object, parts: list[bytes]) -> None:
    match value:
        case None:
            parts.append(b"n")
        case bool():  # before int, which it is a subclass of
            parts.append(b"t" if value else b"f")
        case int():
            parts.append(_frame(b"i", b"%d" % value))
        case str():
            # surrogateescape would give "\udcc3\udca9" and "\xe9" the same bytes; surrogatepass is injective.
            parts.append(_frame(b"s", value.encode("utf-8", "surrogatepass")))
        case bytes():
            parts.append(_frame(b"b", value))
        case tuple():
            parts.append(b"l%d:" % len(value))
            for item in value:
                _encode(item, parts)
        case Mapping():
            _encode_mapping(value, parts)
        case _:
            raise TypeError(f"a cache key cannot hold a {type(value).__name__}: {value!r:.100}")


def _encode_mapping(value: Mapping[object, object], parts: list[bytes]) -> None:
    items: list[tuple[bytes, object]] = []
    for name, item in value.items():
        if not isinstance(name, str):
            raise TypeError(f"a mapping in a cache key needs str names, not {type(name).__name__}")
        items.append((_frame(b"s", name.encode("utf-8", "surrogatepass")), item))
    items.sort(key=lambda pair: pair[0])
    parts.append(b"m%d:" % len(items))
    for encoded, item in items:
        parts.append(encoded)
        _encode(item, parts)


def _frame(tag: bytes, data: bytes) -> bytes:
    return b"%b%d:%b" % (tag, len(data), data)

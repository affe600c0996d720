"""Parsed Dockerfiles as JSON and back, so that a warm build loads neither parser nor lark.

A value becomes ``{"TypeName": [field, ...]}``, a tuple a list, a plain word ``{"": text}``. The header names the format
and the shape of every type, so a file written by another version is refused, never misread.
"""

from __future__ import annotations

import json
import zlib
from typing import Final, TypeVar

from builder.dockerfile import instructions, word
from builder.dockerfile.instructions import Arg, Directive, Dockerfile, Stage
from builder.dockerfile.source import Source, Span
from builder.dockerfile.word import Word, plain

_T = TypeVar("_T")

FORMAT: Final = 2
"""Raise when the parser gives another result for the same text."""

_TYPES: Final[dict[str, type]] = {
    kind.__name__: kind
    for module in (instructions, word)
    for kind in vars(module).values()
    if isinstance(kind, type) and kind.__module__ == module.__name__ and kind is not Dockerfile
} | {"Span": Span}
_FIELDS: Final[dict[str, tuple[str, ...]]] = {name: tuple(vars(kind)["__slots__"]) for name, kind in _TYPES.items()}
_SHAPE: Final = zlib.crc32(repr(sorted(_FIELDS.items())).encode())


def to_json(dockerfile: Dockerfile) -> bytes:
    """Return everything but the source text, which the reader supplies."""
    document = {
        "format": FORMAT,
        "shape": _SHAPE,
        "length": len(dockerfile.source.text),
        "directives": _encode(dockerfile.directives),
        "global_args": _encode(dockerfile.global_args),
        "stages": _encode(dockerfile.stages),
    }
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def from_json(data: bytes, source: Source) -> Dockerfile:
    """Return the Dockerfile that ``to_json`` saw, now with ``source``; ValueError if the data is not usable."""
    try:
        document = json.loads(data, object_hook=_decode)
        if (document["format"], document["shape"], document["length"]) != (FORMAT, _SHAPE, len(source.text)):
            raise ValueError("written by another version, or for another text")
        return Dockerfile(
            source=source,
            directives=_all(Directive, document["directives"]),
            global_args=_all(Arg, document["global_args"]),
            stages=_all(Stage, document["stages"]),
        )
    except (KeyError, TypeError, ValueError, RecursionError) as failure:
        raise ValueError(f"not a usable parsed Dockerfile: {failure!r}") from failure


def _encode(value: object) -> object:
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    if isinstance(value, Word) and value.is_plain:
        return {"": value.text}
    name = type(value).__name__
    if type(value) is _TYPES.get(name):
        return {name: [_encode(getattr(value, field)) for field in _FIELDS[name]]}
    return value


def _decode(item: dict[str, object]) -> object:
    if len(item) != 1:
        return item
    [(name, values)] = item.items()
    if name == "":
        return plain(values) if isinstance(values, str) else item
    if not isinstance(values, list) or len(values) != len(_FIELDS[name]):
        raise TypeError(f"wrong number of fields for {name}")
    return _TYPES[name](**dict(zip(_FIELDS[name], map(_tuple_if_list, values), strict=True)))


def _tuple_if_list(value: object) -> object:
    return _tuple(value) if isinstance(value, list) else value


def _tuple(values: list[object]) -> tuple[object, ...]:
    return tuple(_tuple_if_list(value) for value in values)


def _all(kind: type[_T], values: object) -> tuple[_T, ...]:
    if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
        raise TypeError(f"expected a list of {kind.__name__}")
    return tuple(values)

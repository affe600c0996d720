"""The functions of templates: Go's own, and those that Docker adds (``json``, ``split``, ``join``, ``title``...).

Each takes plain values and raises ValueError, whose text becomes part of the error with the position.
"""

from __future__ import annotations

import operator
import urllib.parse
from collections.abc import Callable, Mapping

from builder.cli.template.printf import sprintf
from builder.cli.template.values import MISSING, is_nothing, json_text, text_of, truth, type_name, zero_of

_PAD_LIMIT = 10_000
_PIECE_LIMIT = 100_000
TEXT_LIMIT = 16 << 20
"""Characters of a text that a function gives: templates could double one in every round of a loop."""
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;", "\0": "\ufffd"}


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a string, found {_shown(value)}")
    return value


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"expected a whole number, found {_shown(value)}")
    return value


def _shown(value: object) -> str:
    return "nothing" if is_nothing(value) else f"{type_name(value)} {text_of(value)[:60]}"


def _strings(value: object) -> list[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"expected a list of strings, found {_shown(value)}")
    return list(value)


def _index(value: object, *keys: object) -> object:
    for key in keys:
        value = _element(value, key)
    return value


def _element(value: object, key: object) -> object:
    if isinstance(value, dict):
        name = _string(key)
        return value.get(name, zero_of(value))
    if is_nothing(value):
        raise ValueError("index of a value that is not there")
    items = _bytes(value)
    number = _integer(key)
    if not 0 <= number < len(items):
        raise ValueError(f"index out of range: {number}")
    found: object = items[number]
    return found


def _bytes(value: object) -> bytes | list[object] | tuple[object, ...]:
    """Return what Go indexes: a string's bytes, a list's items."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, list | tuple):
        return value
    raise ValueError(f"cannot index {_shown(value)}")


def _slice(value: object, *bounds: object) -> object:
    items = _bytes(value)
    numbers = [_integer(one) for one in bounds]
    start, stop, *_ = [*numbers, *(0, len(items))[len(numbers) :]]
    if len(bounds) > 2 or not 0 <= start <= stop <= len(items):
        raise ValueError(f"index out of range: {', '.join(map(str, numbers))}")
    part = items[start:stop]
    return part.decode("utf-8", "replace") if isinstance(part, bytes) else part


def _length(value: object) -> int:
    if isinstance(value, dict):
        return len(value)
    if is_nothing(value) or isinstance(value, int | float):
        raise ValueError(f"len of {_shown(value)}")
    return len(_bytes(value))


def _print(*values: object) -> str:
    """Put spaces between values of which neither is a string."""
    parts: list[str] = []
    for number, one in enumerate(values):
        if number and not isinstance(one, str) and not isinstance(values[number - 1], str):
            parts.append(" ")
        parts.append(text_of(one))
    return "".join(parts)


def _println(*values: object) -> str:
    return " ".join(text_of(one) for one in values) + "\n"


def _basic(value: object) -> str:
    if isinstance(value, dict | list | tuple):
        raise ValueError(f"a {type_name(value)} cannot be compared")
    return type_name(value)


def _equal(first: object, *others: object) -> bool:
    if not others:
        raise ValueError("missing argument for comparison")
    return any(_same(first, other) for other in others)


def _same(one: object, other: object) -> bool:
    if is_nothing(one) or is_nothing(other):
        return is_nothing(one) and is_nothing(other)
    if _basic(one) != _basic(other):
        raise ValueError(f"incompatible types for comparison: {_shown(one)} and {_shown(other)}")
    return one == other


def _ordered(compare: Callable[[object, object], bool]) -> Callable[[object, object], bool]:
    def ordered(one: object, other: object) -> bool:
        if isinstance(one, bool) or is_nothing(one) or _basic(one) != _basic(other):
            raise ValueError(f"incompatible types for comparison: {_shown(one)} and {_shown(other)}")
        return compare(one, other)

    return ordered


def _title(value: object) -> str:
    text = _string(value)
    starts = [True, *(not (one.isalnum() or one == "_") for one in text)]
    return "".join(
        one.upper() if start and len(one.upper()) == 1 else one for one, start in zip(text, starts, strict=False)
    )


def _pad(value: object, before: object, after: object) -> str:
    left, right = _integer(before), _integer(after)
    if not (0 <= left <= _PAD_LIMIT and 0 <= right <= _PAD_LIMIT):
        raise ValueError(f"pad takes 0 to {_PAD_LIMIT} spaces")
    return " " * left + _string(value) + " " * right if value else ""


def _truncate(value: object, length: object) -> str:
    """Cut to bytes, as Go does, but between characters."""
    raw, size = _string(value).encode("utf-8", "surrogateescape"), _integer(length)
    if size < 0:
        raise ValueError(f"cannot truncate to {size}")
    return _string(value) if len(raw) <= size else raw[:size].decode("utf-8", "ignore")


def _html(*values: object) -> str:
    return "".join(_HTML.get(one, one) for one in _print(*values))


def _urlquery(*values: object) -> str:
    return urllib.parse.quote_plus(_print(*values), safe="")


def _split(value: object, separator: object) -> list[str]:
    text, mark = _string(value), _string(separator)
    if text.count(mark) > _PIECE_LIMIT:
        raise ValueError(f"more than {_PIECE_LIMIT} pieces")
    return text.split(mark) if mark else list(text)


def _join(values: object, separator: object) -> str:
    parts, mark = _strings(values), _string(separator)
    if sum(map(len, parts)) + len(mark) * len(parts) > TEXT_LIMIT:
        raise ValueError(f"more than {TEXT_LIMIT} characters")
    return mark.join(parts)


def _sprintf(form: object, *values: object) -> str:
    return sprintf(_string(form), values)


FUNCTIONS: Mapping[str, tuple[Callable[..., object], int, int | None]] = {
    "and": (lambda *values: next((one for one in values if not truth(one)), values[-1]), 1, None),
    "or": (lambda *values: next((one for one in values if truth(one)), values[-1]), 1, None),
    "not": (lambda value: not truth(value), 1, 1),
    "eq": (_equal, 1, None),
    "ne": (lambda one, other: not _same(one, other), 2, 2),
    "lt": (_ordered(operator.lt), 2, 2),  # type: ignore[arg-type]  # the types are compared first
    "le": (_ordered(operator.le), 2, 2),  # type: ignore[arg-type]  # the types are compared first
    "gt": (_ordered(operator.gt), 2, 2),  # type: ignore[arg-type]  # the types are compared first
    "ge": (_ordered(operator.ge), 2, 2),  # type: ignore[arg-type]  # the types are compared first
    "len": (_length, 1, 1),
    "index": (_index, 1, None),
    "slice": (_slice, 1, 3),
    "print": (_print, 0, None),
    "println": (_println, 0, None),
    "printf": (_sprintf, 1, None),
    "html": (_html, 0, None),
    "urlquery": (_urlquery, 0, None),
    "json": (json_text, 1, 1),
    "split": (_split, 2, 2),
    "join": (_join, 2, 2),
    "title": (_title, 1, 1),
    "lower": (lambda value: _string(value).lower(), 1, 1),
    "upper": (lambda value: _string(value).upper(), 1, 1),
    "pad": (_pad, 3, 3),
    "truncate": (_truncate, 2, 2),
}
"""Each function, and how many arguments it takes at least and at most (None: any number)."""

UNTOUCHED = frozenset({"json", "split", "join", "title", "lower", "upper", "truncate"})
"""What leaves the title of a table's column as it is."""

LAZY = frozenset({"and", "or"})
"""Functions that look at no more arguments than they must."""

__all__ = ["FUNCTIONS", "LAZY", "MISSING", "UNTOUCHED"]

"""Values as Go prints and compares them: ``[a b]``, ``map[k:v]``, ``<no value>``; and JSON as Go writes it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from builder.patterns import pattern

DEPTH_LIMIT: Final = 100
"""Levels of a value that are printed."""
_SURROGATES = pattern("[\ud800-\udfff]")


class Record(dict[str, Any]):
    """An object with known fields: another one is a mistake in the template, not an empty value."""


class NilMap(dict[str, Any]):
    """A map that is null in JSON, and prints as an empty one."""


class NilList(list[Any]):
    """A list that is null in JSON, and prints as an empty one."""


class _Missing:
    """What a map has under a key that it does not have."""


MISSING: Final = _Missing()


def is_nothing(value: object) -> bool:
    """Say whether a value is null or was not there."""
    return value is None or value is MISSING


def truth(value: object) -> bool:
    """Say whether ``if`` takes a value for true: what is not empty, zero or false is."""
    if is_nothing(value):
        return False
    return True if isinstance(value, Record) else bool(value)


def type_name(value: object) -> str:
    """Return what Go calls the type of a value."""
    if is_nothing(value):
        return "<nil>"
    names = {bool: "bool", int: "int", float: "float64", str: "string"}
    return names.get(type(value), "map[string]interface {}" if isinstance(value, dict) else "[]interface {}")


def printed(value: object) -> str:
    """Return what an action prints."""
    return "<no value>" if is_nothing(value) else text_of(value)


def text_of(value: object, depth: int = 0) -> str:
    """Return a value as ``%v`` prints it. Raises ValueError for one that is nested too deeply."""
    if depth > DEPTH_LIMIT:
        raise ValueError(f"a value is nested more than {DEPTH_LIMIT} deep")
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case float():
            return float_text(value)
        case Record():
            return "{" + " ".join(text_of(one, depth + 1) for one in value.values()) + "}"
        case dict():
            return "map[" + " ".join(f"{key}:{text_of(value[key], depth + 1)}" for key in sorted(value)) + "]"
        case list() | tuple():
            return "[" + " ".join(text_of(one, depth + 1) for one in value) + "]"
        case int():
            return str(value)
    return "<nil>"


def float_text(value: float) -> str:
    """Return a number as ``%v`` prints it: the shortest form, with an exponent below 1e-4 and from 1e21 on."""
    if math.isinf(value) or math.isnan(value):
        return {"inf": "+Inf", "-inf": "-Inf"}.get(str(value), "NaN")
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    mantissa, _, exponent = repr(value).partition("e")
    power = math.floor(math.log10(abs(value))) if not exponent else int(exponent)
    if -4 <= power < 21:
        text = f"{value:.0f}" if value.is_integer() else _plain(value)
        return text
    if not exponent:
        mantissa = repr(float(f"{value:.17g}"))
        mantissa, _, exponent = f"{value:e}".partition("e")
        shortest = next(text for digits in range(18) if float(text := f"{value:.{digits}e}") == value)
        mantissa, _, exponent = shortest.partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent):+03d}"


def _plain(value: float) -> str:
    text = repr(value)
    if "e" not in text:
        return text
    digits = next(number for number in range(1, 400) if float(f"{value:.{number}f}") == value)
    return f"{value:.{digits}f}"


def json_text(value: object) -> str:
    """Return JSON as Go's encoder writes it without escaping HTML: maps sorted, fields of records in their order.

    Raises ValueError for a value that is nested too deeply.
    """
    text = json.dumps(_plain_json(value, 0), ensure_ascii=False, separators=(",", ":"))
    text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def _plain_json(value: object, depth: int) -> object:
    if depth > DEPTH_LIMIT:
        raise ValueError(f"a value is nested more than {DEPTH_LIMIT} deep")
    match value:
        case NilMap() | NilList() | _Missing():
            return None
        case Record():
            return {key: _plain_json(one, depth + 1) for key, one in value.items()}
        case dict():
            return {key: _plain_json(value[key], depth + 1) for key in sorted(value)}
        case list() | tuple():
            return [_plain_json(one, depth + 1) for one in value]
        case float() if value.is_integer() and abs(value) < 1e21:
            return int(value)
    return value


def zero_of(container: Mapping[str, object]) -> object:
    """Return what ``index`` gives for a key that is not there: maps of strings have an empty one."""
    return "" if all(isinstance(one, str) for one in container.values()) else MISSING

"""Lengths of time, and sizes, as people write them."""

from __future__ import annotations

import re

from builder.errors import UsageError
from builder.patterns import pattern

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PART = pattern(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([smhdw])", re.ASCII)
_SIZE = pattern(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)([kmgt]?)(?:i?b)?\Z", re.IGNORECASE | re.ASCII)
_LONGEST = 100 * 366 * 86400


def duration(option: str, text: str) -> float:
    """Return the seconds of ``90s``, ``36h``, ``1h30m``, ``7d`` or ``2w``. Raises UsageError."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"{option} {text}: expected a length of time", hint="e.g. 90m, 36h, 7d or 2w")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds > _LONGEST:
        raise UsageError(f"{option} {text}: more than a hundred years")
    return float(seconds)


def size(option: str, text: str) -> int:
    """Read bytes with an optional binary suffix: ``64m`` is 64 MiB. Raises UsageError."""
    match = _SIZE.match(text)
    if match is None:
        raise UsageError(f"{option} {text}: expected a size", hint="bytes, or a number with k, m or g: 64m")
    value = int(float(match[1]) * 1024 ** "_kmgt".index(match[2].lower() or "_"))
    if value >= 1 << 60:
        raise UsageError(f"{option} {text}: more than any machine has")
    return value


def store_size(place: str, text: str) -> tuple[int, int] | None:
    """Return bytes and percents of the file system, of which the smaller holds; None for ``none``. Raises UsageError.

    ``20g``, ``15%`` and ``15%,20g`` are sizes; what is not given is as large as can be.
    """
    if text == "none":
        return None
    most, share = 1 << 62, 100
    for part in text.split(","):
        if part.endswith("%"):
            number = part[:-1]
            if not number.isascii() or not number.isdigit() or not 0 < int(number[:4]) <= 100:
                raise UsageError(f"{place} {text}: expected 1% to 100%")
            share = int(number)
        else:
            most = size(place, part)
    return most, share

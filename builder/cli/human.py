"""Sizes and ages as people read them, in Docker's words, and texts of pages as a terminal shows them."""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_MINUTE = 60
_HOUR = 60 * _MINUTE


def human_size(size: int) -> str:
    """Return bytes with three digits and a decimal unit: ``7.81MB``."""
    value = float(size)
    for unit in _UNITS[:-1]:
        if value < 999.5:  # more is rounded to four digits, which have no place
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}{_UNITS[-1]}"


def human_age(seconds: float) -> str:
    """Return how long ago something was: ``3 weeks ago``."""
    return f"{_duration(int(seconds))} ago"


def _duration(seconds: int) -> str:
    hours = int(seconds / _HOUR + 0.5)
    if seconds < 1:
        return "Less than a second"
    if seconds < _MINUTE:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    if seconds < _HOUR:
        return "About a minute" if seconds < 2 * _MINUTE else f"{seconds // _MINUTE} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    days = hours // 24
    for limit, length, name in ((14, 1, "days"), (60, 7, "weeks"), (730, 30, "months")):
        if days < limit:
            return f"{days // length} {name}"
    return f"{days // 365} years"


def counted(number: int, one: str, several: str) -> str:
    """Return a number with its noun: ``1 entry``."""
    return f"{number} {one if number == 1 else several}"


def plain(text: str) -> str:
    """Return a text of a page as the terminal shows it."""
    return text.replace("`", "")

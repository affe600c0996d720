"""``--chmod``: octal for everything, or symbolic as chmod(1) reads it with umask 0 (dockerfile.md 1.8)."""

from __future__ import annotations

import re

from builder.patterns import pattern

_CLAUSE = pattern(r"([ugoa]*)((?:[-+=](?:[rwxXst]+|[ugo])?)+)", re.ASCII)
_ACTION = pattern(r"([-+=])([rwxXst]+|[ugo])?", re.ASCII)
_SHIFT = {"u": 6, "g": 3, "o": 0}
_SPECIAL = {"u": 0o4000, "g": 0o2000, "o": 0}


def octal_mode(text: str | None) -> int | None:
    """Return the mode an octal ``--chmod`` gives, None for a symbolic one and for none."""
    return int(text, 8) if text and text.isdigit() else None


def changed_mode(text: str, mode: int, *, directory: bool) -> int:
    """Return ``mode`` after ``--chmod=text``, which is known to be well-formed."""
    octal = octal_mode(text)
    if octal is not None:
        return octal
    for clause in text.split(","):
        matched = _CLAUSE.fullmatch(clause)
        if matched is None:
            raise ValueError(f"not a mode: {text!r}")
        who = "ugo" if not matched[1] or "a" in matched[1] else matched[1]
        for operator, what in _ACTION.findall(matched[2]):
            mode = _apply(mode, who, operator, what, directory=directory)
    return mode


def _apply(mode: int, who: str, operator: str, what: str, *, directory: bool) -> int:
    bits = _bits(mode, who, what, directory=directory)
    if operator == "+":
        return mode | bits
    if operator == "-":
        return mode & ~bits
    # "=" keeps a directory's setuid and setgid bits, as GNU chmod does, unless they are named.
    cleared = sum(0o7 << _SHIFT[one] for one in set(who))
    if not directory:
        cleared |= sum(_SPECIAL[one] for one in set(who))
    if set(who) == set("ugo"):
        cleared |= 0o1000
    return (mode & ~cleared) | bits


def _bits(mode: int, who: str, what: str, *, directory: bool) -> int:
    if what in _SHIFT and what:
        copied = mode >> _SHIFT[what] & 0o7
        return sum(copied << _SHIFT[one] for one in set(who))
    bits = 0
    for letter in what:
        if letter == "s":
            bits |= sum(_SPECIAL[one] for one in set(who))
        elif letter == "t":
            bits |= 0o1000 if set(who) == set("ugo") or "o" in who else 0
        else:
            value = {"r": 4, "w": 2, "x": 1, "X": 1 if directory or mode & 0o111 else 0}[letter]
            bits |= sum(value << _SHIFT[one] for one in set(who))
    return bits

"""Go's ``filepath.Match`` and ``filepath.Clean``, which the Dockerfile language is defined by (dockerfile.md 1.8).

Owns the syntax of one pattern and its translation to :mod:`re`. The wider patterns of ignore files, with ``**``, are
:mod:`builder.context.ignore`'s; walking a tree with a pattern is :mod:`builder.context.tree`'s.
"""

from __future__ import annotations

import functools
import re

from builder.errors import ContextError

_NEVER = "(?!)"
_LONGEST_PATTERN = 64 * 1024


class PatternError(ContextError):
    """A file pattern that is not well-formed; ``pattern`` is the pattern as it was written."""

    def __init__(self, pattern: str, problem: str = "syntax error in pattern") -> None:
        super().__init__(
            f"pattern {pattern!r}: {problem}", hint="escape a literal *, ?, [ or backslash with a backslash"
        )
        self.pattern = pattern


def clean(path: str) -> str:
    """Return the shortest name of ``path`` by text alone: no ``.``, no doubled slash, ``..`` only in front.

    The empty path becomes ``.``. ``//a`` becomes ``/a``, unlike with ``os.path.normpath``.
    """
    rooted = path.startswith("/")
    kept: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            kept.append(part)
        elif kept and kept[-1] != "..":
            kept.pop()
        elif not rooted:
            kept.append(part)
    text = "/".join(kept)
    return "/" + text if rooted else text or "."


def root_relative(path: str) -> str:
    """Return ``path`` cleaned against the root and without leading slash; the root is the empty string."""
    return clean("/" + path)[1:]


def has_wildcard(pattern: str) -> bool:
    """Say whether ``pattern`` holds a ``*``, ``?`` or ``[`` that no backslash stands before."""
    position = 0
    while position < len(pattern):
        if pattern[position] in "*?[":
            return True
        position += 2 if pattern[position] == "\\" else 1
    return False


@functools.lru_cache(maxsize=512)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Translate ``pattern`` for ``re.Pattern.match``; raise PatternError for a malformed one.

    Go commits to the first place where the piece after a ``*`` fits and never comes back. Atomic groups do the same,
    which also keeps patterns of many stars from taking forever.
    """
    if len(pattern) > _LONGEST_PATTERN:
        raise PatternError(pattern[:64] + "...", "longer than 64 KiB")
    pieces: list[str] = [""]
    position = 0
    while position < len(pattern):
        char = pattern[position]
        if char == "*":
            position += 1
            if pieces[-1] or len(pieces) == 1:
                pieces.append("")
        elif char == "[":
            text, position = character_class(pattern, position)
            pieces[-1] += text
        elif char == "?":
            pieces[-1] += "[^/]"
            position += 1
        else:
            text, position = literal(pattern, position)
            pieces[-1] += re.escape(text)
    first, *rest = pieces
    if not rest:
        return re.compile(first + r"\Z")
    *middle, last = rest
    stars = "".join(f"(?>[^/]*?{piece})" for piece in middle if piece)
    return re.compile(f"{first}{stars}[^/]*{'?' if last else ''}{last}\\Z")


def literal(pattern: str, position: int) -> tuple[str, int]:
    """Read one plain or escaped character of ``pattern``; return it and the place behind it."""
    if pattern[position] == "\\":
        position += 1
        if position == len(pattern):
            raise PatternError(pattern, "nothing after the last backslash")
    return pattern[position], position + 1


def character_class(pattern: str, start: int) -> tuple[str, int]:
    """Translate the class that begins with the ``[`` at ``start``; return its regular expression and the place behind.

    A class matches ``/`` if it says so, also by negation, as Go's does.
    """
    position = start + 1
    negated = pattern.startswith("^", position)
    position += negated
    ranges: list[str] = []
    count = 0
    while not (count and pattern.startswith("]", position)):
        low, position = _class_member(pattern, position)
        high = low
        if pattern.startswith("-", position):
            high, position = _class_member(pattern, position + 1)
        count += 1
        if low <= high:
            ranges.append(f"{_in_class(low)}-{_in_class(high)}")
    if not ranges:
        return ("(?s:.)" if negated else _NEVER), position + 1
    return f"[{'^' if negated else ''}{''.join(ranges)}]", position + 1


def _class_member(pattern: str, position: int) -> tuple[str, int]:
    if position >= len(pattern) or pattern[position] in "-]":
        raise PatternError(pattern)
    char, position = literal(pattern, position)
    if position == len(pattern) or "\ud800" <= char <= "\udfff":
        raise PatternError(pattern)
    return char, position


def _in_class(char: str) -> str:
    return f"\\U{ord(char):08x}"

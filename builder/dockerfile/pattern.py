"""The patterns of ``${name#pattern}``, ``%`` and ``/`` (dockerfile.md 1.4): ``*``, ``?``, escapes, no brackets.

No pattern takes more time than its length times that of the value: what lies between stars is looked for where it comes
first, which is never given up again. As in Go's regular expressions ``*`` and ``?`` stop at a newline.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from builder.values import dataclass

_STAR: Final = "*"
_ANY: Final = "?"
_Token = tuple[bool, str]  # (is a wildcard, character)


class PatternError(ValueError):
    """The pattern has an escape that means nothing."""


def trim_prefix(value: str, pattern: str, *, longest: bool) -> str:
    """Remove the shortest or longest prefix that matches."""
    end = _compiled(_tokens(pattern), longest=longest).match(value)
    return value if end is None else value[end:]


def trim_suffix(value: str, pattern: str, *, longest: bool) -> str:
    """Remove the shortest or longest suffix that matches."""
    end = _compiled(_tokens(pattern)[::-1], longest=longest).match(value[::-1])
    return value if end is None else value[: len(value) - end]


def replace(value: str, pattern: str, replacement: str, *, every: bool) -> str:
    """Replace the first, or every, leftmost longest match.

    An empty match counts where it does not touch the match before it.
    """
    glob = _compiled(_tokens(pattern), longest=True)
    result: list[str] = []
    copied = position = 0
    while (found := glob.search(value, position)) is not None:
        start, end = found
        position = max(end, start + 1)
        if start == end == copied and start > 0:
            continue
        result += [value[copied:start], replacement]
        copied = end
        if not every:
            break
    return "".join([*result, value[copied:]])


def _tokens(pattern: str) -> list[_Token]:
    tokens: list[_Token] = []
    chars = iter(pattern)
    for ch in chars:
        if ch == "\\":
            escaped = next(chars, "")
            if escaped not in ("*", "?", "\\", "}", "/"):
                raise PatternError(f"invalid escape '\\{escaped}'")
            tokens.append((False, escaped))
        elif ch in (_STAR, _ANY):
            tokens.append((True, ch))
        else:
            tokens.append((False, ch))
    return tokens


@dataclass(frozen=True, slots=True)
class _Glob:
    """A pattern: ``length`` characters before its first star, and all from there."""

    head: re.Pattern[str]
    length: int
    tail: re.Pattern[str] | None

    def match(self, value: str) -> int | None:
        """Return where a match that begins with the value ends."""
        head = self.head.match(value)
        if head is None or self.tail is None:
            return head and head.end()
        tail = self.tail.match(value, head.end())
        return tail and tail.end()

    def search(self, value: str, position: int) -> tuple[int, int] | None:
        """Return where the first match that begins at ``position`` or later begins and ends."""
        while position <= len(value):
            head = self.head.search(value, position)
            if head is None or self.tail is None:
                return head and head.span()
            tail = self.tail.match(value, head.end())
            if tail is not None:
                return head.start(), tail.end()
            # What follows the head is not there until a star would have to pass the end of the line.
            line = value.find("\n", head.end())
            if line < 0:
                break
            position = line + 1 - self.length
        return None


def _compiled(tokens: Sequence[_Token], *, longest: bool) -> _Glob:
    """Return tokens as something to match with; of what may end in several places the ``longest`` or the shortest."""
    pieces: list[list[str]] = [[]]
    for token in tokens:
        if token == (True, _STAR):
            pieces.append([])
        else:
            pieces[-1].append("[^\n]" if token[0] else re.escape(token[1]))
    head, *rest = ("".join(piece) for piece in pieces)
    tail = None
    if rest:
        middle = "".join(f"(?>[^\n]*?{piece})" for piece in rest[:-1] if piece)
        tail = re.compile(f"{middle}[^\n]*{'' if longest else '?'}{rest[-1]}")
    return _Glob(re.compile(head), len(pieces[0]), tail)

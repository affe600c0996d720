"""The patterns of ``${name#pattern}``, ``%`` and ``/`` (dockerfile.md 1.4): ``*``, ``?``, escapes, no brackets.

Matched by following all positions at once, so that no pattern takes exponential time. As in Go's regular expressions
``*`` and ``?`` stop at a newline.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_STAR: Final = "*"
_ANY: Final = "?"
_Token = tuple[bool, str]  # (is a wildcard, character)


class PatternError(ValueError):
    """The pattern has an escape that means nothing."""


def trim_prefix(value: str, pattern: str, *, longest: bool) -> str:
    """Remove the shortest or longest prefix that matches."""
    end = _match(_tokens(pattern), value, 0, longest=longest)
    return value if end is None else value[end:]


def trim_suffix(value: str, pattern: str, *, longest: bool) -> str:
    """Remove the shortest or longest suffix that matches."""
    end = _match(_tokens(pattern)[::-1], value[::-1], 0, longest=longest)
    return value if end is None else value[: len(value) - end]


def replace(value: str, pattern: str, replacement: str, *, every: bool) -> str:
    """Replace the first, or every, leftmost longest match.

    An empty match counts where it does not touch the match before it.
    """
    tokens = _tokens(pattern)
    result: list[str] = []
    copied = position = 0
    while position <= len(value):
        end = _match(tokens, value, position, longest=True)
        if end is None or (end == position == copied and position > 0):
            position += 1
            continue
        result += [value[copied:position], replacement]
        copied = end
        position = end if end > position else position + 1
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


def _match(tokens: Sequence[_Token], value: str, start: int, *, longest: bool) -> int | None:
    """Return where a match that begins at ``start`` ends."""
    final = len(tokens)
    states = _skip_stars(tokens, {0})
    found = start if final in states else None
    for position in range(start, len(value)):
        if found is not None and not longest:
            return found
        states = _skip_stars(tokens, _step(tokens, states, value[position]))
        if not states:
            break
        if final in states:
            found = position + 1
    return found


def _step(tokens: Sequence[_Token], states: set[int], ch: str) -> set[int]:
    following: set[int] = set()
    for state in states:
        if state == len(tokens):
            continue
        wild, expected = tokens[state]
        if wild and ch != "\n":
            following.add(state if expected == _STAR else state + 1)
        elif not wild and expected == ch:
            following.add(state + 1)
    return following


def _skip_stars(tokens: Sequence[_Token], states: set[int]) -> set[int]:
    """Add the states reachable without reading a character."""
    for state in sorted(states):
        current = state
        while current < len(tokens) and tokens[current] == (True, _STAR):
            current += 1
            states.add(current)
    return states

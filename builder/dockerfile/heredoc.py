"""Finding heredocs in an instruction's text (dockerfile.md 1.10); ``lines.LineReader`` reads their bodies.

The escape is a backslash here whatever the directive says.
"""

from __future__ import annotations

import re
from typing import Final

from builder.dockerfile.text import SPACE
from builder.patterns import pattern
from builder.values import dataclass

_OPENER: Final = pattern(r"(\d*)<<(-?)[\t\n\f\r ]*([^<]*)\Z", re.ASCII)
_GLUED: Final = pattern(r"\d*<<-?[\t\n\v\f\r ]*\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Opener:
    """``<<NAME`` in a line: ``text[start:end]``."""

    start: int
    end: int
    name: str
    expand: bool
    chomp: bool
    fd: int


def find_openers(text: str) -> list[Opener]:
    """Return the heredocs that ``text`` announces, in order; none if a quote in it is never closed."""
    words = _raw_words(text)
    if words is None:
        return []
    openers = (_opener(start, word) for start, word in words)
    return [opener for opener in openers if opener is not None]


def sole_opener(text: str) -> Opener | None:
    """Return the heredoc if ``text`` is nothing but one."""
    openers = find_openers(text)
    if len(openers) == 1 and openers[0].start == 0 and openers[0].end == len(text):
        return openers[0]
    return None


def strip_tabs(body: str) -> str:
    """Remove the leading tabs of every line, as ``<<-`` asks."""
    return re.sub(r"^\t+", "", body, flags=re.MULTILINE) if "\t" in body else body


def _opener(start: int, word: str) -> Opener | None:
    match = _OPENER.match(word)
    if match is None or len(match[1]) > 9:
        return None
    name, quoted = _unquote(match[3])
    if not name:
        return None
    return Opener(start, start + len(word), name, not quoted, match[2] == "-", int(match[1] or 0))


def _raw_words(text: str) -> list[tuple[int, str]] | None:
    """Split at unquoted blanks, keeping quotes; blanks after ``<<`` belong to the word. None: a quote stays open."""
    words: list[tuple[int, str]] = []
    start = 0
    quote = ""
    position = 0
    while position < len(text):
        ch = text[position]
        if ch == "\\" and quote != "'":
            position += 1
        elif quote:
            quote = "" if ch == quote else quote
        elif ch in "'\"":
            quote = ch
        elif ch in SPACE:
            end = _skip_blanks(text, position)
            if not _GLUED.match(text, start, position):
                words.append((start, text[start:position]))
                start = end
            position = end - 1
        position += 1
    words.append((start, text[start:]))
    return None if quote else words


def _skip_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position] in SPACE:
        position += 1
    return position


def _unquote(text: str) -> tuple[str, bool]:
    """Return the delimiter, and whether any part of it was quoted; an escape does not count as a quote."""
    name: list[str] = []
    quote = ""
    quoted = False
    chars = iter(text)
    for ch in chars:
        if ch == "\\" and quote != "'":
            following = next(chars, "")
            keep = quote and following not in ('"', "$", "\\")
            name.append(ch + following if keep else following)
        elif ch == quote:
            quote = ""
        elif not quote and ch in "'\"":
            quote, quoted = ch, True
        else:
            name.append(ch)
    return "".join(name), quoted

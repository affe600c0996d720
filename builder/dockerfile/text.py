"""Character classes of the language, which are Go's and not Python's (dockerfile.md 1.13, Python traps).

``str.strip()`` and ``\\s`` include ``\\x1c`` to ``\\x1f``, ``str.split()`` splits at NBSP: always name the set instead.
"""

from __future__ import annotations

from typing import Final

from builder.patterns import pattern

SPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""What Go's ``unicode.IsSpace`` knows; ``str.strip()`` would take the separators U+001C to U+001F too."""

BLANKS: Final = pattern(r"[\t\v\f\r ]+")
"""What separates arguments."""


def split_blanks(text: str) -> list[tuple[int, str]]:
    """Split at ASCII blanks only; each piece comes with its offset."""
    pieces: list[tuple[int, str]] = []
    start = 0
    for gap in BLANKS.finditer(text):
        if gap.start() > start:
            pieces.append((start, text[start : gap.start()]))
        start = gap.end()
    if start < len(text):
        pieces.append((start, text[start:]))
    return pieces


def split_words(text: str, escape: str) -> list[tuple[int, str]]:
    """Split the words of ENV, LABEL and ARG: quotes group and stay part of the word, as do escapes.

    An unfinished quote runs to the end; an escape character that ends the text is dropped.
    """
    words: list[tuple[int, str]] = []
    word: list[str] = []
    start = -1
    quote = ""
    chars = iter(enumerate(text))
    for offset, ch in chars:
        if start < 0:
            if ch in SPACE:
                continue
            start = offset
        if not quote and ch in SPACE:
            words.append((start, "".join(word)))
            word, start = [], -1
            continue
        if ch == escape and quote != "'":
            following = next(chars, None)
            if following is not None:
                word += [ch, following[1]]
            continue
        quote = _quote_after(quote, ch)
        word.append(ch)
    if word:
        words.append((start, "".join(word)))
    return words


def _quote_after(quote: str, ch: str) -> str:
    if quote:
        return "" if ch == quote else quote
    return ch if ch in "'\"" else ""

"""Text to word trees (dockerfile.md 1.4): the way in, and the words that need no parser.

Most words of a Dockerfile hold no quote or escape, or are one quoted text, and no more than ``$NAME`` or ``${NAME}``.
They are recognised here, so that a file made of such words never loads lark. The grammar of all words is
``words.lark``, its tree builder ``wordtree``; a law holds the short way against it. Evaluation is in ``expansion``.
"""

from __future__ import annotations

from typing import Final

from builder.dockerfile.word import Literal, Quoted, Variable, Word, plain
from builder.patterns import pattern

_REFERENCE: Final = pattern(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")


def parse_word(text: str, *, escape: str = "\\") -> Word:
    """Parse a word; a mistake in it becomes ``Word.problem``."""
    if "$" not in text and "'" not in text and '"' not in text and escape not in text:
        return plain(text)
    return _short(text, escape) or _long(text, "word", escape)


def parse_body(text: str) -> Word:
    """Parse a heredoc body: quotes are ordinary characters and the escape is always a backslash."""
    if "$" not in text and "\\" not in text:
        return plain(text)
    parts = None if "\\" in text else _references(text)
    return Word(text, parts) if parts else _long(text, "body", "\\")


def _short(text: str, escape: str) -> Word | None:
    """Read a word without quotes and escapes, or that is one quoted text; None for any other."""
    if escape in text and text[0] != "'":
        return None
    inner = text[1:-1]
    if text == f"'{inner}'" and "'" not in inner:
        return Word(text, (Quoted((Literal(inner),)),))
    if text == f'"{inner}"' and '"' not in inner:
        parts = _references(inner)
        return Word(text, (Quoted(parts),)) if parts else None
    parts = None if "'" in text or '"' in text else _references(text)
    return Word(text, parts) if parts else None


def _references(text: str) -> tuple[Literal | Variable, ...] | None:
    """Split at references by name, if there are no others; a name may go on with letters that are not ASCII's."""
    parts: list[Literal | Variable] = []
    position = 0
    if "$" in text and not text.isascii():
        return None
    for found in _REFERENCE.finditer(text):
        if found.start() > position:
            parts.append(Literal(text[position : found.start()]))
        parts.append(Variable(found[1] or found[2], found[0]))
        position = found.end()
    if position < len(text):
        parts.append(Literal(text[position:]))
    other = any(isinstance(part, Literal) and "$" in part.text for part in parts)
    return None if other else tuple(parts)


def _long(text: str, start: str, escape: str) -> Word:
    from builder.dockerfile.wordtree import build

    return build(text, start, escape)

"""Text to word trees (dockerfile.md 1.4): the way in, and the words that need no parser.

Most words of a Dockerfile hold no ``$``, quote or escape, or are one quoted text; they are recognised here, and a file
made of such words never loads lark. The grammar is ``words.lark``, its tree builder ``wordtree``; evaluation is in
``expansion``.
"""

from __future__ import annotations

from builder.dockerfile.word import Literal, Quoted, Word, plain


def parse_word(text: str, *, escape: str = "\\") -> Word:
    """Parse a word; a mistake in it becomes ``Word.problem``."""
    if "$" not in text and "'" not in text and '"' not in text and escape not in text:
        return plain(text)
    inner = text[1:-1]
    if text == f"'{inner}'" and "'" not in inner:
        return Word(text, (Quoted((Literal(inner),)),))
    if text == f'"{inner}"' and inner and '"' not in inner and "$" not in inner and escape not in inner:
        return Word(text, (Quoted((Literal(inner),)),))
    from builder.dockerfile.wordtree import build

    return build(text, "word", escape)


def parse_body(text: str) -> Word:
    """Parse a heredoc body: quotes are ordinary characters and the escape is always a backslash."""
    if "$" not in text and "\\" not in text:
        return plain(text)
    from builder.dockerfile.wordtree import build

    return build(text, "body", "\\")

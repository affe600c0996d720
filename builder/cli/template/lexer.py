"""The text of a template into tokens: text between actions, and the words inside them."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator

from builder.cli.template.tree import TemplateError
from builder.patterns import pattern
from builder.values import dataclass

_SPACE = " \t\r\n"
_OPEN = pattern(r"\{\{(-[ \t\r\n])?")
_COMMENT = pattern(r"[ \t\r\n]*/\*(.*?)\*/", re.DOTALL)
_CLOSE = pattern(r"(?P<trim>[ \t\r\n]+-)?\}\}")
_TOKEN = pattern(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<string>"(?:[^"\\\n]|\\[^\n])*"|`[^`]*`)
    |(?P<char>'(?:[^'\\\n]|\\[^\n])+')
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[oO]?[0-7_]+(?![\d.eE])|0[bB][01_]+
        |(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][+-]?\d+)?)(?!\w))
    |(?P<field>\.[^\W\d]\w*)
    |(?P<dot>\.(?![\w.]))
    |(?P<variable>\$\w*)
    |(?P<word>[^\W\d]\w*)
    |(?P<mark>:=|=|\||\(|\)|,)""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """``kind`` is a group of the pattern above, or ``text``, ``open``, ``close`` or ``end``."""

    kind: str
    text: str
    position: int


def tokens(source: str) -> Iterator[Token]:
    """Yield the tokens of ``source``, an ``end`` last; comments are left out and trimming is done."""
    position, trim = 0, False
    while (opening := _OPEN.search(source, position)) is not None:
        text = source[position : opening.start()]
        text = text.lstrip(_SPACE) if trim else text
        text = text.rstrip(_SPACE) if opening[1] else text
        if text:
            yield Token("text", text, position)
        comment = _COMMENT.match(source, opening.end())
        if comment is not None:
            closing = _CLOSE.match(source, comment.end())
            if closing is None:
                raise TemplateError(source, opening.start(), "a comment and something else in one action")
            position, trim = closing.end(), bool(closing["trim"])
            continue
        yield Token("open", "{{", opening.start())
        position, trim = yield from _inside(source, opening.start(), opening.end())
    text = source[position:]
    text = text.lstrip(_SPACE) if trim else text
    if text:
        yield Token("text", text, position)
    yield Token("end", "", len(source))


def _inside(source: str, start: int, position: int) -> Generator[Token, None, tuple[int, bool]]:
    """Yield the tokens of one action; return where it ends and whether the text after it is trimmed."""
    while position < len(source):
        closing = _CLOSE.match(source, position)
        if closing is not None:
            yield Token("close", "}}", position)
            return closing.end(), bool(closing["trim"])
        found = _TOKEN.match(source, position)
        if found is None or found.lastgroup is None:
            raise TemplateError(source, position, f"unexpected {source[position : position + 20]!r}")
        yield Token(found.lastgroup, found[0], position)
        position = found.end()
    raise TemplateError(source, start, "an action that is not closed with }}")

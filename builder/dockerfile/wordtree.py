"""The lark side of words (dockerfile.md 1.4): grammar, tree builder, and messages. Imported only when needed.

LALR is enough because the lexer follows the parser's state; see ``words.lark``. Whether an escape stays in a word
(patterns keep it) is decided where the surrounding reference is reduced, so the builder works on items first.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from lark import Lark, Transformer
from lark.exceptions import UnexpectedInput

from builder.dockerfile.word import Literal, Part, Quoted, Variable, Word

if TYPE_CHECKING:
    from lark import Token

_DEEPEST: Final = 64


class _Escaped:
    """An escaped character; whether the escape stays depends on the reference around it, known only later."""

    __slots__ = ("cooked", "raw")

    def __init__(self, cooked: str, raw: str) -> None:
        self.cooked = cooked
        self.raw = raw


class _Double:
    """The contents of double quotes."""

    __slots__ = ("items",)

    def __init__(self, items: list[_Item]) -> None:
        self.items = items


_Item: TypeAlias = "Literal | Quoted | Variable | _Escaped | _Double"


@lru_cache(maxsize=1024)
def build(text: str, start: str, escape: str) -> Word:
    """Parse ``text`` from the start symbol ``word`` or ``body``; a mistake becomes ``Word.problem``."""
    if text.count("${") > _DEEPEST and _nesting(text) > _DEEPEST:
        return Word(text, (), "substitutions are nested too deeply")
    try:
        items = cast("list[_Item]", _grammar(start, escape).parse(text))
    except UnexpectedInput as failure:
        return Word(text, (), _explain(text, failure))
    return Word(text, _finish(items, raw=False))


def _nesting(text: str) -> int:
    """Return an upper bound of the nesting depth of references."""
    depth = deepest = 0
    for index, ch in enumerate(text):
        if ch == "{" and text[index - 1 : index] == "$":
            depth += 1
            deepest = max(deepest, depth)
        elif ch == "}" and depth:
            depth -= 1
    return deepest


@lru_cache(maxsize=4)
def _grammar(start: str, escape: str) -> Lark:
    """Load the grammar with its tree builder; ``parse`` of the result returns a list of items."""
    text = (files("builder.dockerfile") / "words.lark").read_text(encoding="utf-8")
    if escape != "\\":
        text = text.replace("\\\\", escape)
    return Lark(text, start=start, parser="lalr", lexer="contextual", maybe_placeholders=False, transformer=_Builder())


class _Builder(Transformer):  # type: ignore[type-arg]  # generic only in lark's stubs
    """Build items bottom up; a method is named after the grammar's alias it serves."""

    def word(self, items: list[_Item]) -> list[_Item]:
        return items

    body = inner = pattern = bare_inner = bare_pattern = word

    def literal(self, items: list[Token]) -> _Item:
        return Literal(str(items[0]))

    def escaped(self, items: list[Token]) -> _Item:
        return _Escaped(items[0][1:], str(items[0]))

    def dropped(self, items: list[Token]) -> _Item:
        return _Escaped("", str(items[0]))

    def quoted_escape(self, items: list[Token]) -> _Item:
        return _Escaped(items[0][1:], str(items[0]))

    def quoted_literal(self, items: list[Token]) -> _Item:
        # Where escapes are kept, a pattern, the character must come out as an escaped one.
        return _Escaped(str(items[0]), items[0] * 2)

    def single(self, items: list[Token]) -> _Item:
        return Quoted((Literal(items[0][1:-1]),))

    def double(self, items: list[_Item]) -> _Item:
        return _Double(items[1:-1])

    def named(self, items: list[Token]) -> _Item:
        return Variable(items[0][1:], str(items[0]))

    def braced(self, items: list[Token]) -> _Item:
        return Variable(str(items[1]), f"${{{items[1]}}}")

    def modified(self, items: list[object]) -> _Item:
        return _substitution(items, raw=False)

    def trimmed(self, items: list[object]) -> _Item:
        return _substitution(items, raw=True)

    def replaced(self, items: list[object]) -> _Item:
        return _substitution(items, raw=True)


def _substitution(items: list[object], *, raw: bool) -> Variable:
    """Build ``${name<operator>operand}`` from its tokens and its lists of items."""
    words = [_finish(item, raw=raw) for item in items if isinstance(item, list)]
    name, operator = str(items[1]), str(items[2])
    source = f"${{{name}{operator}{'/'.join(_source(parts) for parts in words)}}}"
    return Variable(name, source, operator, words[0], words[1] if len(words) > 1 else ())


def _source(parts: tuple[Part, ...]) -> str:
    """Return parts as text for messages; quotes are gone."""
    return "".join(_source_of(part) for part in parts)


def _source_of(part: Part) -> str:
    if isinstance(part, Literal):
        return part.text
    return part.source if isinstance(part, Variable) else _source(part.parts)


def _finish(items: list[_Item], *, raw: bool) -> tuple[Part, ...]:
    """Turn items into parts: settle the escapes and join neighbouring literals."""
    parts: list[Part] = []
    for item in items:
        part: Part
        if isinstance(item, _Double):
            part = Quoted(tuple(_flat(_finish(item.items, raw=raw))))
        elif isinstance(item, _Escaped):
            text = item.raw if raw else item.cooked
            if not text:
                continue
            part = Quoted((Literal(text),))
        else:
            part = item
        if isinstance(part, Literal) and parts and isinstance(parts[-1], Literal):
            parts[-1] = Literal(parts[-1].text + part.text)
        else:
            parts.append(part)
    return tuple(parts)


def _flat(parts: tuple[Part, ...]) -> list[Literal | Variable]:
    """Inside double quotes everything is quoted already: dissolve inner quotes and join literals."""
    flat: list[Literal | Variable] = []
    for part in parts:
        for piece in part.parts if isinstance(part, Quoted) else (part,):
            if isinstance(piece, Literal) and flat and isinstance(flat[-1], Literal):
                flat[-1] = Literal(flat[-1].text + piece.text)
            else:
                flat.append(piece)
    return flat


def _explain(text: str, failure: UnexpectedInput) -> str:
    """Say what is wrong with a word in the user's terms."""
    expected: set[str] = set(getattr(failure, "expected", None) or getattr(failure, "allowed", None) or ())
    token = getattr(failure, "token", None)
    at_end = token is not None and token.type == "$END"
    position: int = len(text) if at_end else getattr(failure, "pos_in_stream", None) or 0
    if "QUOTED_TEXT" in expected:
        problem = "missing the closing double quote"
    elif text[position : position + 1] == "'" and "SINGLE" in expected:
        problem = "missing the closing single quote"
    elif at_end:
        problem = "missing '/' in ${}" if "SLASH" in expected else "missing '}'"
    elif "NAME" in expected:
        problem = "bad substitution"
    else:
        width = 2 if text[position : position + 1] == ":" else 1
        problem = f"unsupported modifier ({text[position : position + width]}) in substitution"
    return f"failed to process {text[:200]!r}: {problem}"

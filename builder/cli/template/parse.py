"""Tokens of a template into its tree (text/template, "Actions" and "Pipelines")."""

from __future__ import annotations

import re

from builder.cli.template.functions import FUNCTIONS
from builder.cli.template.lexer import Token, tokens
from builder.cli.template.tree import (
    Action,
    Branch,
    Chain,
    Command,
    Dot,
    Function,
    Jump,
    Literal,
    Node,
    Operand,
    Pipeline,
    TemplateError,
    Text,
    Tree,
    Variable,
)
from builder.dockerfile.suggest import did_you_mean
from builder.patterns import pattern

_SIZE_LIMIT = 1 << 16
"""Characters of a template; Docker's users write one line."""
_DEPTH_LIMIT = 50
_BRANCHES = ("if", "with", "range")
_UNSUPPORTED = ("define", "template", "block")
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "nil": None}
_ESCAPE = pattern(r"\\(?:([abfnrtv\\'\"])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3}))|\\")
_SIMPLE = dict(zip("abfnrtv\\'\"", "\a\b\f\n\r\t\v\\'\"", strict=True))


def parse(source: str) -> Tree:
    """Return the tree of ``source``. Raises TemplateError."""
    if len(source) > _SIZE_LIMIT:
        raise TemplateError(source[:1], 0, f"{len(source)} characters; the limit is {_SIZE_LIMIT}")
    return Tree(source, _Parser(source).whole())


class _Parser:
    """Reads one template from left to right, one token ahead."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._tokens = list(tokens(source))
        self._at = 0
        self._depth = 0
        self._variables = ["$"]
        self._ranges = 0

    def whole(self) -> tuple[Node, ...]:
        nodes, ending = self._nodes()
        if ending.kind != "end":
            raise self._wrong(ending, f"unexpected {{{{{ending.text}}}}}")
        return nodes

    # Tokens.

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _skip_space(self) -> None:
        if self._next.kind == "space":
            self._at += 1

    def _close(self) -> None:
        self._skip_space()
        token = self._take()
        if token.kind != "close":
            raise self._wrong(token, f"unexpected {token.text!r}")

    def _wrong(self, token: Token, problem: str, hint: str | None = None) -> TemplateError:
        return TemplateError(self._source, token.position, problem, hint=hint)

    def _deeper(self, token: Token) -> None:
        self._depth += 1
        if self._depth > _DEPTH_LIMIT:
            raise self._wrong(token, f"nested more than {_DEPTH_LIMIT} deep")

    # Nodes.

    def _nodes(self) -> tuple[tuple[Node, ...], Token]:
        """Return nodes up to an ``end``, an ``else`` (whose word is taken, its rest not) or the end of the text."""
        nodes: list[Node] = []
        while True:
            token = self._take()
            if token.kind == "end":
                return tuple(nodes), token
            if token.kind == "text":
                nodes.append(Text(token.text))
                continue
            self._skip_space()
            word = self._next
            if word.kind != "word" or word.text not in (*_BRANCHES, *_UNSUPPORTED, "end", "else", "break", "continue"):
                nodes.append(Action(self._pipeline(declares=1)))
                self._close()
                continue
            self._at += 1
            if word.text == "end":
                self._close()
            if word.text in ("end", "else"):
                return tuple(nodes), word
            nodes.append(self._jump(word) if word.text in ("break", "continue") else self._branch(word))

    def _jump(self, word: Token) -> Jump:
        self._close()
        if not self._ranges:
            raise self._wrong(word, f"{{{{{word.text}}}}} outside {{{{range}}}}")
        return Jump(word.text)

    def _branch(self, word: Token) -> Branch:
        if word.text in _UNSUPPORTED:
            raise self._wrong(word, f"{word.text} is not supported: a template is one piece")
        self._deeper(word)
        known = len(self._variables)
        pipeline = self._pipeline(declares=2 if word.text == "range" else 1)
        self._close()
        self._ranges += word.text == "range"
        then, ending = self._nodes()
        self._ranges -= word.text == "range"
        otherwise: tuple[Node, ...] = ()
        if ending.text == "else":
            otherwise, ending = self._otherwise(word)
        if ending.text != "end":
            raise self._wrong(ending, f"{{{{{word.text}}}}} without {{{{end}}}}")
        del self._variables[known:]
        self._depth -= 1
        return Branch(word.text, pipeline, then, otherwise)

    def _otherwise(self, word: Token) -> tuple[tuple[Node, ...], Token]:
        """Read what follows ``else``; ``else if`` has no ``end`` of its own."""
        self._skip_space()
        following = self._next
        if following.kind == "word" and following.text == word.text and word.text in ("if", "with"):
            self._at += 1
            return (self._branch(following),), Token("word", "end", following.position)
        self._close()
        return self._nodes()

    # Pipelines.

    def _pipeline(self, *, declares: int = 0) -> Pipeline:
        self._skip_space()
        start = self._next
        variables, assigns = self._declaration(declares) if declares else ((), False)
        commands = [self._command(first=True)]
        while self._next.kind == "mark" and self._next.text == "|":
            self._at += 1
            commands.append(self._command(first=False))
        if not assigns:
            self._variables += variables
        return Pipeline(start.position, tuple(commands), variables, assigns)

    def _declaration(self, declares: int) -> tuple[tuple[str, ...], bool]:
        """Read ``$x :=``, ``$x =`` or, with two, ``$k, $v :=``; nothing is taken when none of these is there."""
        start = self._at
        names: list[str] = []
        while self._next.kind == "variable" and len(names) < declares:
            names.append(self._take().text)
            self._skip_space()
            if self._next.text == "," and len(names) < declares:
                self._at += 1
                self._skip_space()
        mark = self._next
        if names and mark.kind == "mark" and mark.text in (":=", "="):
            self._at += 1
            unknown = [name for name in names if name not in self._variables]
            if mark.text == "=" and unknown:
                raise self._wrong(mark, f'undefined variable "{unknown[0]}"')
            return tuple(names), mark.text == "="
        self._at = start
        return (), False

    def _command(self, *, first: bool) -> Command:
        self._skip_space()
        start = self._next
        operands: list[Operand] = []
        while self._next.kind not in ("close", "end") and self._next.text not in ("|", ")"):
            operands.append(self._operand())
            if self._next.kind == "space":
                self._at += 1
            elif self._next.kind != "close" and self._next.text not in ("|", ")"):
                raise self._wrong(self._next, f"unexpected {self._next.text!r}")
        if not operands:
            raise self._wrong(start, "a value is missing")
        if not isinstance(operands[0], Function) and (len(operands) > 1 or not first):
            raise self._wrong(start, f"{start.text} is not a function, it takes no arguments")
        if len(operands) == 1 and isinstance(operands[0], Literal) and operands[0].value is None:
            raise self._wrong(start, "nil is not a command")
        return Command(start.position, tuple(operands))

    def _operand(self) -> Operand:
        start = self._next
        operand = self._term()
        fields: list[str] = []
        if start.kind == "field":
            fields.append(start.text[1:])
        while self._next.kind == "field":
            fields.append(self._take().text[1:])
        if not fields:
            return operand
        if isinstance(operand, Literal | Function):
            raise self._wrong(start, f"unexpected .{fields[0]} after {start.text}")
        return Chain(start.position, operand, tuple(fields))

    def _term(self) -> Operand:
        token = self._take()
        match token.kind:
            case "dot" | "field":
                return Dot(token.position)
            case "variable":
                if token.text not in self._variables:
                    raise self._wrong(token, f'undefined variable "{token.text}"')
                return Variable(token.position, token.text)
            case "word" if token.text in _CONSTANTS:
                return Literal(token.position, _CONSTANTS[token.text])
            case "word":
                if token.text not in FUNCTIONS:
                    suggestion = did_you_mean(token.text, FUNCTIONS)
                    raise self._wrong(
                        token,
                        f'function "{token.text}" not defined{suggestion}',
                        hint=f"functions: {', '.join(sorted(FUNCTIONS))}; a field starts with a dot",
                    )
                return Function(token.position, token.text)
            case "string" | "char" | "number":
                return Literal(token.position, self._literal(token))
        if token.text == "(":
            self._deeper(token)
            inner = self._pipeline()
            self._skip_space()
            closing = self._take()
            if closing.text != ")":
                raise self._wrong(closing, "a parenthesis that is not closed")
            self._depth -= 1
            return inner
        raise self._wrong(token, f"unexpected {token.text!r}")

    def _literal(self, token: Token) -> str | int | float:
        if token.kind == "number":
            return self._number(token)
        if token.text.startswith("`"):
            return token.text[1:-1]
        text = _ESCAPE.sub(lambda found: self._unescaped(token, found), token.text[1:-1])
        if token.kind == "string":
            return text
        if len(text) != 1:
            raise self._wrong(token, f"{token.text} is not one character")
        return ord(text)

    def _unescaped(self, token: Token, found: re.Match[str]) -> str:
        simple, *codes, octal = found.groups()
        if simple:
            return _SIMPLE[simple]
        digits = next((one for one in codes if one), None)
        try:
            if digits is not None:
                return chr(int(digits, 16))
            return chr(int(octal, 8))
        except (TypeError, ValueError, OverflowError) as error:
            raise self._wrong(token, f"an escape sequence in {token.text} that is none") from error

    def _number(self, token: Token) -> int | float:
        text = token.text.replace("_", "")
        try:
            digits = text.lstrip("+-")
            if re.fullmatch(r"0[0-7]+", digits):
                return int(text, 8)
            value = float(text) if re.search(r"[.eE]", text) and not digits.lower().startswith("0x") else int(text, 0)
        except ValueError as error:
            raise self._wrong(token, f"not a number: {token.text}") from error
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            raise self._wrong(token, f"{token.text} is too large")
        return value

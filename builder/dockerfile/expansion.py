"""Evaluate word trees against an environment (dockerfile.md 1.4). Pure Python: no parser is loaded here.

Values that come out of variables are never parsed again. Operands are evaluated only when they are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from builder.dockerfile.source import DockerfileError
from builder.dockerfile.text import SPACE
from builder.dockerfile.word import Literal, Part, Quoted, Variable, Word
from builder.values import dataclass

EXPANSION_LIMIT = 1 << 20
"""Characters that variables may put into one word: lines that double a value would fill the memory in no time."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """The value of a word, and the variables it used that the environment does not know."""

    value: str
    undefined: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Expansions:
    """Like ``Expansion`` for a word that is split at unquoted blanks."""

    values: tuple[str, ...]
    undefined: frozenset[str] = frozenset()


def evaluate(word: Word, env: Mapping[str, str | None], *, keep_unset: bool = False) -> Expansion:
    """Expand ``word``; raise DockerfileError without a place for ``${x:?message}``, bad patterns and bad words.

    A name mapped to None is declared but unset: it expands like a missing one, but is not reported as undefined.
    With ``keep_unset``, references to unset variables stay as written.
    """
    if word.is_plain:
        return Expansion(word.text)
    scope = _Scope(env, keep_unset)
    value = scope.parts(_checked(word))
    return Expansion(value, frozenset(scope.undefined))


def evaluate_words(word: Word, env: Mapping[str, str | None]) -> Expansions:
    """Expand ``word`` and split it at unquoted blanks, also those that come out of variables.

    Words that are empty vanish, quoted or not.
    """
    scope = _Scope(env, keep_unset=False)
    values: list[str] = []
    current: list[str] = []
    for part in _checked(word):
        text = scope.part(part)
        if isinstance(part, Quoted):
            current.append(text)
            continue
        for ch in text:
            if ch not in SPACE:
                current.append(ch)
            elif current:
                values.append("".join(current))
                current.clear()
    values.append("".join(current))
    return Expansions(tuple(value for value in values if value), frozenset(scope.undefined))


def variables(word: Word) -> frozenset[str]:
    """Return every variable name in ``word``, also in operands that would not be evaluated."""
    names: set[str] = set()
    pending: list[Part] = list(word.parts)
    while pending:
        match pending.pop():
            case Variable() as part:
                names.add(part.name)
                pending += part.operand + part.replacement
            case Quoted() as part:
                pending += part.parts
            case Literal():
                pass
    return frozenset(names)


def _checked(word: Word) -> tuple[Part, ...]:
    if word.problem:
        raise DockerfileError(word.problem)
    return word.parts


class _Scope:
    """One evaluation: the environment, and the names it lacked."""

    __slots__ = ("env", "keep_unset", "put_in", "undefined")

    def __init__(self, env: Mapping[str, str | None], keep_unset: bool) -> None:
        self.env = env
        self.keep_unset = keep_unset
        self.undefined: set[str] = set()
        self.put_in = 0

    def parts(self, parts: tuple[Part, ...]) -> str:
        return "".join([self.part(part) for part in parts])

    def part(self, part: Part) -> str:
        match part:
            case Literal():
                return part.text
            case Quoted():
                return self.parts(part.parts)
            case Variable():
                value = self.variable(part)
                self.put_in += len(value)
                if self.put_in > EXPANSION_LIMIT:
                    raise _too_long()
                return value
            case _:
                assert_never(part)

    def variable(self, part: Variable) -> str:
        value = self.env.get(part.name)
        if value is None:
            if part.name not in self.env:
                self.undefined.add(part.name)
            if self.keep_unset:
                return part.source
        match part.operator.removeprefix(":"):
            case "":
                return value or ""
            case "-" | "+" | "?":
                return self.conditional(part, value)
            case _:
                return self.pattern(part, value or "")

    def conditional(self, part: Variable, value: str | None) -> str:
        counts_as_set = value is not None and not (part.operator.startswith(":") and not value)
        match part.operator[-1]:
            case "-":
                return (value or "") if counts_as_set else self.parts(part.operand)
            case "+":
                return self.parts(part.operand) if counts_as_set else ""
            case _:
                if counts_as_set:
                    return value or ""
                message = self.parts(part.operand)
                state = "unset" if value is None else "empty"
                raise DockerfileError(f"{part.name}: {message or f'is not allowed to be {state}'}")

    def pattern(self, part: Variable, value: str) -> str:
        from builder.dockerfile.pattern import PatternError, replace, trim_prefix, trim_suffix

        pattern = self.parts(part.operand)
        try:
            match part.operator:
                case "#" | "##":
                    return trim_prefix(value, pattern, longest=part.operator == "##")
                case "%" | "%%":
                    return trim_suffix(value, pattern, longest=part.operator == "%%")
                case _:
                    new = self.parts(part.replacement)
                    if len(value) * len(new) > 64 * EXPANSION_LIMIT:
                        raise _too_long()
                    return replace(value, pattern, new, every=part.operator == "//")
        except PatternError as failure:
            raise DockerfileError(f"invalid pattern ({pattern}) in substitution: {failure}") from failure


def _too_long() -> DockerfileError:
    return DockerfileError(f"variables put more than {EXPANSION_LIMIT} characters into one word")

"""Words parsed and expanded in one go."""

from __future__ import annotations

from collections.abc import Mapping

from builder.dockerfile.expansion import evaluate, evaluate_words
from builder.dockerfile.wordparser import parse_word


def expand(text: str, env: Mapping[str, str | None], *, escape: str = "\\") -> str:
    """Return the value of a word."""
    return evaluate(parse_word(text, escape=escape), env).value


def expand_words(text: str, env: Mapping[str, str | None], *, escape: str = "\\") -> list[str]:
    """Return the words that a word expands to."""
    return list(evaluate_words(parse_word(text, escape=escape), env).values)

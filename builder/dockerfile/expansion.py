"""Evaluate word trees against an environment (dockerfile.md 1.4). Pure Python: no parser is loaded here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from builder.dockerfile.word import Word


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
    """Expand ``word``; raise DockerfileError without a place for ``${x:?message}`` and bad patterns.

    A name mapped to None is declared but unset: it expands like a missing one, unreported.
    """
    raise NotImplementedError


def evaluate_words(word: Word, env: Mapping[str, str | None]) -> Expansions:
    """Expand ``word`` and split it at unquoted blanks, also those that come out of variables."""
    raise NotImplementedError

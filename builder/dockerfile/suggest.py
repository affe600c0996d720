"""Did-you-mean hints for misspelled names (dockerfile.md 1.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_LIMIT: Final = 3
_LONGEST: Final = 64  # longer names are not typing mistakes, and the distance is quadratic


def distance(left: str, right: str) -> int:
    """Return the Levenshtein distance."""
    row = list(range(len(right) + 1))
    for index, ch in enumerate(left, 1):
        previous, row[0] = row[0], index
        for column, other in enumerate(right, 1):
            previous, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, previous + (ch != other)),
            )
    return row[-1]


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate closest to ``name``, case aside, but the same word.

    Fewer than three edits lie between them, and fewer than ``name`` has letters: something is left of it.
    Of equally close ones the first with the same letters in another order is best, then the first.
    """
    best: str | None = None
    best_rank = (min(_LIMIT, len(name)), False)
    for candidate in candidates:
        if max(len(name), len(candidate)) > _LONGEST or abs(len(name) - len(candidate)) >= _LIMIT:
            continue
        left, right = name.lower(), candidate.lower()
        rank = (distance(left, right), sorted(left) != sorted(right))
        if rank < best_rank and candidate != name:
            best, best_rank = candidate, rank
    return best


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return `` (did you mean X?)`` or an empty string, to append to a message."""
    found = nearest(name, candidates)
    return f" (did you mean {found}?)" if found else ""

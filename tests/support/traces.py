"""What traces of --timings must be like for viewers."""

from __future__ import annotations

import itertools
from typing import Any


def overlapping(trace: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return neighbours in a row of which the first ends after the second begins."""
    rows: dict[int, list[dict[str, Any]]] = {}
    for one in sorted((one for one in trace if one["ph"] == "X"), key=lambda one: (one["ts"], one["dur"])):
        rows.setdefault(one["tid"], []).append(one)
    pairs = itertools.chain.from_iterable(map(itertools.pairwise, rows.values()))
    return [(first, second) for first, second in pairs if first["ts"] + first["dur"] > second["ts"]]

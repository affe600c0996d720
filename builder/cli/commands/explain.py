"""``pybuild explain``: why steps of a build would not be found in the cache, for people and as JSON."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from builder.cli.answers import answer, answer_json
from builder.cli.options import build_parser
from builder.cli.parsing import Parser, add_json
from builder.cli.reporters import printable
from builder.cli.session import looking
from builder.errors import UsageError

if TYPE_CHECKING:
    from builder.engine.explaining import Explanation

EXAMPLES = """
examples:
  pybuild explain .
  pybuild explain -f Dockerfile.ci --build-arg VERSION=2 --target test .
  pybuild explain --json . | jq '.steps[] | select(.cached | not)'
"""

_MOST = 1000
"""Changes of a step that programs are told."""


def parser() -> Parser:
    """Return the grammar: that of ``build``."""
    parser = build_parser(
        "pybuild explain",
        "Say for every step of a build whether its result is there, and for the others what changed since the most "
        "similar step that was built. Takes the options of a build; nothing is executed and no output is written.",
        EXAMPLES,
    )
    add_json(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.cli.requests import make_request, settle
    from builder.engine.explaining import explain

    options, *more = settle(options, os.environ)
    if more:
        raise UsageError("pybuild explain looks at one target", hint="name one")
    request = make_request(options, os.environ)
    with looking(options, request.jobs) as env:
        found = explain(request, env)
    if options.json:
        answer_json({"cached": all(one.cause == "hit" for one in found), "steps": [_value(one) for one in found]})
    else:
        answer(_text(found))
    return 0


def _text(found: Iterable[Explanation]) -> str:
    from builder.engine.explaining import reasons

    lines: list[str] = []
    for one in found:
        lines.append(f"{'CACHED' if one.cause == 'hit' else 'MISS  '}  {printable(one.vertex.name)}")
        lines += [f"        {printable(line)}" for line in reasons(one)]
    return "\n".join(lines) or "there is no step: the image is its base with another config"


def _value(one: Explanation) -> dict[str, object]:
    """Return an explanation for programs."""
    from builder.engine.explaining import reasons

    return {
        "name": one.vertex.name,
        "stage": one.vertex.stage,
        "line": None if one.vertex.span is None else one.vertex.span.start_line,
        "cached": one.cause == "hit",
        "cause": one.cause,
        "reason": "; ".join(reasons(one)),
        "changes": [
            {"component": change.component, "was": change.was, "now": change.now} for change in one.changes[:_MOST]
        ],
        "missing": [each.name for each in one.missing],
    }

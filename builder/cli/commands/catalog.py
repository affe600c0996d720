"""``pybuild catalog``: the repositories of a registry."""

from __future__ import annotations

import argparse

from builder.cli.answers import answer, answer_json
from builder.cli.parsing import Parser, add_json, add_limit, base, limit_of
from builder.cli.registries import add_registry_options
from builder.cli.session import working
from builder.errors import UsageError
from builder.image.reference import Reference, ReferenceSyntaxError

EXAMPLES = """
examples:
  pybuild catalog registry.example
  pybuild catalog --json localhost:5000 | jq -r .repositories[]
"""


def parser() -> Parser:
    """Return the grammar."""
    about = "List the repositories of a registry. Many registries, Docker Hub among them, do not tell."
    parser = base("pybuild catalog", about, EXAMPLES)
    parser.add_argument("registry", metavar="REGISTRY", help="HOST[:PORT]")
    add_limit(parser)
    add_json(parser)
    add_registry_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    limit = limit_of(options)
    registry = _host(options.registry)
    with working(options) as env:
        found = env.registry().catalog(registry)[:limit]
    if options.json:
        answer_json({"registry": registry, "repositories": found})
    elif found:
        answer("\n".join(found))
    return 0


def _host(text: str) -> str:
    try:
        reference = Reference.parse(f"{text.removesuffix('/')}/x")
    except ReferenceSyntaxError:
        reference = None
    if reference is None or reference.repository != "x":
        raise UsageError(f"{text} is not the name of a registry", hint="write HOST[:PORT], e.g. registry.example:5000")
    return reference.registry

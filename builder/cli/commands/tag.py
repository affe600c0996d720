"""``pybuild tag``: more names for an image of the store."""

from __future__ import annotations

import argparse

from builder.cli.answers import answer, answer_json, named
from builder.cli.parsing import Parser, add_json, base
from builder.cli.session import working
from builder.image.reference import Reference

EXAMPLES = """
examples:
  pybuild tag app:1 registry.example/app:1 registry.example/app:latest
"""


def parser() -> Parser:
    """Return the grammar."""
    about = "Give an image of the store more names, as if it had been built under them. Nothing is fetched or sent."
    parser = base("pybuild tag", about, EXAMPLES)
    parser.add_argument("source", metavar="REF|ID", help="an image of the store")
    parser.add_argument("name", metavar="NAME[:TAG]", nargs="+")
    add_json(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.images.naming import tag

    names = [Reference.parse(text) for text in options.name]
    with working(options) as env:
        record = tag(env.store, options.source, names)
    if options.json:
        answer_json([{"reference": str(name), "digest": record.descriptor.digest} for name in names])
    else:
        for name in names:
            answer(named(name, record.descriptor.digest))
    return 0

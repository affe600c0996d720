"""``pybuild push``: an image built here, to the registry in its name."""

from __future__ import annotations

import argparse
import sys

from builder.cli.answers import answer, named
from builder.cli.machine import available_cpus
from builder.cli.parsing import Parser, base
from builder.cli.registries import add_registry_options
from builder.cli.reporters import make_reporter
from builder.cli.session import bases, environment

EXAMPLES = """
examples:
  pybuild push registry.example/app:1
"""


def parser() -> Parser:
    """Return the grammar."""
    parser = base("pybuild push", "Push an image built here under its name.", EXAMPLES)
    parser.add_argument("reference", metavar="REF", nargs="+")
    add_registry_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.engine.outputs import push
    from builder.engine.stored import built_image

    reporter = make_reporter(options.progress, sys.stderr)
    with environment(options, reporter, available_cpus()) as env:
        for reference, image in [built_image(text, env.store, bases(env)) for text in options.reference]:
            push(image, [reference] if reference else [], env.registry(), reporter)
            answer(named(reference, image.digest))
    return 0

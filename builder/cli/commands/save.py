"""``pybuild save``: an image built here, as a file."""

from __future__ import annotations

import argparse
import sys

from builder.cli.answers import answer, named
from builder.cli.parsing import Parser, base
from builder.cli.reporters import make_reporter
from builder.cli.session import bases, environment

EXAMPLES = """
examples:
  pybuild save app:1 -o app.tar
  pybuild save app:1 -o - | docker load
"""


def parser() -> Parser:
    """Return the grammar."""
    parser = base("pybuild save", "Write an image built here to a file.", EXAMPLES)
    parser.add_argument("reference", metavar="REF")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="- is stdout")
    parser.add_argument("--type", choices=("docker", "oci"), default="docker", help="docker-load tarball or OCI layout")
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.cli.requests import destination
    from builder.engine.outputs import write
    from builder.engine.request import Output
    from builder.engine.stored import built_image

    output = Output(options.type, destination("--output", options.output, directory=False))
    reporter = make_reporter(options.progress, sys.stderr)
    with environment(options, reporter, 1) as env:
        reference, image = built_image(options.reference, env.store, bases(env))
        write(output, image, [reference] if reference else [], env.store, env.registry, reporter)
    if output.dest is not sys.stdout.buffer:
        answer(named(reference, image.digest))
    return 0

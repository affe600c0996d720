"""``pybuild load``: images of an archive or layout into the store."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.answers import answer, answer_json
from builder.cli.parsing import Parser, add_json, add_quiet, base
from builder.cli.session import working
from builder.errors import UsageError

if TYPE_CHECKING:
    from builder.images.loading import Loaded

EXAMPLES = """
examples:
  pybuild load -i app.tar
  docker save app:1 | pybuild load
  pybuild load -i ./layout
"""


def parser() -> Parser:
    """Return the grammar."""
    about = """\
Bring every image of an archive or layout into the store, under its names.
Read are archives of docker save and podman save, old and new, OCI archives and layouts, compressed or not."""
    parser = base("pybuild load", about, EXAMPLES)
    parser.add_argument("-i", "--input", metavar="FILE", default="-", help="an archive or a layout's directory")
    add_quiet(parser)
    add_json(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.images.loading import load

    if options.input == "-" and sys.stdin.isatty():
        hint = "standard input is a terminal; an archive may come from there: docker save NAME | pybuild load"
        raise UsageError("the following arguments are required: --input", hint=hint)
    done = []
    with working(options) as env:
        for loaded in load(env, None if options.input == "-" else Path(options.input)):
            done.append(loaded)
            if not options.json:
                for name in loaded.names:
                    answer(f"Loaded image: {name.familiar}")
                if not loaded.names:
                    answer(f"Loaded image ID: {loaded.identity}")
    if options.json:
        answer_json([_value(one) for one in done])
    return 0


def _value(loaded: Loaded) -> dict[str, object]:
    return {
        "names": [str(name) for name in loaded.names],
        "id": loaded.identity,
        "digest": loaded.artifact.digest,
    }

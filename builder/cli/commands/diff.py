"""``pybuild diff``: where two images differ, for people who want them to be the same."""

from __future__ import annotations

import argparse
import itertools
import sys

from builder.cli.answers import answer, answer_json
from builder.cli.parsing import Parser, add_json, base
from builder.cli.platforms import platform_of
from builder.cli.registries import add_registry_options
from builder.cli.reporters import make_reporter, printable
from builder.cli.session import looking
from builder.events import Notice

EXAMPLES = """
examples:
  pybuild diff app:1 app:2
  pybuild diff --all --ignore times,history oci-layout://first oci-layout://second
  pybuild diff --json app.tar docker://registry.example/app:1
  pybuild diff --ignore path=var/cache app:1 app:2

exit status: 0 no difference, 1 a difference, others as of every command.
"""

DIFFERENT = 1
_LIMIT = 1000
"""Differences that --all lists."""


def parser() -> Parser:
    """Return the grammar."""
    from builder.images.ignoring import KINDS

    parser = base(
        "pybuild diff",
        "Say where two images differ first: by field of the config, layer, entry and field of the entry. "
        "Layers with the same DiffID are not read.",
        EXAMPLES,
    )
    for name in ("a", "b"):
        parser.add_argument(name, metavar=name.upper(), help="a name, or a place as pybuild inspect takes it")
    parser.add_argument("--all", action="store_true", help=f"list all differences, {_LIMIT} at most")
    parser.add_argument(
        "--ignore",
        metavar="KIND[,KIND]|path=PATTERN",
        action="append",
        default=[],
        help=f"kinds of differences that do not count ({', '.join(KINDS)}), or paths",
    )
    parser.add_argument("--platform", metavar="OS/ARCH", help="compare only these images of indexes (default: all)")
    add_json(parser)
    add_registry_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.images.differences import differences
    from builder.images.ignoring import Ignored
    from builder.images.locate import locate

    ignored = Ignored.parse(options.ignore)
    platform = platform_of(options)
    with looking(options) as env:
        a, b = locate(options.a, env), locate(options.b, env)
        found = list(itertools.islice(differences(a, b, platform, ignored), _LIMIT + 1 if options.all else 1))
    more, found = len(found) > _LIMIT, found[:_LIMIT]
    if options.json:
        answer_json(
            {
                "a": {"name": options.a, "digest": a.digest},
                "b": {"name": options.b, "digest": b.digest},
                "same": not found,
                "differences": [one.to_json() for one in found],
                "more": more or (bool(found) and not options.all),
            }
        )
    else:
        answer("\n".join(_lines(found=[printable(one.sentence()) for one in found], same=a.digest == b.digest)))
        if more:
            answer(f"... and more than these {_LIMIT}")
        elif found and not options.all:
            make_reporter(options.progress, sys.stderr).emit(Notice("that is the first difference; --all lists all"))
    return DIFFERENT if found else 0


def _lines(found: list[str], *, same: bool) -> list[str]:
    if found:
        return found
    return ["the same image" if same else "no difference that counts"]

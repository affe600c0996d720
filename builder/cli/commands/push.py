"""``pybuild push``: an image of the store, or of an archive or layout, to registries."""

from __future__ import annotations

import argparse

from builder.cli.answers import answer, answer_json, named
from builder.cli.parsing import Parser, add_json, add_quiet, base
from builder.cli.platforms import platforms_of
from builder.cli.registries import add_push_options, add_registry_options
from builder.cli.session import working

EXAMPLES = """
examples:
  pybuild push registry.example/app:1
  pybuild push app:1 registry.example/app:1 registry.example/app:latest
  pybuild push app.tar registry.example/app:1
  pybuild push --platform linux/arm64 oci-layout://./layout registry.example/app:arm
"""


def parser() -> Parser:
    """Return the grammar."""
    about = """\
Push an image of the store, or of an archive or layout, to the registry in its name or to other names.
An index is pushed with the images of all platforms unless --platform says otherwise."""
    parser = base("pybuild push", about, EXAMPLES)
    parser.add_argument("source", metavar="REF|FILE|LAYOUT", help="what to push; REF is in the store")
    parser.add_argument("destination", metavar="DST", nargs="*", help="where to (default: the names it has)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--platform", metavar="OS/ARCH,...", help="push the images of these platforms only")
    which.add_argument("--all-platforms", action="store_true", help="push all platforms (the default)")
    add_push_options(parser)
    add_quiet(parser)
    add_json(parser)
    add_registry_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.images.places import registry_name
    from builder.images.pushing import push

    platforms = platforms_of(options)
    targets = [registry_name(text) for text in options.destination]
    with working(options) as env:
        pushed = push(env, options.source, targets, platforms=platforms, foreign=options.push_foreign)
    if options.json:
        answer_json(
            [{"reference": str(name), "digest": one.digest, "media_type": one.root.media_type} for name, one in pushed]
        )
    else:
        for name, one in pushed:
            answer(named(name, one.digest))
    return 0

"""``pybuild pull``: images of registries into the store."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from builder.cli.answers import answer, answer_json, named
from builder.cli.parsing import Parser, add_json, add_quiet, base
from builder.cli.platforms import platforms_of
from builder.cli.registries import add_registry_options
from builder.cli.session import working
from builder.engine.machine import native_platform
from builder.errors import UsageError
from builder.events import Notice

if TYPE_CHECKING:
    from builder.images.pulling import Pulled

EXAMPLES = """
examples:
  pybuild pull debian:12
  pybuild pull --platform linux/arm64 debian:12 alpine:3
  pybuild pull --all-platforms --json registry.example/app:1 | jq -r .[].digest
"""


def parser() -> Parser:
    """Return the grammar."""
    about = "Fetch images into the store; standard output has a line NAME@DIGEST for each."
    parser = base("pybuild pull", about, EXAMPLES)
    parser.add_argument("reference", metavar="REF", nargs="+")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--platform", metavar="OS/ARCH", help="the image of this platform (default: this machine's)")
    which.add_argument("--all-platforms", action="store_true", help="the images of every platform")
    add_quiet(parser)
    add_json(parser)
    add_registry_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.images.places import registry_name

    references = [registry_name(text) for text in options.reference]
    platforms = platforms_of(options) or (native_platform(),)
    if len(platforms) > 1:
        raise UsageError("pull takes one --platform", hint="pull once for each, or --all-platforms")
    platform = None if options.all_platforms else platforms[0]
    with working(options) as env:
        from builder.images.pulling import pull

        done = []
        for reference in references:
            pulled = pull(env, reference, platform, explicit=bool(options.platform))
            state = "new" if pulled.new else "up to date"
            env.reporter.emit(Notice(f"{reference.familiar} is {state}: {pulled.root.digest}"))
            done.append(pulled)
            if not options.json:
                answer(named(reference, pulled.root.digest))
    if options.json:
        answer_json([_value(one) for one in done])
    return 0


def _value(pulled: Pulled) -> dict[str, object]:
    own = pulled.chosen.platform()
    return {
        "reference": str(pulled.reference),
        "digest": pulled.root.digest,
        "media_type": pulled.root.root.media_type,
        "image": {"digest": pulled.chosen.digest, "platform": None if own is None else str(own)},
        "new": pulled.new,
        "fetched": pulled.fetched,
    }

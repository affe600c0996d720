"""``pybuild warm``: images and their tables of contents into a store that many builds only read."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from builder.cli.answers import answer, answer_json, named
from builder.cli.human import counted
from builder.cli.parsing import Parser, add_json, base
from builder.cli.platforms import platforms_of
from builder.cli.registries import add_registry_options
from builder.cli.session import bases, working
from builder.engine.machine import native_platform
from builder.events import Notice
from builder.image.reference import Reference

if TYPE_CHECKING:
    from builder.engine.build import Environment
    from builder.image.digest import Digest
    from builder.image.platform import Platform

EXAMPLES = """
examples:
  pybuild warm --store /warm debian:12 golang:1.24
  pybuild build --store-ro /warm .
"""


def parser() -> Parser:
    """Return the grammar."""
    about = """\
Fetch images and list what their layers hold, so that builds with --store-ro find base images there: they fetch nothing
but digests, or with --offline nothing at all."""
    parser = base("pybuild warm", about, EXAMPLES)
    parser.add_argument("reference", metavar="REF", nargs="+")
    parser.add_argument("--platform", metavar="OS/ARCH[,OS/ARCH]", help="for these (default: this machine's)")
    parser.add_argument("--store", metavar="DIR", dest="root", help="the store to fill; the same as --root")
    add_json(parser)
    add_registry_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    references = [Reference.parse(text) for text in options.reference]
    platforms = platforms_of(options) or (native_platform(),)
    done: list[dict[str, object]] = []
    with working(options) as env:
        for reference in references:
            for platform in platforms:
                digest, layers = _warm(env, reference, platform)
                done.append(
                    {"reference": str(reference), "platform": str(platform), "digest": digest, "layers": layers}
                )
                if not options.json:
                    answer(named(reference, digest))
    if options.json:
        answer_json(done)
    return 0


def _warm(env: Environment, reference: Reference, platform: Platform) -> tuple[Digest, int]:
    """Fetch an image and make the tables of its layers; return the digest of its name, and how many layers it has."""
    from builder.engine.layers import index_all
    from builder.images.pulling import pull

    pulled = pull(env, reference, platform, explicit=True)
    image = bases(env).load(pulled.root.root, platform, reference)
    # Layers that are not for redistribution stay where they are.
    index_all([layer for layer in image.layers if layer.here()], truly=True)
    env.reporter.emit(Notice(f"{reference.familiar} for {platform}: {counted(len(image.layers), 'layer', 'layers')}"))
    return pulled.root.digest, len(image.layers)

"""``pybuild digest``: what a name points to now."""

from __future__ import annotations

import argparse

from builder.cli.answers import answer, answer_json
from builder.cli.parsing import Parser, add_json, base
from builder.cli.platforms import platform_of
from builder.cli.registries import add_registry_options
from builder.cli.session import working
from builder.image.manifest import Index
from builder.image.reference import Reference

EXAMPLES = """
examples:
  pybuild digest debian:12
  pybuild digest --platform linux/arm64 debian:12
  pybuild digest oci-layout://./layout:1
"""


def parser() -> Parser:
    """Return the grammar."""
    about = "Ask a registry which digest a name has now, with one HEAD request; or read it in an archive or layout."
    parser = base("pybuild digest", about, EXAMPLES)
    parser.add_argument("reference", metavar="REF", help="in a registry, or another place as copy takes it")
    parser.add_argument("--platform", metavar="OS/ARCH", help="of an index, the digest of this platform's image")
    add_json(parser)
    add_registry_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.images.choosing import choose
    from builder.images.locate import locate
    from builder.images.places import is_path, parse_place

    platform = platform_of(options)
    place = parse_place(options.reference)
    with working(options) as env:
        if platform is None and (place.kind == "registry" or (place.kind == "" and not is_path(place.text))):
            found = env.registry().resolve(Reference.parse(place.text))
            digest, media_type = found.digest, found.media_type
        else:
            artifact = locate(options.reference, env, remote=True)
            parsed = artifact.parsed()
            if platform is not None and isinstance(parsed, Index):
                chosen = parsed.select(platform)
            else:
                chosen = choose(artifact, [platform] if platform else []).root
            digest, media_type = chosen.digest, chosen.media_type
    if options.json:
        answer_json({"reference": options.reference, "digest": digest, "media_type": media_type})
    else:
        answer(digest)
    return 0

"""``pybuild copy``: images from anywhere to anywhere, byte for byte."""

from __future__ import annotations

import argparse

from builder.cli.answers import answer, answer_json
from builder.cli.parsing import Parser, add_json, add_quiet, base
from builder.cli.platforms import platforms_of
from builder.cli.registries import add_push_options, add_registry_options
from builder.cli.session import working

EXAMPLES = """
examples:
  pybuild copy docker.io/library/debian:12 registry.example/debian:12
  pybuild copy registry.example/app:1 oci-layout://./layout:1
  pybuild copy --platform linux/arm64 registry.example/app:1 docker-archive:app-arm.tar:app:1
  pybuild copy oci-archive:app.tar registry.example/app:1 registry.example/app:latest
"""


def parser() -> Parser:
    """Return the grammar."""
    about = """\
Copy an image, an index with all its images, or another artifact. Manifests and blobs keep their bytes and digests;
what a registry has already is not sent, and within a registry it is mounted.

SRC and DST are each one of
  REF, docker://REF          in a registry
  store:REF                  in the store
  oci-layout://DIR[:TAG]     a directory; as SRC also DIR@sha256:...
  oci-archive:FILE[:TAG]     a tar of a layout, - is standard output
  docker-archive:FILE[:REF]  an archive of docker save, - is standard output"""
    parser = base("pybuild copy", about, EXAMPLES)
    parser.add_argument("source", metavar="SRC")
    parser.add_argument("destination", metavar="DST", nargs="+")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--platform", metavar="OS/ARCH,...", help="of an index: one image, or a smaller index")
    which.add_argument("--all-platforms", action="store_true", help="copy all platforms (the default)")
    parser.add_argument("--preserve-digests", action="store_true", help="what is always done; for scripts of skopeo's")
    add_push_options(parser)
    add_quiet(parser)
    add_json(parser)
    add_registry_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.images.choosing import choose
    from builder.images.deliver import deliver, goes_to_stdout
    from builder.images.locate import locate
    from builder.images.naming import passing_through

    platforms = platforms_of(options)
    with working(options) as env:
        artifact = choose(locate(options.source, env, remote=True), platforms)
        with passing_through(env.store, artifact):
            for text in options.destination:
                deliver(artifact, text, env, foreign=options.push_foreign)
    if any(goes_to_stdout(text) for text in options.destination):
        return 0
    if options.json:
        answer_json([{"destination": text, "digest": artifact.digest} for text in options.destination])
    else:
        for text in options.destination:
            answer(f"{text.partition('@')[0]}@{artifact.digest}")
    return 0

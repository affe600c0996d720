"""``pybuild convert``: an image in the other format, or with its layers compressed otherwise."""

from __future__ import annotations

import argparse
import os

from builder.cli.changes import add_target_options, finish
from builder.cli.compressing import KINDS, choice
from builder.cli.levels import chosen_level
from builder.cli.parsing import Parser, base
from builder.cli.platforms import platforms_of
from builder.cli.session import working
from builder.engine.request import CompressionChoice
from builder.errors import UsageError

EXAMPLES = """
examples:
  pybuild convert --format docker registry.example/app:1 docker://registry.example/app:1-docker
  pybuild convert --format oci docker-archive:app.tar oci-layout://layout:1
  pybuild convert --compression zstd --compression-level 19 app:1 docker://registry.example/app:zstd
  pybuild convert --format docker --json oci-archive:app.oci.tar docker-archive:app.tar

SRC and DST are REF (DST: the registry's), docker://REF, store:REF, oci-layout://DIR[:TAG], oci-archive:FILE[:TAG] or
docker-archive:FILE[:REF]; SRC may also be a path.

An index is converted with all of its images. The config keeps its bytes and every layer its tar, so the image ID and
the DiffIDs stay; the digest of the manifest is another one, because it names media types. Docker's format has no
annotations, no zstd and no artifacts: those are left out with a warning, and zstd layers become gzip. Attestations
stay as they are in OCI's format; they speak of the image that they were made for.
"""


def parser() -> Parser:
    """Return the grammar."""
    parser = base("pybuild convert", "Write an image in another format or with another compression.", EXAMPLES)
    parser.add_argument("source", metavar="SRC")
    parser.add_argument("destination", metavar="DST")
    parser.add_argument("--format", choices=("docker", "oci"), help="the format of manifests (default: as it is)")
    parser.add_argument(
        "--compression",
        choices=(*KINDS, "keep"),
        default="keep",
        help="recompress layers that are compressed otherwise (default: keep)",
    )
    parser.add_argument(
        "--compression-level", metavar="N", default="", help="recompress all layers at this level: gzip 0-9, zstd 0-22"
    )
    parser.add_argument(
        "--force-compression", action="store_true", help="recompress layers that are compressed like this, too"
    )
    parser.add_argument("--platform", metavar="OS/ARCH,...", help="of an index: one image, or a smaller index")
    add_target_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.images.choosing import choose
    from builder.images.converting import Wanted, convert
    from builder.images.locate import locate

    chosen_level(options, os.environ)
    compression = _compression(options)
    if options.format is None and compression is None:
        raise UsageError("there is nothing to convert", hint="say --format docker|oci, or --compression")
    wanted = Wanted(options.format, compression)
    wanted.check()
    if compression is not None and compression.kind == "zstd" and options.destination.startswith("docker-archive:"):
        raise UsageError("archives of docker save have no zstd layers", hint="write an oci-archive:, or choose gzip")
    platforms = platforms_of(options)
    with working(options) as env:
        artifact = choose(locate(options.source, env), platforms)
        return finish(options, artifact, convert(artifact, wanted, env), env)


def _compression(options: argparse.Namespace) -> CompressionChoice | None:
    if options.compression == "keep":
        if options.compression_level or options.force_compression:
            raise UsageError("a level, or force, needs a compression", hint="add --compression gzip or zstd")
        return None
    force = options.force_compression
    return choice("--compression", options.compression, options.compression_level, force, CompressionChoice())

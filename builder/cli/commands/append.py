"""``pybuild append``: layers on top of an image, without a Dockerfile."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Mapping

from builder.cli.changes import add_target_options, finish
from builder.cli.compressing import KINDS, choice
from builder.cli.levels import chosen_level
from builder.cli.parsing import Parser, base
from builder.cli.platforms import platform_of
from builder.cli.session import working
from builder.engine.request import CompressionChoice
from builder.engine.times import EPOCH_NAME, TimePolicy, epoch_seconds
from builder.errors import UsageError
from builder.image.digest import DiffID, Digest
from builder.images.layering import LayerFile, LayerSpec, LayerURL

EXAMPLES = """
examples:
  pybuild append debian:12 docker://registry.example/app:1 --layer app.tar.gz
  pybuild append scratch oci-archive:app.tar:1 --layer ./rootfs --reproducible
  pybuild append --platform linux/arm64 app:1 store:app:2 --layer config/ --layer fixes.tar
  pybuild append windows:1 docker://registry.example/win:1 \\
      --url https://files.example/layer.tar.gz --digest sha256:... --size 1234

Layers lie on one another in the order in which they are given. A tar compressed with gzip or zstd keeps its bytes; a
directory is packed with owner 0:0, as COPY DIR / would. Every image of an index gets the layers, unless --platform
chooses one. Each layer gets an entry of the history, and the image says on what it is based.
"""


def parser() -> Parser:
    """Return the grammar."""
    parser = base("pybuild append", "Put layers on top of an image.", EXAMPLES)
    parser.add_argument("source", metavar="SRC", help="the image: anything convert reads, or scratch")
    parser.add_argument("destination", metavar="DST", help="where to: anything convert writes")
    what = parser.add_argument_group("layers")
    what.add_argument(
        "--layer",
        metavar="TAR|DIR",
        action="append",
        default=[],
        help="a tar of any compression (- is stdin), or files",
    )
    what.add_argument("--url", metavar="URL", action="append", default=[], help="where a foreign layer is; goes on top")
    what.add_argument("--digest", metavar="DIGEST", help="of what is at the URL")
    what.add_argument("--size", metavar="BYTES", help="of what is at the URL")
    what.add_argument("--diff-id", metavar="DIGEST", help="of its tar, uncompressed (default: fetch it and see)")
    what.add_argument("--compression", choices=KINDS, default="", help="how layers are compressed (default: gzip)")
    what.add_argument("--compression-level", metavar="N", default="", help="0-9 for gzip, 0-22 for zstd")
    what.add_argument("--created-by", metavar="TEXT", default="", help="what the history says made the layers")
    what.add_argument("--comment", metavar="TEXT", default="", help="a comment in the history")
    parser.add_argument("--platform", metavar="OS/ARCH", help="of an index: only this image; of scratch: its platform")
    parser.add_argument("--source-date-epoch", metavar="SECONDS", help="clamp times (default: $SOURCE_DATE_EPOCH)")
    parser.add_argument(
        "--reproducible", action="store_true", help="the same bytes from every checkout: set times and modes"
    )
    add_target_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.engine.machine import native_platform
    from builder.engine.recompress import coding_of
    from builder.images.appending import Addition, append, public_name, scratch
    from builder.images.choosing import choose
    from builder.images.layering import layers_of
    from builder.images.locate import locate

    chosen_level(options, os.environ)
    specs, times = _specs(options), _times(options, os.environ)
    usual = CompressionChoice()
    chosen = choice("--compression", options.compression, options.compression_level, None, usual)
    coding = coding_of(chosen) if options.compression or options.compression_level else None
    platform = platform_of(options)
    with working(options) as env:
        if options.source == "scratch":
            artifact, name = scratch(platform or native_platform()), ""
        else:
            artifact = choose(locate(options.source, env), [platform] if platform else [])
            name = public_name(options.source, env)
        additions = [
            Addition(layer, options.created_by or f"pybuild append {spec.name}", options.comment)
            for spec, layer in zip(specs, layers_of(specs, coding, times, env, os.environ), strict=True)
        ]
        return finish(options, artifact, append(artifact, additions, times, env, name), env)


def _times(options: argparse.Namespace, environment: Mapping[str, str]) -> TimePolicy:
    """Return what happens to times, as in a build; an epoch that is given as an empty text is none."""
    given, where = options.source_date_epoch, "--source-date-epoch"
    if given is None:
        given, where = environment.get(EPOCH_NAME), EPOCH_NAME
    epoch, now = epoch_seconds(where, given) if given else None, int(time.time())
    if options.reproducible:
        return TimePolicy("set", epoch or 0, now)
    return TimePolicy("keep" if epoch is None else "clamp", epoch, now)


def _specs(options: argparse.Namespace) -> tuple[LayerSpec, ...]:
    if options.layer.count("-") > 1:
        raise UsageError("only one layer can come from standard input")
    files = tuple(LayerFile(path) for path in options.layer)
    about = [options.digest, options.size, options.diff_id]
    if not options.url:
        if any(about):
            raise UsageError("--digest, --size and --diff-id are about a layer behind --url", hint="add --url")
        if not files:
            raise UsageError("there is nothing to append", hint="add --layer TAR|DIR or --url URL")
        return files
    if not options.digest or not options.size:
        raise UsageError("a layer behind --url needs --digest and --size", hint="sha256sum and wc -c tell them")
    if not re.fullmatch(r"[0-9]{1,18}", options.size, re.ASCII):
        raise UsageError(f"--size {options.size}: expected a number of bytes")
    diff_id = DiffID(Digest.parse(options.diff_id)) if options.diff_id else None
    return (*files, LayerURL(tuple(options.url), Digest.parse(options.digest), int(options.size), diff_id))

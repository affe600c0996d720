"""``pybuild validate``: an image read whole, from the store, an archive or a layout."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.answers import answer
from builder.cli.machine import native_platform
from builder.cli.parsing import Parser, base
from builder.cli.reporters import make_reporter
from builder.cli.session import bases, environment

if TYPE_CHECKING:
    from builder.engine.built import BuiltImage
    from builder.image.artifact import Image

EXAMPLES = """
examples:
  pybuild validate app:1
  pybuild validate app.tar
"""


def parser() -> Parser:
    """Return the grammar."""
    parser = base("pybuild validate", "Read an image whole and check every digest, size and history entry.", EXAMPLES)
    parser.add_argument("image", metavar="REF|FILE|DIR", help="an image built here, an archive or an OCI layout")
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.engine.stored import built_image, file_image, validate_whole

    reporter = make_reporter(options.progress, sys.stderr)
    with environment(options, reporter, 1) as env:
        if os.path.exists(options.image):
            image: BuiltImage | Image = file_image(Path(options.image), native_platform(), env.store.directory("tmp"))
        else:
            _, image = built_image(options.image, env.store, bases(env))
        validate_whole(image.raw_manifest, image.raw_config, image.layers)
    answer(image.digest)
    return 0

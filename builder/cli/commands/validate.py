"""``pybuild validate``: images, indexes and other artifacts read whole, wherever they are."""

from __future__ import annotations

import argparse

from builder.cli.answers import answer, answer_json
from builder.cli.parsing import Parser, add_json, base
from builder.cli.platforms import platform_of
from builder.cli.registries import add_registry_options
from builder.cli.session import looking

EXAMPLES = """
examples:
  pybuild validate app:1
  pybuild validate app.tar
  pybuild validate --json docker://registry.example/app:1      # every platform of an index, attestations too
  pybuild validate --platform linux/arm64 oci-layout://out:1
"""


def parser() -> Parser:
    """Return the grammar."""
    parser = base(
        "pybuild validate",
        "Read an image whole, with all platforms of an index, and check every digest, size, DiffID and history entry. "
        "What is missing here is fetched.",
        EXAMPLES,
    )
    parser.add_argument("image", metavar="IMAGE", help="a name, or a place as pybuild inspect takes it")
    parser.add_argument("--platform", metavar="OS/ARCH", help="only this image of an index (default: all)")
    add_json(parser)
    add_registry_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.image.validate import InvalidImageError
    from builder.images.locate import locate
    from builder.images.validating import check

    platform = platform_of(options)
    with looking(options) as env:
        artifact = locate(options.image, env)
        found = list(check(artifact, platform))
    several = len(found) > 1
    problems = [
        f"{one.platform or one.kind}: {problem}" if several else problem for one in found for problem in one.problems
    ]
    digest = artifact.digest if platform is None else found[-1].digest
    if options.json:
        manifests = [
            {"kind": one.kind, "digest": one.digest, "platform": one.platform, "problems": list(one.problems)}
            for one in found
        ]
        answer_json({"digest": digest, "valid": not problems, "manifests": manifests})
    if problems:
        raise InvalidImageError(tuple(problems))
    if not options.json:
        answer(str(digest))
    return 0

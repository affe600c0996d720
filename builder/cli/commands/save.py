"""``pybuild save``: images as one archive."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from builder.cli.answers import answer, answer_json, named
from builder.cli.parsing import Parser, add_json, base
from builder.cli.platforms import platforms_of
from builder.cli.registries import add_registry_options
from builder.cli.session import working
from builder.engine.machine import native_platform
from builder.image.reference import Reference

if TYPE_CHECKING:
    from builder.archive.image import Entry
    from builder.engine.build import Environment
    from builder.image.artifact import Artifact
    from builder.image.platform import Platform

EXAMPLES = """
examples:
  pybuild save app:1 -o app.tar
  pybuild save app:1 app:2 | docker load
  pybuild save --type oci --platform linux/amd64,linux/arm64 app:1 -o app.oci.tar
"""


def parser() -> Parser:
    """Return the grammar."""
    about = """\
Write images to one archive, under their names. A REF is in the store, else in its registry.
An archive for docker load holds one platform of an index, one of OCI all of them unless --platform says otherwise."""
    parser = base("pybuild save", about, EXAMPLES)
    parser.add_argument("reference", metavar="REF", nargs="+")
    parser.add_argument("-o", "--output", metavar="FILE", default="-", help="default: standard output")
    parser.add_argument("--type", choices=("docker", "oci"), default="docker", help="docker-load tarball or OCI layout")
    parser.add_argument("--platform", metavar="OS/ARCH,...", help="of an index, the images of these platforms")
    add_json(parser)
    add_registry_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.archive.docker_archive import write_docker_archive
    from builder.archive.oci_layout import write_oci_archive
    from builder.cli.outputs import destination

    target = destination("--output", options.output, directory=False)
    platforms = platforms_of(options)
    with working(options) as env:
        entries = _entries(options, platforms, env)
        write = write_docker_archive if options.type == "docker" else write_oci_archive
        write(entries, target)
    if target is sys.stdout.buffer:
        return 0
    if options.json:
        answer_json([_value(entry) for entry in entries])
        return 0
    for entry in entries:
        for name in entry.names or (None,):
            answer(named(name if isinstance(name, Reference) else None, entry.artifact.digest))
    return 0


def _entries(options: argparse.Namespace, platforms: tuple[Platform, ...], env: Environment) -> list[Entry]:
    """Return what to write; several names of one image are one entry."""
    from builder.archive.image import Entry
    from builder.images.choosing import choose
    from builder.images.locate import asked_name, locate

    found: dict[str, tuple[Artifact, list[Reference]]] = {}
    for text in options.reference:
        artifact = locate(text, env)
        if options.type == "docker" and not platforms and artifact.platform() is None:
            artifact = artifact.image(native_platform()).artifact
        artifact = choose(artifact, platforms)
        _, names = found.setdefault(artifact.digest, (artifact, []))
        name = asked_name(text, env)
        if name is not None and name not in names:
            names.append(name)
    return [Entry(artifact, tuple(names)) for artifact, names in found.values()]


def _value(entry: Entry) -> dict[str, object]:
    return {"names": [str(name) for name in entry.names], "digest": entry.artifact.digest}

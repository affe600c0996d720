"""``pybuild push``: an image of the store, or of an archive or layout, to registries."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from builder.cli.answers import answer, answer_json, named
from builder.cli.parsing import Parser, add_json, base
from builder.cli.platforms import several_platforms
from builder.cli.registries import add_push_options, add_registry_options
from builder.cli.session import working
from builder.errors import UsageError
from builder.image.reference import Reference

if TYPE_CHECKING:
    from builder.engine.build import Environment
    from builder.image.artifact import Artifact

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
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but the answer, warnings and errors")
    add_json(parser)
    add_registry_options(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    from builder.images.choosing import choose
    from builder.images.deliver import must_be
    from builder.images.places import registry_name
    from builder.images.storing import with_foreign

    platforms = several_platforms(options.platform) if options.platform else ()
    targets = [registry_name(text) for text in options.destination]
    with working(options) as env:
        from builder.registry.push import push_artifact

        pushed = []
        for artifact, names in _found(options.source, targets, env):
            chosen = choose(artifact, platforms)
            for name in names:
                must_be(name, chosen)
            if options.push_foreign:
                chosen = with_foreign(env, chosen, names[0])
            push_artifact(env.registry(), names, chosen, env.reporter, foreign=options.push_foreign)
            pushed += [(name, chosen) for name in names]
    if options.json:
        answer_json(
            [{"reference": str(name), "digest": one.digest, "media_type": one.root.media_type} for name, one in pushed]
        )
    else:
        for name, one in pushed:
            answer(named(name, one.digest))
    return 0


def _found(source: str, targets: list[Reference], env: Environment) -> list[tuple[Artifact, list[Reference]]]:
    """Return what to push under which names. Raises UsageError where there is none."""
    from builder.images.loading import entries_at
    from builder.images.locate import asked_name, from_store, locate
    from builder.images.places import is_path, parse_place

    place = parse_place(source)
    if place.kind in ("", "store") and not (place.kind == "" and is_path(place.text)):
        artifact = from_store(place.text, env)
        if not targets and asked_name(source, env) is None and "@" not in place.text:
            raise UsageError(f"a push of {source} needs a name", hint=f"pybuild push {source} REGISTRY/NAME:TAG")
        return [(artifact, targets or [Reference.parse(place.text)])]
    if targets or place.kind == "registry":
        if not targets:
            raise UsageError(f"{source} is in a registry already", hint=f"pybuild copy {source} DST")
        return [(locate(source, env), targets)]
    found = [
        (entry.artifact, [name for name in entry.names if isinstance(name, Reference)])
        for entry in entries_at(env, place.text)
    ]
    named_ones = [(artifact, names) for artifact, names in found if names]
    if not named_ones or len(named_ones) < len(found):
        raise UsageError(f"{source} has an image without a name", hint=f"pybuild push {source} REGISTRY/NAME:TAG")
    return named_ones

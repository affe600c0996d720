"""A push of what a store, an archive or a layout has: which images, under which names."""

from __future__ import annotations

from collections.abc import Sequence

from builder.engine.build import Environment
from builder.errors import UsageError
from builder.image.artifact import Artifact
from builder.image.platform import Platform
from builder.image.reference import Reference
from builder.images.choosing import choose
from builder.images.deliver import must_be
from builder.images.loading import entries_at
from builder.images.locate import asked_name, from_store, locate
from builder.images.places import is_path, parse_place
from builder.images.storing import with_foreign
from builder.registry.halfway import telling_of_some
from builder.registry.push import push_artifact


def push(
    env: Environment,
    source: str,
    targets: Sequence[Reference],
    *,
    platforms: Sequence[Platform] = (),
    foreign: bool = False,
) -> list[tuple[Reference, Artifact]]:
    """Push what ``source`` names to ``targets``, else to its own names, and return where what is now.

    Of an index, only the images for ``platforms``, if there are any. ``foreign``: layers that are not for
    redistribution too. Raises UsageError where there is no name, ImageError, RegistryError.
    """
    pushed: list[tuple[Reference, Artifact]] = []
    with telling_of_some(env.reporter) as done:
        for artifact, names in _found(source, targets, env):
            chosen = choose(artifact, platforms)
            for name in names:
                must_be(name, chosen)
            if foreign:
                chosen = with_foreign(env, chosen, names[0])
            push_artifact(env.registry(), names, chosen, env.reporter, foreign=foreign)
            pushed += [(name, chosen) for name in names]
            done += names
    return pushed


def _found(source: str, targets: Sequence[Reference], env: Environment) -> list[tuple[Artifact, list[Reference]]]:
    """Return what to push under which names. Raises UsageError where there is none."""
    place = parse_place(source)
    if place.kind in ("", "store") and not (place.kind == "" and is_path(place.text)):
        artifact = from_store(place.text, env)
        if not targets and asked_name(source, env) is None and "@" not in place.text:
            raise UsageError(f"a push of {source} needs a name", hint=f"pybuild push {source} REGISTRY/NAME:TAG")
        return [(artifact, [*targets] or [Reference.parse(place.text)])]
    if targets or place.kind == "registry":
        if not targets:
            raise UsageError(f"{source} is in a registry already", hint=f"pybuild copy {source} DST")
        return [(locate(source, env), [*targets])]
    found = [
        (entry.artifact, [name for name in entry.names if isinstance(name, Reference)])
        for entry in entries_at(env, place.text)
    ]
    named_ones = [(artifact, names) for artifact, names in found if names]
    if not named_ones or len(named_ones) < len(found):
        raise UsageError(f"{source} has an image without a name", hint=f"pybuild push {source} REGISTRY/NAME:TAG")
    return named_ones

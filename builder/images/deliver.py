"""An artifact to the place that words name; its documents keep their bytes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO, cast

from builder.archive.image import Entry
from builder.engine.build import Environment
from builder.errors import ImageError, UsageError
from builder.image.artifact import Artifact
from builder.image.reference import Reference
from builder.images.places import is_path, parse_place, split_target, target_name
from builder.images.storing import fetch, keep, with_foreign


def deliver(artifact: Artifact, text: str, env: Environment, *, foreign: bool = False) -> str:
    """Write ``artifact`` to a place and return its name there; a bare name is a registry's.

    ``foreign`` pushes layers that are not for redistribution. Raises UsageError, OutputError, RegistryError, and what
    reading the artifact raises.
    """
    place = parse_place(text)
    match place.kind:
        case "store":
            name = Reference.parse(place.text)
            must_be(name, artifact)
            keep(env, artifact, [name])
            return name.familiar
        case "layout":
            from builder.archive.oci_layout import write_oci_directory

            path, entry = _named(artifact, place.text)
            if not isinstance(path, Path):
                raise UsageError("a layout is a directory and cannot go to standard output", hint="use oci-archive:-")
            fetch(env, artifact)
            write_oci_directory([entry], path)
        case "oci-archive":
            from builder.archive.oci_layout import write_oci_archive

            path, entry = _named(artifact, place.text)
            fetch(env, artifact)
            write_oci_archive([entry], path)
        case "docker-archive":
            from builder.archive.docker_archive import write_docker_archive

            path, entry = _named(artifact, place.text)
            fetch(env, artifact)
            write_docker_archive([entry], path)
        case _ if place.kind == "" and is_path(place.text):
            raise UsageError(
                f"{text} does not say what to write",
                hint=f"oci-layout://{text}, oci-archive:{text} or docker-archive:{text}",
            )
        case _:
            return _push(artifact, Reference.parse(place.text), env, foreign=foreign)
    return place.text


def goes_to_stdout(text: str) -> bool:
    """Say whether a place is standard output."""
    place = parse_place(text)
    return place.kind in ("oci-archive", "docker-archive") and str(split_target(place.text)[0]) == "-"


def _named(artifact: Artifact, text: str) -> tuple[Path | BinaryIO, Entry]:
    path, name = split_target(text)
    entry = Entry(artifact, (target_name(name),) if name else ())
    if str(path) != "-":
        return path, entry
    if sys.stdout.isatty():
        raise UsageError("refusing to write an archive to a terminal", hint="redirect it, or name a file")
    return cast(BinaryIO, sys.stdout.buffer), entry


def must_be(name: Reference, artifact: Artifact) -> None:
    """Raise ImageError if ``name`` has a digest, and it is not that of ``artifact``."""
    if name.digest not in (None, artifact.digest):
        raise ImageError(
            f"{artifact.content.where} is {artifact.digest}, not what {name.familiar} says",
            hint="leave the digest out, or choose the image with --platform",
        )


def _push(artifact: Artifact, reference: Reference, env: Environment, *, foreign: bool) -> str:
    from builder.registry.push import push_artifact

    must_be(reference, artifact)
    if foreign:
        artifact = with_foreign(env, artifact, reference)
    push_artifact(env.registry(), [reference], artifact, env.reporter, foreign=foreign)
    return reference.familiar

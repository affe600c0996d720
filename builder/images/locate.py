"""From the words for a place to the artifact that is there now; layers are read when somebody opens them."""

from __future__ import annotations

import time
from pathlib import Path

from builder.archive.files import open_files
from builder.archive.image import split_location
from builder.engine.bases import FRESH, built_here
from builder.engine.build import Environment
from builder.errors import CacheError, ImageError
from builder.events import Warned
from builder.image.artifact import Artifact
from builder.image.digest import Digest
from builder.image.reference import Reference
from builder.images.naming import find_record
from builder.images.places import is_path, name_of, parse_place
from builder.images.storing import StoreContent, stored_artifact
from builder.patterns import pattern
from builder.registry.errors import RegistryError

_ID = pattern("[0-9a-f]{12,64}")
"""What is an image ID rather than a name, if there is such an image: what lists of images show."""


def locate(text: str, env: Environment, *, remote: bool = False) -> Artifact:
    """Return what ``text`` names; see ``builder.images.places`` for how places are written.

    A bare name is an image built here, else what a registry has; with ``remote`` the registry's in any case. An ID is
    an image of the store. Raises UsageError, ContextError, ImageError, RegistryError.
    """
    place = parse_place(text)
    match place.kind:
        case "registry":
            return from_registry(Reference.parse(place.text), env)
        case "store":
            return from_store(place.text, env)
        case "layout" | "oci-archive":
            return from_file(place.text, env, docker=False)
        case "docker-archive":
            return from_file(place.text, env, docker=True)
        case _ if is_path(place.text):
            return from_file(place.text, env)
        case _ if remote:
            return _remote(Reference.parse(place.text), env)
        case _:
            return _by_name(place.text, env)


def asked_name(text: str, env: Environment) -> Reference | None:
    """Return the name that an image is asked for by; None for files, digests, and IDs of the store."""
    name, place = name_of(text), parse_place(text)
    if name is None or not (place.kind == "store" or (place.kind == "" and _ID.fullmatch(place.text))):
        return name
    known = built_here(env.store, name) or env.store.refs.get(str(name), built_here=False)
    if known is None and find_record(env.store, place.text) is not None:
        return None
    return name


def from_file(location: str, env: Environment, *, docker: bool | None = None) -> Artifact:
    """Return what is in ``PATH[:NAME]``; without ``docker`` the file itself says what it is."""
    from builder.archive.docker_archive import read_archive
    from builder.archive.oci_layout import read_layout

    path, selector = split_location(location)
    files = open_files(Path(path), env.store.directory("tmp"))
    try:
        if docker is None:
            docker = files.size("oci-layout") is None
        return read_archive(files, selector).artifact if docker else read_layout(files, selector)
    except BaseException:
        files.close()
        raise


def from_registry(reference: Reference, env: Environment) -> Artifact:
    """Ask the registry what ``reference`` is now. Raises RegistryError."""
    from builder.registry.repository import remote_artifact

    return remote_artifact(env.registry(), reference, env.store.blobs, env.reporter)


def from_store(text: str, env: Environment) -> Artifact:
    """Return an image of the store: ``NAME``, ``NAME@sha256:...``, a digest, or an image ID. Raises ImageError."""
    record = find_record(env.store, text)
    if record is not None:
        return stored_artifact(env, record)
    digest = Digest.parse(text) if text.startswith("sha256:") else None
    reference = None if digest else Reference.parse(text)
    digest = digest or (reference.digest if reference else None)
    raw = env.store.blobs.read(digest) if digest else None
    if digest is None or raw is None:
        raise ImageError(f"{text} is not in the store", hint="pybuild images lists what is; pybuild pull fetches")
    return Artifact.of(StoreContent(env, text, everywhere=reference), raw)


def _by_name(text: str, env: Environment) -> Artifact:
    if text.startswith("sha256:"):
        return from_store(text, env)
    reference = Reference.parse(text)
    record = built_here(env.store, reference)
    if record is not None:
        return stored_artifact(env, record)
    if reference.registry == "localhost" or (_ID.fullmatch(text) and find_record(env.store, text) is not None):
        return from_store(text, env)
    if reference.digest is not None and (raw := env.store.blobs.read(reference.digest)) is not None:
        return Artifact.of(StoreContent(env, reference.familiar, everywhere=reference), raw)
    return _resolved(reference, env)


def _remote(reference: Reference, env: Environment) -> Artifact:
    try:
        return from_registry(reference, env)
    except RegistryError as error:
        if built_here(env.store, reference) is not None:
            error.hint = f"what was built here is store:{reference.familiar}"
        raise


def _resolved(reference: Reference, env: Environment) -> Artifact:
    """Return what a registry's name means: as of less than an hour ago, or asked now if that is possible."""
    from builder.cache.refs import RefRecord

    now = int(time.time())
    record = env.store.refs.get(str(reference), built_here=False)
    if record is not None and 0 <= now - record.resolved_at < FRESH:
        try:
            return stored_artifact(env, record)
        except (CacheError, RegistryError):
            record = None
    try:
        artifact = from_registry(reference, env)
    except RegistryError as error:
        if record is None or not error.retryable:
            error.message = f"{reference.familiar} is not built here, and {error.message}"
            raise
        env.reporter.emit(
            Warned(f"{error.message}; going on with the stored {reference.familiar}", "registry-unreachable")
        )
        return stored_artifact(env, record)
    env.store.refs.put(RefRecord(str(reference), artifact.root.bare, now, built_here=False))
    return artifact

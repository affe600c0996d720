"""The Dockerfile of a request: found, read, and parsed once per content (``parsed/`` in the store)."""

from __future__ import annotations

import os
from pathlib import Path

from builder.cache.store import Store
from builder.context.source import is_remote
from builder.context.tree import read_file
from builder.dockerfile.directives import require_built_in_frontend
from builder.dockerfile.instructions import Dockerfile
from builder.dockerfile.serial import FORMAT, from_json, to_json
from builder.dockerfile.source import Source
from builder.engine.contexts import Contexts
from builder.engine.request import BuildRequest
from builder.errors import ContextError, UsageError
from builder.settings import is_within
from builder.values import dataclass

DOCKERFILE_LIMIT = 16 << 20
"""Bytes of a Dockerfile."""

_NAMES = ("Dockerfile", "dockerfile")


@dataclass(frozen=True, slots=True)
class Text:
    """A Dockerfile's bytes; ``path`` is the host file they come from, if any."""

    data: bytes
    name: str
    path: Path | None = None


def local_dockerfile(request: BuildRequest) -> Path | None:
    """Return the Dockerfile's path on the host; None when it is on standard input or in a context from afar."""
    if request.dockerfile == "-" or not is_local(request.context):
        return None
    if request.dockerfile is not None:
        return Path(request.dockerfile)
    candidates = [Path(request.context) / name for name in _NAMES]
    return next((path for path in candidates if os.path.exists(path)), candidates[0])


def is_local(context: str) -> bool:
    """Say whether a context is a directory of this machine."""
    return context != "-" and not is_remote(context)


def read_dockerfile(request: BuildRequest, contexts: Contexts) -> Text:
    """Return the Dockerfile of ``request``. Raises ContextError, UsageError."""
    if is_local(request.context) and not os.path.isabs(request.context):
        _require_here()
    if request.dockerfile == "-":
        if request.context == "-":
            raise UsageError("the Dockerfile and the build context cannot both come from standard input")
        if request.stdin is None:
            raise ContextError("there is no standard input to read the Dockerfile from")
        return Text(_limited(request.stdin.read(DOCKERFILE_LIMIT + 1), "the Dockerfile"), "Dockerfile")
    path = local_dockerfile(request)
    if path is not None:
        return Text(_limited(_read(path, request.context), str(path)), str(path), path)
    context = contexts.main()
    if context.dockerfile is not None:
        return Text(_limited(context.dockerfile, "the Dockerfile"), "Dockerfile")
    for name in (request.dockerfile,) if request.dockerfile else _NAMES:
        data = read_file(context.tree, name, limit=DOCKERFILE_LIMIT)
        if data is not None:
            return Text(data, name)
    raise ContextError(f"the build context has no {request.dockerfile or 'Dockerfile'}", hint="name it with --file")


def _require_here() -> None:
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise ContextError("the current directory does not exist any more", hint="cd to one that does") from error


def _read(path: Path, context: str) -> bytes:
    if os.path.islink(path):
        _refuse_to_leave(path, context)
    try:
        with open(path, "rb") as stream:
            return stream.read(DOCKERFILE_LIMIT + 1)
    except OSError as error:
        if not os.path.isdir(context):
            raise ContextError(f"the build context {context} is no directory", hint="name one, e.g. .") from error
        raise ContextError(
            f"cannot read the Dockerfile {path}: {error.strerror}", hint="name another with --file"
        ) from error


def _refuse_to_leave(link: Path, context: str) -> None:
    """Refuse a link of the project that leads out of it: a stranger's would have a file of ours shown as a mistake."""
    project = _repository(os.path.realpath(context))
    if is_within(os.path.realpath(link.parent), project) and not is_within(os.path.realpath(link), project):
        raise ContextError(
            f"the Dockerfile {link} is a link out of the project {project}", hint="name the file itself with --file"
        )


def _repository(directory: str) -> str:
    """Return the root of the repository that a directory is in; without one the directory."""
    root = directory
    while not os.path.lexists(f"{root}/.git"):
        above = os.path.dirname(root)
        if above == root:
            return directory
        root = above
    return root


def _limited(data: bytes, name: str) -> bytes:
    if len(data) > DOCKERFILE_LIMIT:
        raise ContextError(
            f"{name} is larger than {DOCKERFILE_LIMIT >> 20} MiB", hint="is that a Dockerfile? -f names another"
        )
    return data


def parse_dockerfile(text: Text, store: Store, frontend: str | None) -> Dockerfile:
    """Return the instructions, from the store if these bytes were parsed before. Raises DockerfileError.

    ``frontend`` is the build argument that overrides ``# syntax=``.
    """
    source = Source(text.name, _decoded(text.data))
    require_built_in_frontend(source, frontend)
    name = store.parsed.name(text.data, str(FORMAT))
    known = store.parsed.get(name)
    if known is not None:
        try:
            return from_json(known, source)
        except ValueError:
            pass  # written by another version: parse again, and replace it
    from builder.dockerfile.parser import parse

    parsed = parse(text.data, text.name)
    store.parsed.put(name, to_json(parsed))
    return parsed


def _decoded(data: bytes) -> str:
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")

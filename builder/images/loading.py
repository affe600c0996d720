"""Images of an archive or layout into the store, under the names they have there."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.archive.files import Files, open_files
from builder.archive.image import Entry, blob_name
from builder.engine.build import Environment
from builder.errors import ImageError, OutputError
from builder.image.artifact import Artifact
from builder.image.digest import Digest
from builder.image.manifest import Manifest
from builder.image.reference import Reference
from builder.images.storing import keep
from builder.streams import copy
from builder.values import dataclass


@dataclass(frozen=True, slots=True)
class Loaded:
    """One image that came into the store. ``identity`` is the image ID, of an index or artifact its digest."""

    artifact: Artifact
    identity: Digest
    names: tuple[Reference, ...]


def load(env: Environment, path: Path | None) -> Iterator[Loaded]:
    """Bring every image of a file, a directory or (None) standard input into the store, and yield them one by one.

    Raises ContextError, ImageError, OutputError.
    """
    with _opened(env, path) as files:
        for entry in _entries(files):
            # A bare tag, as skopeo writes them, is no name in a store.
            names = tuple(name for name in entry.names if isinstance(name, Reference) and name.tag is not None)
            keep(env, entry.artifact, names)
            parsed = entry.artifact.parsed()
            identity = parsed.config.digest if isinstance(parsed, Manifest) else entry.artifact.digest
            if not names:
                _keep_nameless(env, entry.artifact)
            yield Loaded(entry.artifact, identity, names)


def entries_at(env: Environment, location: str) -> list[Entry]:
    """Return every image of a file or directory with its names; the file stays open. Raises as ``load`` does."""
    files = open_files(Path(location), env.store.directory("tmp"))
    try:
        return _entries(files)
    except BaseException:
        files.close()
        raise


def _keep_nameless(env: Environment, artifact: Artifact) -> None:
    """Let the store know an image that has no name, so that it can be listed, named and removed."""
    import time

    from builder.cache.refs import RefRecord

    root = artifact.root.bare
    env.store.refs.put(RefRecord(str(root.digest), root, int(time.time()), built_here=True))


@contextmanager
def _opened(env: Environment, path: Path | None) -> Iterator[Files]:
    scratch = env.store.directory("tmp")
    temporary, where = None, ""
    if path is None:
        where = "standard input"
        path = Path("/proc/self/fd/0")
        if not stat.S_ISREG(os.fstat(0).st_mode):
            path = temporary = env.store.temporary(".tar")
            _spool(temporary)
    try:
        files = open_files(path, scratch, where)
        try:
            yield files
        finally:
            files.close()
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _spool(target: Path) -> None:
    """Write standard input to a file, because the parts of an archive are needed in another order."""
    try:
        with open(target, "xb") as stream:
            copy(sys.stdin.buffer, stream)
    except OSError as error:
        raise OutputError(
            f"cannot write {target}: {error.strerror}",
            hint="free some space, or choose another place with --root DIR",
        ) from error


def _entries(files: Files) -> list[Entry]:
    """Read both kinds. An archive that is both is read as a layout if that is complete: it may have several platforms.

    Docker's own may name images in its index that it left out.
    """
    from builder.archive.docker_archive import named_in_archive
    from builder.archive.oci_layout import named_in_layout

    if files.size("oci-layout") is None or files.size("index.json") is None:
        return named_in_archive(files)
    if files.size("manifest.json") is None:
        return named_in_layout(files)
    try:
        entries = named_in_layout(files)
        if all(_complete(files, entry.artifact) for entry in entries):
            return entries
    except ImageError:
        pass
    return named_in_archive(files)


def _complete(files: Files, artifact: Artifact) -> bool:
    return all(
        files.size(blob_name(blob.digest)) is not None for document in artifact.documents() for blob in document.blobs
    )

"""Images in the store under names: read back as content, and put there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

from builder.cache.refs import EVERYWHERE, RefRecord
from builder.engine.build import Environment
from builder.errors import CacheError, ImageError
from builder.image.artifact import Artifact, Content
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest, copy_verified
from builder.image.reference import Reference
from builder.values import replace

if TYPE_CHECKING:
    from builder.registry.repository import RepositoryContent


class StoreContent:
    """What the store has; what it lacks comes from the repositories that are known to have it."""

    def __init__(
        self,
        env: Environment,
        where: str,
        origins: Mapping[str, Reference] | None = None,
        everywhere: Reference | None = None,
    ) -> None:
        self._env = env
        self._where = where
        self._origins = origins or {}
        self._everywhere = everywhere

    @property
    def where(self) -> str:
        """The image's name."""
        return self._where

    def document(self, descriptor: Descriptor) -> bytes:
        """Return a document. Raises CacheError for one that is gone, RegistryError."""
        raw = self._env.store.blobs.read(descriptor.digest)
        return raw if raw is not None else self._remote(descriptor).document(descriptor)

    def open(self, descriptor: Descriptor) -> BinaryIO:
        """Open a blob, fetched first if need be."""
        blobs = self._env.store.blobs
        if blobs.contains(descriptor.digest, descriptor.size):
            return blobs.open(descriptor.digest)
        return self._remote(descriptor).open(descriptor)

    def origin(self, descriptor: Descriptor) -> Reference | None:
        """Return the repository that an image built here has a layer from, or that an image was pulled from."""
        return self._origins.get(descriptor.digest, self._everywhere)

    def _remote(self, descriptor: Descriptor) -> RepositoryContent:
        origin = self.origin(descriptor)
        if origin is None:
            raise CacheError(
                f"{self._where}: {descriptor.digest} is not in the store any more",
                hint="have the image built, loaded or pulled again",
            )
        from builder.registry.repository import RepositoryContent

        return RepositoryContent(self._env.registry(), origin, self._env.store.blobs, self._env.reporter)


class _Completed:
    """An artifact's content, and blobs that only the store has."""

    def __init__(self, content: Content, stored: StoreContent, here: frozenset[Digest]) -> None:
        self._content = content
        self._stored = stored
        self._here = here

    @property
    def where(self) -> str:
        return self._content.where

    def document(self, descriptor: Descriptor) -> bytes:
        return self._content.document(descriptor)

    def open(self, descriptor: Descriptor) -> BinaryIO:
        return (self._stored if descriptor.digest in self._here else self._content).open(descriptor)

    def origin(self, descriptor: Descriptor) -> Reference | None:
        return self._content.origin(descriptor)


def with_foreign(env: Environment, artifact: Artifact, target: Reference) -> Artifact:
    """Return ``artifact`` with its layers that are not for redistribution fetched into the store, where it lacks them.

    They come from the repository of ``target`` or from their own URLs. Raises RegistryError, DigestMismatchError.
    """
    here = set()
    for blob in {one.digest: one for document in artifact.documents() for one in document.blobs}.values():
        if blob.is_elsewhere and artifact.content.origin(blob) is None:
            try:
                artifact.content.open(blob).close()
            except (ImageError, CacheError):
                env.registry().fetch_blob(target, blob, env.store.blobs)
                here.add(blob.digest)
    stored = StoreContent(env, artifact.content.where)
    return replace(artifact, content=_Completed(artifact.content, stored, frozenset(here)))


def stored_artifact(env: Environment, record: RefRecord) -> Artifact:
    """Return the artifact of a name in the store. Raises CacheError when its root document is gone."""
    if record.reference.startswith("sha256:"):
        # An image that was loaded without a name is here as a whole.
        return Artifact.at(StoreContent(env, record.reference), record.descriptor)
    reference = Reference.parse(record.reference)
    if record.built_here:
        origins = _origins(record.origins)
        content = StoreContent(env, reference.familiar, origins, origins.get(EVERYWHERE))
    else:
        content = StoreContent(env, reference.familiar, everywhere=reference)
    return Artifact.at(content, record.descriptor)


def _origins(texts: Mapping[str, str]) -> dict[str, Reference]:
    found = {}
    for digest, text in texts.items():
        try:
            found[digest] = Reference.parse(text)
        except ImageError:
            continue
    return found


def keep(env: Environment, artifact: Artifact, names: Sequence[Reference]) -> None:
    """Bring every document and blob of ``artifact`` into the store and give it ``names``, as builds give them.

    Layers that are not for redistribution stay where they are. Raises what reading them raises, OutputError.
    """
    blobs = env.store.blobs
    fetch(env, artifact)
    origins: dict[str, str] = {}
    for document in artifact.documents():
        if not blobs.contains(document.descriptor.digest, len(document.raw)):
            blobs.put(document.raw)
        for blob in document.blobs:
            origin = artifact.content.origin(blob)
            if origin is not None:
                origins[blob.digest] = str(origin)
            if not blob.is_elsewhere:
                bring(env, artifact, blob)
    now, platform = int(time.time()), artifact.platform()
    made = env.store.refs.made_from({artifact.root.digest})
    for name in names:
        env.store.refs.put(
            RefRecord(
                str(name),
                artifact.root,
                now,
                built_here=True,
                platform="" if platform is None else str(platform),
                origins=origins,
                made_from=made,
            )
        )


def fetch(env: Environment, artifact: Artifact) -> None:
    """Bring what only a registry has of ``artifact`` into the store, several blobs at a time.

    What is written somewhere else one by one is then at hand. Raises RegistryError, DigestMismatchError, OutputError.
    """
    elsewhere = [one for one in missing_blobs(env, artifact) if artifact.content.origin(one) is not None]
    if len(elsewhere) > 1:
        bring_all(env, artifact, elsewhere)


def missing_blobs(env: Environment, artifact: Artifact) -> list[Descriptor]:
    """Return each blob that is not in the store once, the biggest first; those that stay elsewhere are left out."""
    wanted = {
        blob.digest: blob
        for document in artifact.documents()
        for blob in document.blobs
        if not blob.is_elsewhere and not env.store.blobs.contains(blob.digest, blob.size)
    }
    return sorted(wanted.values(), key=lambda blob: -blob.size)


def bring_all(env: Environment, artifact: Artifact, blobs: Sequence[Descriptor]) -> None:
    """Copy blobs into the store, several at a time; see ``bring``."""
    from builder.registry.together import in_parallel

    in_parallel([_task(env, artifact, blob) for blob in blobs], env.registry().jobs)


def _task(env: Environment, artifact: Artifact, blob: Descriptor) -> Callable[[], None]:
    return lambda: bring(env, artifact, blob)


def bring(env: Environment, artifact: Artifact, blob: Descriptor) -> None:
    """Copy a blob into the store unless it is there. Raises DigestMismatchError, and what reading it raises."""
    blobs = env.store.blobs
    if blobs.contains(blob.digest, blob.size):
        return
    with artifact.content.open(blob) as source:
        if blobs.contains(blob.digest, blob.size):
            # Fetched into the store by being opened.
            return
        with blobs.writer() as writer:
            copy_verified(source, writer, blob.digest, blob.size, f"blob {blob.digest}")
            writer.commit(Digest(blob.digest))

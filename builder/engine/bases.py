"""Where base images come from: a registry, a layout or archive, or the store; manifests and configs, not layers.

A tag resolved less than an hour ago costs no request, an older one a HEAD, and an unreachable registry is a warning
where the store knows the image. Images built here answer only as ``localhost/NAME`` or when pulling is forbidden, so
that one job's tag cannot stand in for another's base.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from builder.cache.refs import EVERYWHERE, RefRecord
from builder.cache.store import Store
from builder.engine.layers import LayerStack, StoreLayer
from builder.errors import CacheError, ImageError
from builder.events import Reporter, Warned
from builder.image.artifact import Artifact, Image
from builder.image.config import ImageConfig
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID, Digest
from builder.image.manifest import Manifest
from builder.image.platform import Platform, PlatformNotFoundError
from builder.image.reference import Reference
from builder.plan.graph import Base, ImageSource
from builder.values import dataclass

if TYPE_CHECKING:
    from builder.registry.client import Registry

PullPolicy = Literal["auto", "always", "missing", "never"]

FRESH = 3600
"""Seconds for which a resolved tag is believed without asking."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image whose manifest and config are in the store; its layers may be elsewhere.

    ``pulled``: what it was pulled as, and the digest of the manifest or index that this name was resolved to.
    """

    raw_manifest: bytes
    raw_config: bytes
    manifest: Manifest
    layers: LayerStack
    pulled: tuple[Reference, Digest] | None = None

    @property
    def digest(self) -> Digest:
        """The manifest's digest."""
        return Digest.of(self.raw_manifest)

    def base(self) -> Base:
        """Return what planning needs to know."""
        return Base(ImageConfig.parse(self.raw_config), self.digest)


@dataclass(frozen=True, slots=True)
class _RegistryLayer:
    """A layer that is fetched from ``reference``'s repository when it is opened."""

    registry: Callable[[], Registry]
    store: Store
    reporter: Reporter
    reference: Reference
    descriptor: Descriptor
    diff_id: DiffID

    def open(self) -> BinaryIO:
        from builder.registry.repository import RepositoryContent

        return RepositoryContent(self.registry(), self.reference, self.store.blobs, self.reporter).open(self.descriptor)


@dataclass(frozen=True, slots=True)
class _StoreContent:
    """What the store has. Raises CacheError for what it has not."""

    store: Store
    where: str

    def document(self, descriptor: Descriptor) -> bytes:
        raw = self.store.blobs.read(descriptor.digest)
        if raw is None:
            raise CacheError(f"{descriptor.digest} is not in the store")
        return raw

    def open(self, descriptor: Descriptor) -> BinaryIO:
        return self.store.blobs.open(descriptor.digest)

    def origin(self, descriptor: Descriptor) -> None:
        del descriptor


class Bases:
    """Resolves image sources, each once. Thread-safe for different sources."""

    def __init__(
        self,
        store: Store,
        registry: Callable[[], Registry],
        reporter: Reporter,
        *,
        pull: PullPolicy,
        now: Callable[[], int],
    ) -> None:
        self._store = store
        self._registry = registry
        self._reporter = reporter
        self._pull = pull
        self._now = now
        self._known: dict[ImageSource, StoredImage] = {}
        self._asked: dict[Reference, Descriptor] = {}
        self._locks: dict[Reference, threading.Lock] = {}

    def resolve(self, source: ImageSource) -> StoredImage:
        """Return the image; raises RegistryError, ImageError, ContextError."""
        found = self._known.get(source)
        if found is None:
            found = self._known[source] = self._resolve(source)
        return found

    def _resolve(self, source: ImageSource) -> StoredImage:
        location = source.location
        if location.startswith("oci-layout://"):
            from builder.archive.oci_layout import open_oci_layout

            return self._import(open_oci_layout(location.removeprefix("oci-layout://"), source.platform, self._tmp()))
        if location.startswith("docker-archive:"):
            from builder.archive.docker_archive import open_docker_archive

            return self._import(open_docker_archive(location.removeprefix("docker-archive:"), self._tmp()))
        reference = Reference.parse(location.removeprefix("docker-image://"))
        if reference.registry == "localhost" or self._pull == "never" or source.named:
            built = built_here(self._store, reference)
            if built is not None:
                return self.load_built(built, source.platform)
        # A name means one thing for all platforms of a build.
        with self._locks.setdefault(reference, threading.Lock()):
            return self._from_registry(reference, source.platform)

    def _tmp(self) -> Path:
        return self._store.directory("tmp")

    def _from_registry(self, reference: Reference, platform: Platform) -> StoredImage:
        from builder.registry.errors import RegistryError

        asked = self._asked.get(reference)
        if asked is not None and self._pull != "never":
            try:
                return self._try_load(asked, platform, reference) or self._fetch(reference, platform, asked)
            except RegistryError as error:
                error.message = _about(reference, error.message)
                error.hint = "it was this image for another platform of the build; --pull asks for all of them anew"
                raise
        record = self._store.refs.get(str(reference), built_here=False)
        stored = None if record is None else self._try_load(record.descriptor, platform, reference)
        if stored is not None and record is not None and self._believed(reference, record):
            self._asked[reference] = record.descriptor
            return stored
        if self._pull == "never":
            raise ImageError(
                f"{reference.familiar} is not in the store, and --pull=never forbids fetching it",
                hint="build it here under this name, or use --pull=missing",
            )
        try:
            return self._ask(reference, platform, record)
        except RegistryError as error:
            if stored is None or record is None or self._pull == "always" or not error.retryable:
                error.message = _about(reference, error.message)
                error.hint = self._local_hint(reference) or error.hint
                raise
            self._reporter.emit(
                Warned(f"{error.message}; going on with the stored {reference.familiar}", "registry-unreachable")
            )
            self._asked[reference] = record.descriptor
            return stored

    def _local_hint(self, reference: Reference) -> str:
        """Say how images built here are named, to whom the registry's answer may be a surprise."""
        if reference.registry == "localhost":
            name = _behind_localhost(reference).familiar
            return f"no image called {name} was built here either: pybuild -t {name} CONTEXT"
        if self._store.refs.get(str(reference), built_here=True) is None:
            return ""
        return f"an image of this name was built here: FROM localhost/{reference.familiar}, or --pull=never"

    def _believed(self, reference: Reference, record: RefRecord) -> bool:
        if reference.digest is not None or self._pull in ("missing", "never"):
            return True
        return self._pull == "auto" and 0 <= self._now() - record.resolved_at < FRESH

    def _ask(self, reference: Reference, platform: Platform, record: RefRecord | None) -> StoredImage:
        return self._fetch(reference, platform, self._registry().resolve(reference) if record is not None else None)

    def _fetch(self, reference: Reference, platform: Platform, resolved: Descriptor | None) -> StoredImage:
        from builder.registry.repository import RepositoryContent

        registry = self._registry()
        content = RepositoryContent(registry, reference, self._store.blobs, self._reporter)
        artifact = Artifact.at(content, resolved or registry.resolve(reference))
        # Its config too: what is in the store from now on can be loaded from there.
        artifact.image(platform)
        self._asked[reference] = artifact.root
        self._store.refs.put(RefRecord(str(reference), artifact.root, self._now(), built_here=False))
        return self.load(artifact.root, platform, reference)

    def _try_load(self, descriptor: Descriptor, platform: Platform, reference: Reference) -> StoredImage | None:
        try:
            return self.load(descriptor, platform, reference)
        except CacheError:
            return None
        except PlatformNotFoundError:
            if self._pull == "never":
                raise
            # The registry's index may have it by now.
            return None

    def load_built(self, record: RefRecord, wanted: Platform | None = None) -> StoredImage:
        """Read an image built here, of an index the one for ``wanted``.

        Its layers that never came here are fetched from where its base came from.
        """
        platform = Platform.parse(record.platform) if record.platform else wanted
        return self.load(
            record.descriptor, platform, {digest: _origin(name) for digest, name in record.origins.items()}
        )

    def load(
        self,
        descriptor: Descriptor,
        platform: Platform | None,
        origins: Reference | Mapping[str, Reference | None] | None = None,
    ) -> StoredImage:
        """Read an image of the store; ``origins`` is where missing layers come from, for all of them or by digest.

        Raises CacheError when its manifest or config is not there, PlatformNotFoundError.
        """
        where = origins.familiar if isinstance(origins, Reference) else descriptor.digest
        image = Artifact.at(_StoreContent(self._store, where), descriptor).image(platform)
        known = origins if isinstance(origins, Mapping) else {}
        everywhere = origins if isinstance(origins, Reference) else known.get(EVERYWHERE)
        layers = tuple(
            self._layer(one.descriptor, one.diff_id, known.get(one.descriptor.digest, everywhere))
            for one in image.layers
        )
        for layer in layers:
            # Builds that find all their steps look into no table; the next one that does not would miss it.
            self._store.touch(self._store.toc_path(layer.diff_id))
        pulled = (origins, descriptor.digest) if isinstance(origins, Reference) else None
        return StoredImage(image.raw_manifest, image.raw_config, image.manifest, layers, pulled)

    def _layer(self, descriptor: Descriptor, diff_id: DiffID, reference: Reference | None) -> StoreLayer:
        source = None
        if reference is not None:
            source = _RegistryLayer(self._registry, self._store, self._reporter, reference, descriptor, diff_id)
        return StoreLayer(self._store, diff_id, descriptor, source=source, origin=reference)

    def _import(self, image: Image) -> StoredImage:
        for raw in (image.raw_manifest, image.raw_config):
            if not self._store.blobs.contains(Digest.of(raw), len(raw)):
                self._store.blobs.put(raw)
        layers = tuple(StoreLayer(self._store, layer.diff_id, layer.descriptor, source=layer) for layer in image.layers)
        return StoredImage(image.raw_manifest, image.raw_config, image.manifest, layers)


def _behind_localhost(reference: Reference) -> Reference:
    """Return the name an image was built under, given that name behind ``localhost/``."""
    return Reference.parse(str(reference).removeprefix("localhost/"))


def built_here(store: Store, reference: Reference) -> RefRecord | None:
    """Return the image built here that ``reference`` means; its name may stand behind ``localhost/``."""
    tagged = Reference(reference.registry, reference.repository, reference.tag or "latest")
    names = [tagged, _behind_localhost(tagged)] if reference.registry == "localhost" else [tagged]
    found = next((one for name in names if (one := store.refs.get(str(name), built_here=True))), None)
    return found if found is not None and reference.digest in (None, found.descriptor.digest) else None


def _origin(text: str) -> Reference | None:
    try:
        return Reference.parse(text) if text else None
    except ImageError:
        return None


def _about(reference: Reference, message: str) -> str:
    """Return a message that names the image."""
    return message if reference.familiar in message else f"{reference.familiar}: {message}"

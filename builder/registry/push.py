"""An image into registries: what is there is left alone, what lies next to it is mounted, only the rest goes up.

Config and layers first, the manifest last, so that a registry never has a manifest whose blobs are missing.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from builder.events import Reporter, Transfer
from builder.image import descriptor as media
from builder.image.blobs import Layer
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest
from builder.image.manifest import Manifest, ManifestError, parse_manifest
from builder.image.reference import Reference
from builder.registry.client import Registry
from builder.registry.upload import mount_or_begin, upload

_FOREIGN = frozenset({media.DOCKER_FOREIGN_LAYER_GZIP, media.OCI_FOREIGN_LAYER, media.OCI_FOREIGN_LAYER_GZIP})


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedImage:
    """What is to be pushed. ``origins`` has, per layer, a reference into a repository that holds it, or None."""

    raw_manifest: bytes = field(repr=False)
    media_type: str
    raw_config: bytes = field(repr=False)
    layers: tuple[Layer, ...]
    origins: tuple[Reference | None, ...] = ()


@dataclass(frozen=True, slots=True)
class _Blob:
    descriptor: Descriptor
    open: Callable[[], BinaryIO]
    origins: tuple[Reference, ...]


def push_image(
    registry: Registry, references: Sequence[Reference], image: PushedImage, reporter: Reporter, *, jobs: int = 0
) -> Digest:
    """Push ``image`` under every reference and return its digest.

    Layers are opened only when their bytes have to travel. A reference with a digest and no tag pushes by digest.
    Raises RegistryError, AuthenticationError, TransientRegistryError, DigestMismatchError.
    """
    digest = Digest.of(image.raw_manifest)
    blobs = _blobs(image)
    done: list[Reference] = []
    for target in _repositories(references):
        held = tuple(one for one in done if one.registry == target.registry)
        _in_parallel([_task(registry, target, blob, held, reporter) for blob in blobs], jobs or registry.jobs)
        done.append(target)
    for reference in references:
        registry.put_manifest(reference, reference.tag or digest, image.raw_manifest, image.media_type)
    return digest


def _blobs(image: PushedImage) -> list[_Blob]:
    """Return each blob once, the biggest first: the longest transfer should not begin last."""
    manifest = parse_manifest(image.raw_manifest, image.media_type)
    if not isinstance(manifest, Manifest):
        raise ManifestError("an index was to be pushed as one image")
    origins = image.origins or (None,) * len(image.layers)
    blobs: dict[Digest, _Blob] = {}
    for descriptor, layer, origin in zip(manifest.layers, image.layers, origins, strict=True):
        if descriptor.media_type in _FOREIGN and descriptor.urls:
            # Not for redistribution: registries take the manifest without them.
            continue
        blobs.setdefault(descriptor.digest, _Blob(descriptor, layer.open, () if origin is None else (origin,)))
    blobs.setdefault(manifest.config.digest, _Blob(manifest.config, lambda: io.BytesIO(image.raw_config), ()))
    return sorted(blobs.values(), key=lambda blob: -blob.descriptor.size)


def _repositories(references: Sequence[Reference]) -> list[Reference]:
    return list({(one.registry, one.repository): one for one in references}.values())


def _task(
    registry: Registry, target: Reference, blob: _Blob, held: tuple[Reference, ...], reporter: Reporter
) -> Callable[[], None]:
    return lambda: _push_blob(registry, target, blob, held, reporter)


def _push_blob(
    registry: Registry, target: Reference, blob: _Blob, held: tuple[Reference, ...], reporter: Reporter
) -> None:
    digest, size = blob.descriptor.digest, blob.descriptor.size
    if registry.blob_exists(target, digest, pushing=True):
        return
    begun = ""
    for origin in (*held, *blob.origins):
        if origin.registry != target.registry or origin.repository == target.repository:
            continue
        location = mount_or_begin(registry.session, registry.retry, target, digest, origin.repository)
        if location is None:
            return
        begun = begun or location
        break

    def progress(current: int, total: int) -> None:
        reporter.emit(Transfer("push", digest, current, total))

    progress(0, size)
    upload(registry.session, registry.retry, target, blob.descriptor, blob.open, progress, begun)


def _in_parallel(tasks: Sequence[Callable[[], None]], jobs: int) -> None:
    """Run ``tasks`` on up to ``jobs`` threads; the first error ends it, tasks not yet begun are dropped."""
    pending = iter(tasks)
    lock = threading.Lock()
    errors: list[BaseException] = []

    def work() -> None:
        while True:
            with lock:
                task = None if errors else next(pending, None)
            if task is None:
                return
            try:
                task()
            except BaseException as error:  # noqa: BLE001  # carried to the caller's thread, whatever it is
                with lock:
                    errors.append(error)

    threads = [threading.Thread(target=work, name=f"push-{n}", daemon=True) for n in range(min(jobs, len(tasks)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]

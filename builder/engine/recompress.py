"""Layers in the form an output asks for: recorded variants first, else recompressed from the form at hand.

A layer is known by its DiffID and no key depends on its compression (design, idea 3), so that a change of the wanted
form builds nothing again. Layers of a base image are left as they are, and where they are, unless it is forced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import assert_never

from builder.cache.store import Store
from builder.engine.layers import LayerStack, StoreLayer
from builder.engine.packing import LAYER_TYPES, known_forms
from builder.engine.request import BuildRequest, CompressionChoice, compression_of, forms_of
from builder.errors import BuilderError, CacheError, ImageError, OutputError, room_hint
from builder.image import descriptor as media
from builder.image.blobs import Layer
from builder.image.descriptor import Descriptor
from builder.image.digest import DigestMismatchError
from builder.image.manifest import Manifest
from builder.rootfs.coding import USUAL, Coding, Compression
from builder.rootfs.entry import LayerFormatError

_OF_BYTES = ("containerd.io/snapshot/stargz/", "io.containers.zstd-chunked", "io.github.containers.zstd-chunked")
"""Starts of annotations that say something about compressed bytes, which others must not inherit."""


Before = Callable[[str], None]
"""Told what is about to be done; may raise to prevent it."""


def _silent(_: str) -> None:
    pass


def coding_of(choice: CompressionChoice | None) -> Coding:
    """Return how new layers are written for ``choice``."""
    if choice is None:
        return USUAL
    match choice.kind:
        case "gzip":
            return Coding(Compression.GZIP, choice.level)
        case "gzip-single-member":
            return Coding(Compression.GZIP, choice.level, single=True)
        case "zstd":
            return Coding(Compression.ZSTD, choice.level)
        case "uncompressed":
            return Coding(Compression.NONE)
        case _:
            assert_never(choice.kind)


def common_coding(forms: Sequence[CompressionChoice | None]) -> Coding:
    """Return what to pack new layers as: what all outputs want, else the usual form, to be recompressed from."""
    wanted = {coding_of(one) for one in forms}
    return wanted.pop() if len(wanted) == 1 else USUAL


def refuse_zstd(request: BuildRequest, base: Manifest | None) -> None:
    """Raise ImageError for a base with zstd layers that an output has no media type for, before any step is done."""
    if base is None or not any(one.media_type in media.ZSTD_LAYERS for one in base.layers):
        return
    for form in forms_of(request):
        if (form.image_format or request.image_format) == "docker" and not compression_of(request, form).force:
            raise ImageError(
                "the base has zstd layers, and Docker's image format has no media type for them",
                hint="--force-compression makes them gzip; --format oci keeps them",
            )


def shaped(
    stack: LayerStack, inherited: int, choice: CompressionChoice | None, store: Store, before: Before = _silent
) -> LayerStack:
    """Return ``stack`` with its layers as ``choice`` wants them; the lowest ``inherited`` ones are the base's.

    Those are changed only where that is forced, they have another compression or a level is asked for, and they may
    be distributed; only then their bytes are fetched. Raises what fetching them raises, DigestMismatchError and
    LayerFormatError for damaged ones, OutputError.
    """
    coding = coding_of(choice)
    forced = choice is not None and choice.force
    return tuple(
        layer
        if number < inherited and not (forced and differs(layer.descriptor, coding))
        else recompressed(layer, coding, store, before)
        for number, layer in enumerate(stack)
    )


def method_of(media_type: str) -> Compression | None:
    """Return how a layer of this type is compressed; None for what is no layer, or not to be distributed."""
    return {
        media.OCI_LAYER: Compression.NONE,
        media.OCI_LAYER_GZIP: Compression.GZIP,
        media.OCI_LAYER_ZSTD: Compression.ZSTD,
        media.DOCKER_LAYER: Compression.NONE,
        media.DOCKER_LAYER_GZIP: Compression.GZIP,
        media.DOCKER_LAYER_ZSTD: Compression.ZSTD,
    }.get(media_type)


def differs(descriptor: Descriptor, coding: Coding) -> bool:
    """Say whether forcing ``coding`` changes a layer that was not made here; how many members it has is not known."""
    kind = method_of(descriptor.media_type)
    return kind is not None and (kind is not coding.compression or coding.level is not None or coding.single)


def recompressed(layer: Layer, coding: Coding, store: Store, before: Before = _silent) -> StoreLayer:
    """Return ``layer`` as ``coding`` writes it: itself, a variant of the store, or made now and kept as one.

    ``before`` is told of the work, which may take long.
    """
    # One that was written so and is in a shared cache stays there.
    own = [layer] if isinstance(layer, StoreLayer) and layer.available() else []
    forms = list(known_forms(store, layer.diff_id))
    for form in own + forms:
        if coding.made(form.compressor):
            return form
    plain = coding.compression is Compression.NONE
    before(f"layer {layer.diff_id}: {'uncompressing' if plain else f'compressing with {coding.compression}'}")
    failure: BuilderError = CacheError(f"the layer {layer.descriptor.digest} is not in the store any more")
    # What is here already costs no transfer; the layer itself may have to be fetched.
    for form in own + forms:
        if not form.here():
            continue  # damaged, and found out a moment ago
        try:
            return _made(form, layer.descriptor, coding, store)
        except (LayerFormatError, DigestMismatchError) as error:
            if not form.damaged():
                raise
            error.hint = "the store's copy was damaged and has been removed: build again"
            failure = error
    if isinstance(layer, StoreLayer) and not layer.available():
        raise failure
    return _made(layer, layer.descriptor, coding, store)


def _made(source: Layer, described: Descriptor, coding: Coding, store: Store) -> StoreLayer:
    from builder.rootfs.pack import recompress

    temporary = store.temporary(".blob")
    try:
        with source.open() as stream, open(temporary, "xb") as target:
            made = recompress(stream, target, coding)
        if made.diff_id != source.diff_id:
            raise DigestMismatchError(
                f"layer {source.descriptor.digest} unpacks to {made.diff_id}, expected {source.diff_id}"
            )
        descriptor = Descriptor(
            media_type=LAYER_TYPES[coding.compression],
            digest=made.digest,
            size=made.size,
            annotations={key: value for key, value in described.annotations.items() if not key.startswith(_OF_BYTES)},
        )
        store.blobs.adopt(temporary, made.digest)
        store.variants.put(source.diff_id, made.compressor, descriptor)
        return StoreLayer(store, source.diff_id, descriptor, compressor=made.compressor)
    except OSError as error:
        raise OutputError(f"cannot write a layer to {store.root}: {error.strerror}", hint=room_hint(error)) from error
    finally:
        temporary.unlink(missing_ok=True)

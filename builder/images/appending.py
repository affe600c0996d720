"""Layers on top of an image, without a Dockerfile: what ``pybuild append`` does.

Each layer gets an entry of the history, which names where it came from but no directory of this machine. Images in
OCI's format say on what they are based, where that has a name that others can look up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from builder.engine.bases import built_here
from builder.engine.build import Environment
from builder.engine.layers import StoreLayer
from builder.engine.recompress import recompressed
from builder.engine.times import TimePolicy, rfc3339
from builder.image.artifact import Artifact, Image, Parts
from builder.image.config import History, ImageConfig
from builder.image.descriptor import ZSTD_LAYERS
from builder.image.digest import Digest
from builder.image.mutate import make_manifest, repaired_history
from builder.image.platform import Platform
from builder.image.reference import Reference
from builder.images.documents import NewImage, format_of
from builder.images.layering import RemoteLayer
from builder.images.places import is_path, parse_place
from builder.images.rewriting import Rewriter, Rewritten
from builder.rootfs.coding import USUAL
from builder.values import dataclass, replace

BASE_NAME, BASE_DIGEST = "org.opencontainers.image.base.name", "org.opencontainers.image.base.digest"


@dataclass(frozen=True, slots=True)
class Addition:
    """A layer, and what the history says of it."""

    layer: StoreLayer | RemoteLayer
    created_by: str
    comment: str = ""


def scratch(platform: Platform) -> Artifact:
    """Return an image with nothing in it, to append to."""
    raw, raw_config = make_manifest(ImageConfig(platform=platform), (), "oci", {})
    documents = {Digest.of(raw): raw, Digest.of(raw_config): raw_config}
    return Artifact.of(Parts(where="scratch", documents=documents), raw)


def public_name(text: str, env: Environment) -> str:
    """Return the name under which others find what ``text`` means; nothing for what is only here."""
    place = parse_place(text)
    if place.kind != "registry" and (place.kind or is_path(text) or text.startswith("sha256:")):
        return ""
    reference = Reference.parse(place.text)
    if place.kind != "registry" and (reference.registry == "localhost" or built_here(env.store, reference)):
        return ""
    return str(replace(reference, digest=None) if reference.tag else reference)


def append(
    artifact: Artifact, additions: Sequence[Addition], times: TimePolicy, env: Environment, base_name: str = ""
) -> Rewritten:
    """Return ``artifact`` with the additions on top of every image in it, the first of them lowest.

    ``base_name`` is what others can look the artifact up as, if there is such a name. Raises ImageError where the
    format of an image cannot say a layer, and what changing a layer's compression raises.
    """
    created = rfc3339(times.fresh())
    based = {BASE_NAME: base_name, BASE_DIGEST: str(artifact.digest)} if base_name else {}

    def change(image: Image) -> NewImage:
        image_format = format_of(image.manifest.media_type)
        config = image.config
        layers = [_fitting(one.layer, image_format == "docker", env) for one in additions]
        history = repaired_history(config.history, len(config.diff_ids))
        added = [History(created=created, created_by=one.created_by, comment=one.comment) for one in additions]
        config = replace(
            config,
            diff_ids=(*config.diff_ids, *(layer.diff_id for layer in layers)),
            history=(*history, *added),
            created=created,
        )
        oci = image_format == "oci"
        return NewImage(
            raw_config=config.to_bytes(),
            descriptors=(*image.manifest.layers, *(layer.descriptor for layer in layers)),
            diff_ids=config.diff_ids,
            layers=tuple(layers),
            annotations={**_inherited(image.manifest.annotations), **based} if oci else None,
        )

    def annotate(found: Mapping[str, str]) -> Mapping[str, str]:
        return {**_inherited(found), **based}

    return Rewriter.run(artifact, change, annotate=annotate).of_images()


def _inherited(annotations: Mapping[str, str]) -> dict[str, str]:
    """Return annotations without what they said of the base's own base."""
    return {key: value for key, value in annotations.items() if key not in (BASE_NAME, BASE_DIGEST)}


def _fitting(layer: StoreLayer | RemoteLayer, docker: bool, env: Environment) -> StoreLayer | RemoteLayer:
    if docker and isinstance(layer, StoreLayer) and layer.descriptor.media_type in ZSTD_LAYERS:
        return recompressed(layer, USUAL, env.store)
    return layer

"""Manifests and indexes written anew from those that were there, in either format; pure.

In OCI's format every field that we do not know stays where it was. Docker's format has only its own fields, and what is
lost on the way there is told. A document in which nothing changes keeps its bytes, and so its digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from builder.errors import ImageError
from builder.image import descriptor as media
from builder.image.artifact import IMAGE_CONFIGS
from builder.image.blobs import Layer
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID, Digest
from builder.image.fields import Fields, to_bytes
from builder.image.manifest import Manifest, ManifestError
from builder.image.mutate import Format, layer_media_type
from builder.image.platform import Platform
from builder.values import dataclass, replace

_LAYERS = (
    media.FOREIGN_LAYERS
    | media.ZSTD_LAYERS
    | {media.OCI_LAYER, media.OCI_LAYER_GZIP, media.DOCKER_LAYER, media.DOCKER_LAYER_GZIP}
)


@dataclass(frozen=True, slots=True)
class NewImage:
    """What an image becomes. ``layers`` are those whose bytes are new; ``annotations`` None keeps what there is.

    ``diff_ids`` goes with ``descriptors``: all layers, bottom first.
    """

    raw_config: bytes
    descriptors: tuple[Descriptor, ...]
    diff_ids: tuple[DiffID, ...]
    layers: tuple[Layer, ...] = ()
    annotations: Mapping[str, str] | None = None
    platform: Platform | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """An index's entry: as it was parsed, as the JSON had it, and as it will be."""

    before: Descriptor
    value: dict[str, object]
    after: Descriptor


def pointing(descriptor: Descriptor, to: Descriptor) -> Descriptor:
    """Return ``descriptor`` leading to what ``to`` leads to; all else stays, but for a platform that ``to`` has."""
    return replace(
        descriptor,
        media_type=to.media_type,
        digest=to.digest,
        size=to.size,
        platform=to.platform or descriptor.platform,
    )


def format_of(media_type: str) -> Format:
    """Return the format that a manifest or index is in."""
    return "docker" if media_type.startswith("application/vnd.docker.") else "oci"


def write_manifest(raw: bytes, image_format: Format, new: NewImage) -> tuple[bytes, list[str]]:
    """Return the manifest ``raw`` as it has to be for ``new``, and what of it Docker's format cannot say.

    The same bytes, if that changes nothing. Raises ImageError for a layer that the format has no word for.
    """
    fields = Fields.parse(raw, "manifest")
    old = list(fields.children("layers"))
    layers = [
        _layer(descriptor, old[number] if number < len(old) else None, image_format)
        for number, descriptor in enumerate(new.descriptors)
    ]
    config = _config(fields.child("config"), new.raw_config, image_format)
    if image_format == "docker":
        made: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": media.DOCKER_MANIFEST,
            "config": {key: config[key] for key in ("mediaType", "digest", "size")},
            "layers": [{key: one[key] for key in _DOCKER_LAYER if key in one} for one in layers],
        }
        lost = _unknown(fields.value, tuple(made))
        lost += _unknown(config, _DOCKER_LAYER, "the config's ")
        for one in layers:
            lost += _unknown(one, _DOCKER_LAYER, "a layer's ")
        lost += ["annotations"] if new.annotations else []
    else:
        made, lost = {**fields.value, "mediaType": media.OCI_MANIFEST, "config": config, "layers": layers}, []
        if new.annotations is not None:
            made["annotations"] = dict(sorted(new.annotations.items()))
            made = {key: one for key, one in made.items() if key != "annotations" or one}
    return (to_bytes(_ordered(made)) if _differ(fields.value, made) else raw), list(dict.fromkeys(lost))


_DOCKER_LAYER = ("mediaType", "digest", "size", "urls")
_DOCKER_ENTRY = (*_DOCKER_LAYER, "platform")


def _layer(descriptor: Descriptor, old: Fields | None, image_format: Format) -> dict[str, object]:
    kind = layer_media_type(descriptor.media_type, image_format)
    if format_of(kind) != image_format:
        raise ImageError(f"a layer of type {kind} has no media type in the {image_format} format")
    if old is not None and old.value.get("digest") == descriptor.digest:
        return {**old.value, "mediaType": kind}
    return replace(descriptor, media_type=kind, platform=None).to_json()


def _config(old: Fields, raw: bytes, image_format: Format) -> dict[str, object]:
    made = {**old.value, "mediaType": config_type(image_format)}
    if old.value.get("digest") != Digest.of(raw):
        made.update(digest=str(Digest.of(raw)), size=len(raw))
        made.pop("data", None)  # the bytes themselves, embedded
    return made


def config_type(image_format: Format) -> str:
    """Return the media type of a config."""
    return media.DOCKER_CONFIG if image_format == "docker" else media.OCI_CONFIG


def write_index(
    raw: bytes, image_format: Format, entries: Sequence[Entry], annotations: Mapping[str, str]
) -> tuple[bytes, list[str]]:
    """Return the index ``raw`` with ``entries``, and what of it Docker's format cannot say.

    The same bytes, if that changes nothing. Raises ManifestError for an index within one in Docker's format.
    """
    fields = Fields.parse(raw, "index")
    if image_format == "docker":
        made, lost = _docker_index(fields.value, entries)
    else:
        made, lost = _oci_index(fields.value, entries, annotations), []
    return (to_bytes(made) if _differ(fields.value, made) else raw), list(dict.fromkeys(lost))


def _docker_index(value: Mapping[str, object], entries: Sequence[Entry]) -> tuple[dict[str, object], list[str]]:
    lost = _unknown(value, ("schemaVersion", "mediaType", "manifests"))
    for one in entries:
        if one.after.media_type in media.INDEXES:
            raise ManifestError("Docker's format has no index within an index")
        lost += _unknown(one.value, _DOCKER_ENTRY, "an entry's ")
    manifests = [{key: _entry(one)[key] for key in _DOCKER_ENTRY if key in _entry(one)} for one in entries]
    return {"schemaVersion": 2, "mediaType": media.DOCKER_INDEX, "manifests": manifests}, lost


def _oci_index(
    value: Mapping[str, object], entries: Sequence[Entry], annotations: Mapping[str, str]
) -> dict[str, object]:
    manifests = [_entry(one) for one in entries]
    made = {**value, "mediaType": media.OCI_INDEX, "manifests": manifests, "annotations": dict(annotations)}
    if not annotations and not value.get("annotations"):
        made = {key: one for key, one in made.items() if key != "annotations" or key in value}
    return _ordered(made)


def _entry(entry: Entry) -> dict[str, object]:
    """Return an entry as it was written, but for what changes; platforms keep the spelling they had."""
    after = entry.after
    made = {**entry.value, "mediaType": after.media_type, "digest": str(after.digest), "size": after.size}
    if after.annotations != entry.before.annotations:
        made["annotations"] = dict(after.annotations)
    if after.platform is not None and after.platform != entry.before.platform:
        made["platform"] = after.platform.to_json()
    if after.digest != entry.before.digest:
        made.pop("data", None)
    return made


def _differ(before: Mapping[str, object], after: Mapping[str, object]) -> bool:
    """Compare documents; a media type that only the transport told is no difference."""
    silent = "mediaType" not in before and str(after.get("mediaType", "")).startswith("application/vnd.oci.")
    return dict(before) != {key: one for key, one in after.items() if not (silent and key == "mediaType")}


def _ordered(value: Mapping[str, object]) -> dict[str, object]:
    first = {key: value[key] for key in ("schemaVersion", "mediaType") if key in value}
    return {**first, **value}


def _unknown(value: Mapping[str, object], known: Iterable[str], prefix: str = "") -> list[str]:
    return [f"{prefix}{key}" for key in value if key not in known and value[key] not in (None, {}, [], "")]


def is_image(manifest: Manifest) -> bool:
    """Say whether a manifest is an image's; attestations may have the config of one, but not the layers."""
    return manifest.config.media_type in IMAGE_CONFIGS and all(one.media_type in _LAYERS for one in manifest.layers)

"""What an image, an index or another artifact says of itself, as values for JSON in the shapes of Docker's commands.

``image_value`` is ``docker image inspect``'s object with a few fields more, ``verbose_value`` what ``docker manifest
inspect --verbose`` shows. Layers are never read: ``Size`` counts what is stored and sent, as Docker's containerd store
does. Configs come from strangers; what is in them is shown as it is, if it is of the right kind.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from builder.image import descriptor as media
from builder.image.artifact import IMAGE_CONFIGS, Artifact, Image
from builder.image.config import ImageConfig
from builder.image.descriptor import Descriptor
from builder.image.fields import Fields
from builder.image.manifest import Index, Manifest
from builder.image.platform import Platform
from builder.image.reference import Reference
from builder.values import dataclass, replace

_CONFIG_ALWAYS: Mapping[str, object] = {
    "User": "",
    "Env": None,
    "Cmd": None,
    "Volumes": None,
    "WorkingDir": "",
    "Entrypoint": None,
    "OnBuild": None,
    "Labels": None,
}
"""Fields of ``Config`` that Docker shows even when they are empty."""

_DOCUMENT_FIELDS = frozenset(
    ("schemaVersion", "mediaType", "artifactType", "subject", "config", "layers", "manifests", "annotations")
)
_NEVER = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Names:
    """The names an image is known under here, and those with its digest."""

    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()


def names_of(reference: Reference | None, artifact: Artifact) -> Names:
    """Return what a reference says about the name of what it led to."""
    if reference is None:
        return Names()
    tags = () if reference.tag is None else (Reference(reference.registry, reference.repository, reference.tag),)
    digested = Reference(reference.registry, reference.repository, None, artifact.digest)
    return Names(tuple(one.familiar for one in tags), (digested.familiar,))


def describe(artifact: Artifact, platform: Platform, names: Names) -> dict[str, object]:
    """Return the value of an image, of an index's image for ``platform``, or of what is no image.

    Raises PlatformNotFoundError, ManifestError.
    """
    parsed = artifact.parsed()
    if isinstance(parsed, Manifest) and not is_image(parsed):
        return artifact_value(artifact, parsed)
    if isinstance(parsed, Index) and not any(one.media_type in media.DOCUMENTS for one in parsed.manifests):
        return artifact_value(artifact, parsed)
    image = artifact.image(platform) if isinstance(parsed, Index) else artifact.image()
    return image_value(image, artifact, names)


def is_image(manifest: Manifest) -> bool:
    """Say whether a manifest's config is that of an image."""
    return manifest.config.media_type in IMAGE_CONFIGS


def image_value(image: Image, artifact: Artifact, names: Names) -> dict[str, object]:
    """Return an image as ``docker image inspect`` does; ``artifact`` is the index it was chosen from, or itself."""
    config, raw = image.config, Fields.parse(image.raw_config, "config").value
    given = raw.get("config")
    manifest = image.manifest
    value: dict[str, object] = {
        "Id": str(manifest.config.digest),
        "RepoTags": list(names.tags),
        "RepoDigests": list(names.digests),
        "Comment": config.history[-1].comment if config.history else "",
        "Created": config.created or _NEVER,
        "Author": config.author,
        "Config": config_value(given if isinstance(given, dict) else {}),
        "Architecture": str(raw.get("architecture") or ""),
        **_given(Variant=raw.get("variant")),
        "Os": str(raw.get("os") or ""),
        **_given(OsVersion=raw.get("os.version"), OsFeatures=raw.get("os.features")),
        "Size": image.descriptor.size + manifest.config.size + sum(one.size for one in manifest.layers),
        "RootFS": {"Type": "layers", "Layers": [str(one) for one in config.diff_ids]},
        "Descriptor": _as_sent(image.descriptor).to_json(),
        "Digest": str(image.digest),
        "MediaType": manifest.media_type,
        "Layers": [one.to_json() for one in manifest.layers],
        "Annotations": dict(manifest.annotations),
    }
    if artifact.digest != image.digest:
        value["Index"] = index_value(artifact)
    return value


def config_value(given: Mapping[str, object]) -> dict[str, object]:
    """Return ``Config``: the fields Docker always shows, then all others that the image has."""
    shown = {key: given.get(key, empty) for key, empty in _CONFIG_ALWAYS.items()}
    return {**shown, **{key: one for key, one in given.items() if key not in shown and one not in (None, "", False)}}


def index_value(artifact: Artifact) -> dict[str, object]:
    """Return what an index says."""
    parsed = artifact.parsed()
    manifests = parsed.manifests if isinstance(parsed, Index) else ()
    return {
        "Digest": str(artifact.digest),
        "MediaType": artifact.root.media_type,
        "Size": artifact.root.size,
        "Manifests": [one.to_json() for one in manifests],
        "Annotations": dict(parsed.annotations),
    }


def artifact_value(artifact: Artifact, parsed: Manifest | Index) -> dict[str, object]:
    """Return something that is no image: what it says it is, what it is about and what it holds."""
    fields = Fields.parse(artifact.raw, "manifest").value
    config = parsed.config if isinstance(parsed, Manifest) else None
    return {
        "Digest": str(artifact.digest),
        "MediaType": artifact.root.media_type,
        "ArtifactType": artifact_type(artifact.raw, config),
        "Size": artifact.root.size,
        **_given(Subject=fields.get("subject")),
        **({} if config is None else {"ConfigDescriptor": config.to_json()}),
        **({"Layers": [one.to_json() for one in parsed.layers]} if isinstance(parsed, Manifest) else {}),
        **({"Manifests": [one.to_json() for one in parsed.manifests]} if isinstance(parsed, Index) else {}),
        "Annotations": dict(parsed.annotations),
        **_given(Other={key: one for key, one in fields.items() if key not in _DOCUMENT_FIELDS}),
    }


def artifact_type(raw: bytes, config: Descriptor | None) -> str:
    """Return what a manifest says it is: its ``artifactType``, else its config's media type (OCI manifest.md)."""
    own = Fields.parse(raw, "manifest").value.get("artifactType")
    if isinstance(own, str) and own:
        return own
    return "" if config is None else config.media_type


def referrer_value(descriptor: Descriptor) -> dict[str, object]:
    """Return one entry of a referrers list (OCI distribution-spec, "Listing Referrers")."""
    kind = descriptor.extra.get("artifactType")
    return {
        "Digest": str(descriptor.digest),
        "MediaType": descriptor.media_type,
        "ArtifactType": kind if isinstance(kind, str) else "",
        "Size": descriptor.size,
        "Annotations": dict(descriptor.annotations),
    }


# --- docker manifest inspect


def verbose_value(reference: str, artifact: Artifact) -> dict[str, object] | list[dict[str, object]]:
    """Return ``docker manifest inspect --verbose``'s object for an image, or its list for an index."""
    parsed = artifact.parsed()
    if isinstance(parsed, Manifest):
        descriptor = descriptor_value(artifact.root, platform_value(artifact, parsed))
        return manifest_entry(reference, descriptor, artifact.raw)
    return [
        manifest_entry(
            f"{reference}@{one.digest}",
            descriptor_value(one, ordered_platform(written)),
            artifact.content.document(one),
        )
        for one, written in zip(parsed.manifests, written_platforms(artifact), strict=True)
        if one.media_type in media.MANIFESTS
    ]


def written_platforms(artifact: Artifact) -> list[Mapping[str, object] | None]:
    """Return the platform of each entry of an index as it is written, which may not be how we spell it."""
    entries = Fields.parse(artifact.raw, "index").children("manifests")
    found = [one.value.get("platform") for one in entries]
    return [one if isinstance(one, dict) else None for one in found]


def manifest_entry(reference: str, descriptor: Mapping[str, object], raw: bytes) -> dict[str, object]:
    """Return one manifest with the reference that leads to it."""
    kind = "SchemaV2Manifest" if descriptor["mediaType"] == media.DOCKER_MANIFEST else "OCIManifest"
    return {
        "Ref": reference,
        "Descriptor": dict(descriptor),
        "Raw": base64.b64encode(raw).decode(),
        kind: json.loads(raw),
    }


def descriptor_value(descriptor: Descriptor, platform: Mapping[str, object] | None) -> dict[str, object]:
    """Return a descriptor as Docker shows it, the platform last."""
    return {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
        **_given(urls=list(descriptor.urls), annotations=dict(descriptor.annotations)),
        **({} if platform is None else {"platform": dict(platform)}),
    }


_PLATFORM_ORDER = ("architecture", "os", "os.version", "os.features", "variant")


def ordered_platform(given: Mapping[str, object] | None) -> dict[str, object] | None:
    """Return a platform's fields in Docker's order, empty ones left out."""
    if given is None:
        return None
    return {key: given[key] for key in _PLATFORM_ORDER if given.get(key)}


def platform_value(artifact: Artifact, manifest: Manifest) -> dict[str, object] | None:
    """Return the platform that an image's config names, as it is written there; None for what is no image."""
    if not is_image(manifest):
        return None
    raw = artifact.content.document(manifest.config)
    ImageConfig.parse(raw)
    return ordered_platform(Fields.parse(raw, "config").value)


# --- shapes


def _as_sent(descriptor: Descriptor) -> Descriptor:
    return replace(descriptor, urls=(), extra={})


def _given(**fields: object) -> dict[str, object]:
    """Return the fields that say something."""
    return {name: value for name, value in fields.items() if value}

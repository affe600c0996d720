"""What a build made, as bytes: a manifest for each platform and an index over several, in the form an output asks for.

Platforms, formats, compression and annotations meet here; what the images are is decided before (assemble), and where
they go afterwards (outputs).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from builder.cache.keys import Key
from builder.cache.store import Store
from builder.engine.layers import LayerStack
from builder.engine.recompress import Before, shaped
from builder.engine.request import Form
from builder.image import descriptor as media
from builder.image.annotations import Annotation, annotations_for
from builder.image.artifact import Artifact, Parts
from builder.image.config import ImageConfig
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest
from builder.image.manifest import Index, Manifest, parse_manifest
from builder.image.mutate import Format, make_manifest
from builder.image.platform import Platform
from builder.image.validate import validate
from builder.values import dataclass, field, replace

BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"

INLINE = "pybuild.cache.v1"
"""The field of an image's config that says which results the image is made of (engine.inline)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """An image before it has bytes. ``inherited`` of its layers are the base's; ``asked`` is what --platform said.

    ``base`` is what annotations say of the base, empty where it has no name that others could look up. ``recorded`` is
    what an image without steps of its own is known by, and when it was first put together.
    """

    config: ImageConfig
    stack: LayerStack
    inherited: int
    asked: Platform
    base: Mapping[str, str] = field(default_factory=dict)
    recorded: tuple[Key, int] | None = None

    @property
    def described(self) -> Platform:
        """The platform an index says: what was asked for, and for Windows the version and features of the base."""
        own = self.config.platform
        if self.asked.os != "windows" or own.os != "windows":
            return self.asked
        return replace(
            self.asked,
            os_version=self.asked.os_version or own.os_version,
            os_features=self.asked.os_features or own.os_features,
        )


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """A complete image: the bytes that have its digest, and its layers, bottom first."""

    raw_manifest: bytes
    raw_config: bytes
    layers: LayerStack

    @property
    def manifest(self) -> Manifest:
        """The parsed manifest."""
        parsed = parse_manifest(self.raw_manifest)
        if not isinstance(parsed, Manifest):
            raise TypeError("a built image has one manifest")
        return parsed

    @property
    def digest(self) -> Digest:
        """The manifest's digest."""
        return Digest.of(self.raw_manifest)

    @property
    def image_id(self) -> Digest:
        """The config's digest."""
        return Digest.of(self.raw_config)

    @property
    def descriptor(self) -> Descriptor:
        """What points to the manifest."""
        return Descriptor(media_type=self.manifest.media_type, digest=self.digest, size=len(self.raw_manifest))

    def artifact(self) -> Artifact:
        """Return the image as writers and pushes take it."""
        return Artifact.of(self.parts(), self.raw_manifest)

    def parts(self) -> Parts:
        """Return what the image's digests lead to."""
        described = dict(zip(self.manifest.layers, self.layers, strict=True))
        return Parts(
            where="the image",
            documents={self.digest: self.raw_manifest, self.image_id: self.raw_config},
            layers={descriptor.digest: layer for descriptor, layer in described.items()},
            origins={one.digest: layer.origin for one, layer in described.items() if layer.origin is not None},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The result of a build in one form: one image, or an index of ``images`` for ``platforms``.

    ``descriptor`` points to its manifest or index, with the annotations that were asked for there.
    """

    images: tuple[BuiltImage, ...]
    platforms: tuple[Platform, ...]
    descriptor: Descriptor
    raw_index: bytes = field(default=b"", repr=False)

    @property
    def digest(self) -> Digest:
        """The digest of the index, or of the only image's manifest."""
        return self.descriptor.digest

    def artifact(self) -> Artifact:
        """Return it as writers and pushes take it."""
        if not self.raw_index:
            return replace(self.images[0].artifact(), root=self.descriptor)
        parts = [one.parts() for one in self.images]
        content = Parts(
            where="the image",
            documents={
                self.digest: self.raw_index,
                **{key: raw for one in parts for key, raw in one.documents.items()},
            },
            layers={key: layer for one in parts for key, layer in one.layers.items()},
            origins={key: origin for one in parts for key, origin in one.origins.items()},
        )
        return replace(Artifact.of(content, self.raw_index), root=self.descriptor)


def compose(
    contents: Sequence[Content],
    image_format: Format,
    form: Form,
    store: Store,
    *,
    several: bool = False,
    before: Before = lambda _: None,
) -> Built:
    """Return the images in ``form``, its annotations being all there are; ``several`` get an index, in their order.

    ``before`` is told of every layer whose compression has to be changed.

    Raises ImageError where the format cannot say it, and what changing the compression of layers raises.
    """
    images = [_image(one, image_format, form, store, before) for one in contents]
    platforms = tuple(one.described for one in contents)
    if not several:
        about = annotations_for(form.annotations, "manifest-descriptor", contents[0].asked)
        descriptor = replace(images[0].descriptor, platform=contents[0].config.platform, annotations=about)
        return Built(images=tuple(images), platforms=platforms, descriptor=descriptor)
    entries = [
        replace(
            image.descriptor,
            platform=content.described,
            annotations=annotations_for(form.annotations, "manifest-descriptor", content.asked),
        )
        for image, content in zip(images, contents, strict=True)
    ]
    index = Index(
        media_type=media.DOCKER_INDEX if image_format == "docker" else media.OCI_INDEX,
        manifests=tuple(entries),
        annotations={**_common_base(contents, image_format), **annotations_for(form.annotations, "index")},
    )
    raw = index.to_bytes()
    descriptor = Descriptor(
        media_type=index.media_type,
        digest=Digest.of(raw),
        size=len(raw),
        annotations=annotations_for(form.annotations, "index-descriptor"),
    )
    return Built(images=tuple(images), platforms=platforms, descriptor=descriptor, raw_index=raw)


def _image(content: Content, image_format: Format, form: Form, store: Store, before: Before) -> BuiltImage:
    stack = shaped(content.stack, content.inherited, form.compression, store, before)
    base = content.base if image_format == "oci" else {}
    annotations = {**base, **annotations_for(form.annotations, "manifest", content.asked)}
    layers = [layer.descriptor for layer in stack]
    raw_manifest, raw_config = make_manifest(content.config, layers, image_format, annotations)
    validate(raw_manifest, raw_config)
    return BuiltImage(raw_manifest, raw_config, stack)


def _common_base(contents: Sequence[Content], image_format: Format) -> Mapping[str, str]:
    """Return what the index says of the base: something where all its images say the same."""
    first = contents[0].base
    return first if image_format == "oci" and all(one.base == first for one in contents) else {}


def unmet(annotations: Sequence[Annotation], platforms: Sequence[Platform], *, several: bool) -> str:
    """Return what is wrong with ``annotations`` in a build for ``platforms``, or nothing; ``several`` have an index."""
    for one in annotations:
        if one.platform is not None and one.platform not in platforms:
            built = ", ".join(platform.full for platform in platforms)
            return f"the annotation {one.key} is for {one.platform.full}, and the build is for {built}"
        if one.target.startswith("index") and not several:
            return f"the annotation {one.key} is for an index, and a build for one platform has none"
    return ""

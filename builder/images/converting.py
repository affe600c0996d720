"""An artifact in the other format, or with its layers compressed otherwise: what ``pybuild convert`` does.

Configs keep their bytes and layers their tars, so image IDs and DiffIDs stay; what changes is media types, and with
them the digests of manifests and indexes. Layers are read only where their compression changes.
"""

from __future__ import annotations

from builder.engine.build import Environment
from builder.engine.recompress import coding_of, method_of, recompressed
from builder.engine.request import CompressionChoice
from builder.errors import InterruptedBuildError, UsageError
from builder.events import Notice
from builder.image.artifact import Artifact, ContentLayer, Image
from builder.image.blobs import Layer
from builder.image.descriptor import Descriptor
from builder.image.mutate import Format
from builder.images.documents import NewImage, format_of
from builder.images.rewriting import Rewriter, Rewritten
from builder.rootfs.coding import USUAL, Coding, Compression
from builder.values import dataclass


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for; None keeps what there is."""

    image_format: Format | None = None
    compression: CompressionChoice | None = None

    def check(self, image_format: Format | None = None) -> None:
        """Raise UsageError for zstd in Docker's format, of all images or of one."""
        zstd = self.compression is not None and self.compression.kind == "zstd"
        if zstd and (self.image_format or image_format) == "docker":
            raise UsageError(
                "Docker's image format knows no zstd layers", hint="convert with --format oci, or choose gzip"
            )


def convert(artifact: Artifact, wanted: Wanted, env: Environment) -> Rewritten:
    """Return ``artifact`` as ``wanted``; layers that change are made now, in the store.

    Without a compression layers keep theirs, but for zstd ones, which become gzip in Docker's format. Raises UsageError
    for zstd in Docker's format, ImageError for what that cannot say, and what reading layers raises.
    """

    def change(image: Image) -> NewImage:
        image_format = wanted.image_format or format_of(image.manifest.media_type)
        wanted.check(image_format)
        layers = [_converted(layer, wanted.compression, image_format, env) for layer in image.layers]
        return NewImage(
            raw_config=image.raw_config,
            descriptors=tuple(layer.descriptor for layer in layers),
            diff_ids=image.config.diff_ids,
            layers=tuple(layer for layer in layers if not isinstance(layer, ContentLayer)),
        )

    return Rewriter.run(artifact, change, wanted.image_format)


def _converted(layer: ContentLayer, choice: CompressionChoice | None, image_format: Format, env: Environment) -> Layer:
    coding = coding_for(layer.descriptor, choice, image_format)
    if coding is None:
        return layer

    def before(work: str) -> None:
        if env.cancel.is_set():
            raise InterruptedBuildError("interrupted before every layer was converted")
        env.reporter.emit(Notice(work))

    made = recompressed(layer, coding, env.store, before)
    return layer if made.descriptor.digest == layer.descriptor.digest else made


def coding_for(descriptor: Descriptor, choice: CompressionChoice | None, image_format: Format) -> Coding | None:
    """Return how a layer is to be written; None if it stays as it is.

    A layer that has the wanted compression already is written again only for a level, or if that is forced; one that
    may not be distributed never.
    """
    kind = method_of(descriptor.media_type)
    if kind is None:
        return None
    if choice is None:
        return USUAL if kind is Compression.ZSTD and image_format == "docker" else None
    coding = coding_of(choice)
    stays = kind is coding.compression and not coding.single and choice.level is None and not choice.force
    return None if stays else coding

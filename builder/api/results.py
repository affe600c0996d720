"""What a build tells when it is done: plain values, read from the image's own documents when somebody asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from builder.events import Event, Reporter, VertexCompleted, VertexFailed
from builder.values import dataclass, field

if TYPE_CHECKING:
    from builder.engine.build import Finished
    from builder.engine.explaining import Explanation
    from builder.image.descriptor import Descriptor
    from builder.image.digest import Digest
    from builder.image.platform import Platform
    from builder.image.reference import Reference
    from builder.images.listing import Listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step that was needed. ``cached``: nothing was executed; else ``reason`` says what was new, if that is known.

    ``layer`` and ``size`` are of the layer it added to its stage, as it was stored then; ``stage`` is the Dockerfile's.
    """

    name: str
    seconds: float
    cached: bool
    reason: str = ""
    stage: str = ""
    layer: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer as it is stored: ``digest`` and ``size`` are of the compressed bytes, ``diff_id`` is of the tar.

    ``created_by`` is what the image's history says of it, empty if it says nothing.
    """

    digest: Digest
    diff_id: Digest
    size: int
    media_type: str
    created_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """The image for one platform; ``raw_manifest`` and ``raw_config`` are the bytes that have its digests."""

    platform: Platform
    raw_manifest: bytes = field(repr=False)
    raw_config: bytes = field(repr=False)

    @property
    def digest(self) -> Digest:
        """The manifest's digest."""
        from builder.image.digest import Digest

        return Digest.of(self.raw_manifest)

    @property
    def image_id(self) -> Digest:
        """The config's digest, which Docker calls the image ID."""
        from builder.image.digest import Digest

        return Digest.of(self.raw_config)

    @property
    def config(self) -> Mapping[str, Any]:
        """The image's config: architecture, what runs in a container, history."""
        import json

        return dict(json.loads(self.raw_config))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, the lowest first."""
        import json

        from builder.image.config import ImageConfig
        from builder.image.digest import Digest

        config = ImageConfig.parse(self.raw_config)
        made_by = [one.created_by or "" for one in config.history if not one.empty_layer]
        made_by += [""] * (len(config.diff_ids) - len(made_by))
        manifest = json.loads(self.raw_manifest)
        return tuple(
            Layer(
                digest=Digest(one["digest"]),
                diff_id=diff_id,
                size=one["size"],
                media_type=one["mediaType"],
                created_by=text,
            )
            for one, diff_id, text in zip(manifest["layers"], config.diff_ids, made_by, strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """A finished build.

    ``descriptor`` points to the image, or to the index of ``images`` for several platforms (``is_index``). ``names``
    are those it is kept under in the store; ``bases`` are the locations and digests it was built from.
    """

    descriptor: Descriptor
    names: tuple[Reference, ...]
    images: tuple[BuiltImage, ...]
    is_index: bool
    bases: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...]
    seconds: float

    @property
    def digest(self) -> Digest:
        """The digest of the image's manifest, or of the index: what a registry knows it by."""
        return self.descriptor.digest

    @property
    def image_id(self) -> Digest:
        """The config's digest; several images have none in common, and the index's stands for it."""
        return self.digest if self.is_index else self.images[0].image_id


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """A name in the store. ``image_id`` is the config's digest, of an index its own; ``size`` is what is stored of it.

    ``created`` is in unix seconds, None if unknown; ``whole`` says whether all that the image needs is here.
    """

    name: Reference | None
    digest: Digest
    image_id: Digest
    created: int | None
    size: int
    labels: Mapping[str, str]
    platforms: tuple[str, ...]
    whole: bool


def told(finished: Finished, steps: tuple[Step, ...], seconds: float) -> BuildResult:
    """Return what is told of a build that the engine finished."""
    built = finished.built
    return BuildResult(
        descriptor=built.descriptor,
        names=finished.names,
        images=tuple(
            BuiltImage(platform=platform, raw_manifest=image.raw_manifest, raw_config=image.raw_config)
            for platform, image in zip(built.platforms, built.images, strict=True)
        ),
        is_index=bool(built.raw_index),
        bases=finished.bases,
        steps=steps,
        seconds=seconds,
    )


def stored(one: Listed) -> StoredImage:
    """Return what is told of a name in the store."""
    return StoredImage(
        name=one.name,
        digest=one.digest,
        image_id=one.identity,
        created=one.created,
        size=one.size,
        labels=one.labels,
        platforms=one.platforms,
        whole=one.whole,
    )


def expected(one: Explanation) -> Step:
    """Return what is told of a step that a build would have."""
    from builder.engine.explaining import reasons

    cached = one.cause == "hit"
    return Step(
        name=one.vertex.name, seconds=0.0, cached=cached, reason="; ".join(reasons(one)), stage=one.vertex.stage
    )


@dataclass(slots=True)
class Recorder:
    """Passes events on and remembers the steps; ``failed`` is the name of the one that ended the build.

    A build that begins anew, without a cache that was damaged, finds what it did before: each step is told once.
    """

    reporter: Reporter
    failed: str = ""
    _steps: dict[str, Step] = field(default_factory=dict)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps that are done, in the order in which they were."""
        return tuple(self._steps.values())

    def emit(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, VertexCompleted):
            if not (event.cached and event.vertex in self._steps):
                self._steps[event.vertex] = Step(
                    name=event.name,
                    seconds=event.seconds,
                    cached=event.cached,
                    reason=event.reason,
                    stage=event.stage,
                    layer=event.layer,
                    size=event.size,
                )
        elif isinstance(event, VertexFailed):
            self.failed = event.name
        self.reporter.emit(event)

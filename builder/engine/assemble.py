"""From a finished graph to an image: history completed, config and manifest written in one format, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from builder.cache.keys import key
from builder.cache.selectors import Selector
from builder.engine.handlers import Result
from builder.engine.layers import LayerStack, stack_id
from builder.engine.services import Services
from builder.engine.times import rfc3339
from builder.image.artifact import Artifact, Parts
from builder.image.config import History, ImageConfig
from builder.image.digest import Digest
from builder.image.manifest import Manifest, parse_manifest
from builder.image.mutate import Format, make_manifest
from builder.image.validate import validate
from builder.plan.graph import Plan, VertexID

_VERSION = 1


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


def assemble(
    plan: Plan,
    results: Mapping[VertexID, Result],
    services: Services,
    image_format: Format,
    annotations: Mapping[str, str],
) -> BuiltImage:
    """Return the image of ``plan``. Raises ImageError where the format cannot say it."""
    stack = () if plan.target is None else results[plan.target].stack
    config = ImageConfig(
        platform=plan.platform,
        config=plan.config,
        diff_ids=tuple(layer.diff_id for layer in stack),
        author=plan.author,
        extra=plan.base.config.extra if plan.base else {},
    )
    created = _created(plan, results, services, config, stack)
    history = _history(plan, results, created, services.times.epoch)
    latest = (history[-1].created if history else "") or rfc3339(created)
    config = replace(config, history=history, created=services.times.no_later(latest))
    raw_manifest, raw_config = make_manifest(config, [layer.descriptor for layer in stack], image_format, annotations)
    validate(raw_manifest, raw_config)
    return BuiltImage(raw_manifest, raw_config, stack)


def _created(
    plan: Plan, results: Mapping[VertexID, Result], services: Services, config: ImageConfig, stack: LayerStack
) -> int:
    """Return the image's own time: the epoch, else that of its last step, else when it was first put together.

    The last is recorded, so that a rebuild of an image without steps of its own has the same digest.
    """
    if services.times.epoch is not None:
        return services.times.epoch
    times = [results[step.vertex].created for step in plan.steps if step.vertex is not None]
    if times:
        return max(times)
    identity = key("image", _VERSION, (stack_id(stack), config.to_bytes(), tuple(repr(step) for step in plan.steps)))
    selectors = services.store.selectors
    if services.no_cache:
        selectors.forget(identity)
    return selectors.record(identity, Selector(None, services.times.fresh())).created


def _history(
    plan: Plan, results: Mapping[VertexID, Result], image_created: int, epoch: int | None
) -> tuple[History, ...]:
    """Complete the entries: when each was made, and whether it has a layer.

    What only changed the config takes the time of the layer before it.
    """
    history: list[History] = []
    latest: int | None = None
    pending = _first_created(plan, results, image_created)
    for step in plan.steps:
        if step.inherited:
            history.append(step.template)
            continue
        result = None if step.vertex is None else results[step.vertex]
        if result is not None:
            latest = result.created
        created = epoch if epoch is not None else pending if latest is None else latest
        history.append(replace(step.template, created=rfc3339(created), empty_layer=result is None or not result.added))
    return tuple(history)


def _first_created(plan: Plan, results: Mapping[VertexID, Result], image_created: int) -> int:
    return next((results[step.vertex].created for step in plan.steps if step.vertex is not None), image_created)

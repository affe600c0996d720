"""From a finished graph to an image: its config, with the history completed, and its layers."""

from __future__ import annotations

from collections.abc import Mapping

from builder.cache.keys import Key, key
from builder.cache.selectors import Selector
from builder.engine.built import BASE_DIGEST, BASE_NAME, INLINE, Content
from builder.engine.handlers import Result
from builder.engine.layers import LayerStack, stack_id
from builder.engine.services import Services
from builder.engine.times import rfc3339
from builder.image.config import History, ImageConfig
from builder.image.digest import Digest
from builder.image.reference import Reference
from builder.plan.graph import Plan, VertexID
from builder.values import replace

_VERSION = 1


def assemble(
    plan: Plan, results: Mapping[VertexID, Result], services: Services, base: tuple[Reference, Digest] | None
) -> Content:
    """Return the image of ``plan``, before it has bytes; ``base`` is what its base was pulled as, and resolved to."""
    stack = () if plan.target is None else results[plan.target].stack
    config = ImageConfig(
        platform=plan.platform,
        config=plan.config,
        diff_ids=tuple(layer.diff_id for layer in stack),
        author=plan.author,
        extra=_inherited(plan.base.config.extra) if plan.base else {},
    )
    created, recorded = _created(plan, results, services, config, stack)
    history = _history(plan, results, created, services.times.epoch)
    latest = (history[-1].created if history else "") or rfc3339(created)
    return Content(
        config=replace(config, history=history, created=services.times.no_later(latest)),
        stack=stack,
        inherited=len(plan.base.config.diff_ids) if plan.base else 0,
        asked=plan.asked,
        base={} if base is None else _base_annotations(*base),
        recorded=None if recorded is None else (recorded, created),
    )


def _inherited(extra: Mapping[str, object]) -> Mapping[str, object]:
    """Return what an image takes over of its base's unknown fields: not which results that was made of."""
    return {name: value for name, value in extra.items() if name != INLINE}


def _base_annotations(reference: Reference, digest: Digest) -> dict[str, str]:
    named = replace(reference, digest=None) if reference.tag else reference
    return {BASE_NAME: str(named), BASE_DIGEST: str(digest)}


def _created(
    plan: Plan, results: Mapping[VertexID, Result], services: Services, config: ImageConfig, stack: LayerStack
) -> tuple[int, Key | None]:
    """Return the image's own time: the epoch, else that of its last step, else when it was first put together.

    The last is recorded under the key, so that a rebuild of an image without steps of its own has the same digest.
    """
    if services.times.epoch is not None:
        return services.times.epoch, None
    times = [results[step.vertex].created for step in plan.steps if step.vertex is not None]
    if times:
        return max(times), None
    identity = key("image", _VERSION, (stack_id(stack), config.to_bytes(), tuple(repr(step) for step in plan.steps)))
    selectors = services.store.selectors
    if services.no_cache:
        selectors.forget(identity)
    elif services.imports is not None and selectors.find(identity) is None:
        shared = services.imports.find(identity, services.coding)
        if shared is not None:
            return shared.created, None
    return selectors.record(identity, Selector(None, services.times.fresh())).created, identity


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

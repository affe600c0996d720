"""Results in an image's own config: which keys its layers were made under, for builds that name the image as a cache.

They cost no documents and no tags of their own, but only say what the image itself is made of. Labels, history and the
rest of the config stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from builder.cache.exchange import KEY, Exchange, Record
from builder.cache.keys import Key
from builder.cache.store import Store
from builder.engine.built import INLINE, Content
from builder.engine.handlers import Task
from builder.errors import ImageError
from builder.image import descriptor as media
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID
from builder.image.fields import Fields
from builder.image.platform import Platform, PlatformNotFoundError
from builder.image.reference import Reference
from builder.plan.graph import CopyFiles, Plan, StageOrigin
from builder.values import replace

if TYPE_CHECKING:
    from builder.engine.solver import Solver
    from builder.events import Reporter
    from builder.registry.client import Registry

_LIMIT = 4096
_TYPES = {
    media.DOCKER_LAYER: media.OCI_LAYER,
    media.DOCKER_LAYER_GZIP: media.OCI_LAYER_GZIP,
    media.DOCKER_LAYER_ZSTD: media.OCI_LAYER_ZSTD,
}
_MADE = {media.OCI_LAYER: "none", media.OCI_LAYER_GZIP: "gzip", media.OCI_LAYER_ZSTD: "zstd"}


def inlined(content: Content, plan: Plan, solver: Solver) -> Content:
    """Return the image with a field that says what its own layers are the results of.

    The keys are by content only: they are the same wherever and however the stages were built that files come from. To
    know them, what is copied is looked at, even where a result was found without. Raises what that raises.
    """
    records: list[dict[str, object]] = []
    for step in plan.steps:
        if step.vertex is None:
            continue
        result, task = solver.results[step.vertex], solver.task(solver.vertices[step.vertex])
        place = len(result.stack) - 1 if result.added else None
        made = content.stack[place].compressor if place is not None else ""
        records += (
            {"key": one.key, "layer": place, "created": result.created, "compressor": made}
            for one in task.identities()[_by_identity(task) :]
        )
    if content.recorded is not None:
        identity, created = content.recorded
        records.append({"key": identity, "layer": None, "created": created, "compressor": ""})
    if not records:
        return content
    extra = {**content.config.extra, INLINE: {"version": 1, "records": records}}
    return replace(content, config=replace(content.config, extra=extra))


def _by_identity(task: Task) -> int:
    """Return how many of a task's keys depend on the identity of a stage."""
    operation = task.vertex.operation
    return int(isinstance(operation, CopyFiles) and isinstance(operation.origin, StageOrigin))


def read_inline(
    reference: Reference,
    platforms: Iterable[Platform],
    store: Store,
    registry: Callable[[], Registry],
    reporter: Reporter,
) -> Exchange:
    """Return what the images of a reference say of themselves. Raises RegistryError, ImageError."""
    from builder.registry.repository import remote_artifact

    artifact = remote_artifact(registry(), reference, store.blobs, reporter)
    records: list[Record] = []
    for platform in platforms:
        try:
            image = artifact.image(platform)
        except PlatformNotFoundError:
            continue
        extra = image.config.extra
        if INLINE not in extra:
            continue
        fields = Fields(extra[INLINE], f"config.{INLINE}")
        if fields.value.get("version") != 1:
            raise ImageError(f"{fields.path}.version: expected 1")
        layers = [(one.descriptor, one.diff_id) for one in image.layers]
        for number, one in enumerate(fields.children("records")):
            if number >= _LIMIT:
                raise ImageError(f"{fields.path}: more than {_LIMIT} records")
            records.append(_record(one, layers))
    return Exchange(records=tuple(records))


def _record(fields: Fields, layers: Sequence[tuple[Descriptor, DiffID]]) -> Record:
    key = fields.text("key")
    if not KEY.fullmatch(key):
        raise ImageError(f"{fields.path}.key: expected 64 hex digits")
    created = fields.number("created")
    plain = Record(keys=(Key(key),), diff_id=None, created=created, shared=created)
    if fields.value.get("layer") is None:
        return plain
    place = fields.number("layer")
    if place >= len(layers):
        raise ImageError(f"{fields.path}.layer: there are {len(layers)} layers")
    descriptor, diff_id = layers[place]
    kind = _TYPES.get(descriptor.media_type, descriptor.media_type)
    if kind not in _MADE:
        raise ImageError(f"{fields.path}.layer: {kind[:80]!r} is no layer of ours")
    made = fields.text("compressor")
    return replace(
        plain,
        diff_id=diff_id,
        layer=Descriptor(media_type=kind, digest=descriptor.digest, size=descriptor.size),
        # It may have been written in another form than it was made in.
        compressor=made if made.startswith(_MADE[kind]) else "",
    )

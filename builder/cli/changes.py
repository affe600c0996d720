"""What ``convert``, ``append`` and ``mutate`` did to an artifact: for people on stderr, for programs as JSON."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from builder.cli.answers import answer, answer_json
from builder.cli.human import human_size
from builder.cli.levels import add_compat
from builder.cli.parsing import Parser, add_json, add_quiet
from builder.cli.registries import add_push_options, add_registry_options
from builder.events import Notice, Warned

if TYPE_CHECKING:
    from builder.engine.build import Environment
    from builder.image.artifact import Artifact
    from builder.image.descriptor import Descriptor
    from builder.images.rewriting import Change, LayerChange, Rewritten


def add_target_options(parser: Parser) -> None:
    """Add what commands have that write an image somewhere."""
    add_compat(parser)
    add_push_options(parser)
    add_quiet(parser)
    add_json(parser)
    add_registry_options(parser)


def finish(
    options: argparse.Namespace, before: Artifact, done: Rewritten, env: Environment, to: Sequence[str] = ()
) -> int:
    """Deliver what came out ``to`` places (``options.destination``), tell what changed, and answer where it is."""
    from builder.images.deliver import deliver, goes_to_stdout

    for warning in done.warnings:
        env.reporter.emit(Warned(warning, "lost"))
    places = list(to) or [options.destination]
    # As people wrote it, as copy answers; what --tag and --repo mean is known by its name.
    names = [
        place if place == options.destination else name
        for place in places
        for name in (deliver(done.artifact, place, env, foreign=options.push_foreign),)
    ]
    streamed = any(goes_to_stdout(place) for place in places)
    if options.json and not streamed:
        answer_json(as_json(before, done, options.source, names))
        return 0
    for line in explained(before, done):
        env.reporter.emit(Notice(line))
    for name in () if streamed else names:
        answer(f"{name.partition('@')[0]}@{done.artifact.digest}")
    return 0


def explained(before: Artifact, done: Rewritten) -> Iterator[str]:
    """Yield what changed and why, as lines."""
    after = done.artifact
    if before.digest == after.digest:
        yield f"nothing changes: {after.digest}"
        return
    if before.digest not in {one.before.digest for one in done.changes}:
        why = _types(before.root.media_type, after.root.media_type) or "it names other manifests"
        yield f"index {before.digest} -> {after.digest}: {why}"
    for change in done.changes:
        yield from _image(change)


def _image(change: Change) -> Iterator[str]:
    if change.before.digest == change.after.digest:
        yield f"{change.platform}: the image stays {change.after.digest}"
        return
    yield f"{change.platform}: manifest {change.before.digest} -> {change.after.digest}: {'; '.join(_reasons(change))}"
    for number, layer in enumerate(change.layers, 1):
        yield f"  layer {number} of {len(change.layers)} {layer.diff_id}: {_layer(layer)}"
    same = change.config_before.digest == change.config_after.digest
    config = f"stays {change.config_after.digest}" if same else f"is {change.config_after.digest} now"
    yield f"  image ID {config}"


def _reasons(change: Change) -> list[str]:
    reasons = [_types(change.before.media_type, change.after.media_type)]
    if change.config_before.digest != change.config_after.digest:
        reasons.append("another config")
    added = sum(one.before is None for one in change.layers)
    packed = sum(one.before is not None and one.before.digest != one.after.digest for one in change.layers)
    if packed:
        reasons.append(f"{packed} of {len(change.layers)} layers recompressed")
    if added:
        reasons.append("1 layer added" if added == 1 else f"{added} layers added")
    return list(filter(None, reasons)) or ["other annotations"]


def _types(before: str, after: str) -> str:
    return "" if before == after else f"media type {before} -> {after}"


def _layer(layer: LayerChange) -> str:
    if layer.before is None:
        return f"new, {_form(layer.after)}"
    if layer.before.digest == layer.after.digest:
        return f"the same bytes, {_form(layer.after)}"
    return f"{_form(layer.before)} -> {_form(layer.after)}"


def _form(descriptor: Descriptor) -> str:
    kind = next((one for one in ("gzip", "zstd") if descriptor.media_type.endswith(one)), "uncompressed")
    return f"{kind} {human_size(descriptor.size)}"


def as_json(before: Artifact, done: Rewritten, source: str, destinations: Sequence[str]) -> dict[str, object]:
    """Return everything as a document."""
    return {
        "source": source,
        "destinations": list(destinations),
        "before": _pointer(before.root),
        "after": _pointer(done.artifact.root),
        "images": [
            {
                "platform": change.platform,
                "manifest": {"before": _pointer(change.before), "after": _pointer(change.after)},
                "config": {"before": _pointer(change.config_before), "after": _pointer(change.config_after)},
                "imageID": change.config_after.digest,
                "sameImageID": change.config_before.digest == change.config_after.digest,
                "layers": [
                    {
                        "diffID": layer.diff_id,
                        "before": None if layer.before is None else _pointer(layer.before),
                        "after": _pointer(layer.after),
                        "same": layer.before is not None and layer.before.digest == layer.after.digest,
                    }
                    for layer in change.layers
                ],
                "why": _reasons(change) if change.before.digest != change.after.digest else [],
            }
            for change in done.changes
        ],
        "warnings": list(done.warnings),
    }


def _pointer(descriptor: Descriptor) -> dict[str, object]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}

"""The end of a build in a few lines: its layers, which were found and which made, what took time, and where it went."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.human import counted, human_size
from builder.cli.reporters import printable
from builder.values import replace

if TYPE_CHECKING:
    from builder.api.results import BuildResult, BuiltImage, Step
    from builder.engine.request import BuildRequest, Output
    from builder.image.reference import Reference

_ROWS = 12
"""Layers that have a line each; of more, those that were found share one."""


def summary(
    request: BuildRequest,
    result: BuildResult,
    seconds: float,
    *,
    width: int | None = None,
    digest: bool = True,
    advice: bool = True,
) -> list[str]:
    """Return the lines; with the digest, and with the command that one is likely to want next.

    The lines of the table are cut where they would be longer than ``width``.
    """
    made = [step for step in result.steps if not step.cached]
    layers = [_layers(image) for image in result.images]
    table = _table(layers[0], result.steps) if made and len(layers) == 1 else []
    found = "all cached" if not made else f"{len(result.steps) - len(made)} cached"
    steps = f"{counted(len(result.steps), 'step', 'steps')}, {found}; " if result.steps else ""
    size = ", ".join(
        f"{f'{image.platform.full}: ' if len(layers) > 1 else ''}{counted(len(one), 'layer', 'layers')}, "
        f"{human_size(sum(one.values()))}"
        for image, one in zip(result.images, layers, strict=True)
    )
    next_one = _next(request, result) if advice else ""
    return [
        *(line if width is None or len(line) <= width else f"{line[: max(0, width - 3)]}..." for line in table),
        f"built in {seconds:.1f}s: {steps}{size}",
        *([f"digest {result.digest}"] if digest else []),
        *_places(request, result),
        *([f"next: {next_one}"] if next_one else []),
    ]


def _layers(image: BuiltImage) -> dict[str, int]:
    """Return the layers' digests and sizes; of two that are the same, one travels."""
    return {one["digest"]: one["size"] for one in json.loads(image.raw_manifest)["layers"]}


def _table(layers: dict[str, int], steps: Sequence[Step]) -> list[str]:
    by_layer = {step.layer: step for step in steps if step.layer}
    base = [size for digest, size in layers.items() if digest not in by_layer]
    ours = [(by_layer[digest], size) for digest, size in layers.items() if digest in by_layer]
    rows = [_row(sum(base), "base", "", counted(len(base), "layer", "layers"))] if base else []
    if len(ours) > _ROWS:
        found = [size for step, size in ours if step.cached]
        if found:
            rows.append(_row(sum(found), "cached", "", counted(len(found), "layer", "layers")))
        ours = [(step, size) for step, size in ours if not step.cached]
    for step, size in ours[:_ROWS]:
        rows.append(_row(size, *_how(step), step.name))
    if len(ours) > _ROWS:
        rest = ours[_ROWS:]
        rows.append(_row(sum(size for _, size in rest), "built", "", f"{len(rest)} more layers"))
    shown = {digest for digest in layers if digest in by_layer}
    others = [step for step in steps if not step.cached and step.layer not in shown]
    slowest = sorted(others, key=lambda step: -step.seconds)[:3]
    rows += [_row(None, *_how(step), step.name) for step in slowest]
    if len(others) > 3:
        rows.append(_row(None, "built", "", f"{counted(len(others) - 3, 'other step', 'other steps')}"))
    return [_row_of("layer", "", "time", "step"), *rows]


def _how(step: Step) -> tuple[str, str]:
    return ("cached", "") if step.cached else ("built", f"{step.seconds:.1f}s")


def _row(size: int | None, how: str, time: str, what: str) -> str:
    return _row_of("-" if size is None else human_size(size), how, time, what)


def _row_of(size: str, how: str, time: str, what: str) -> str:
    return f"{size:>7}  {how:6} {time:>7}  {printable(what)}".rstrip()


def _places(request: BuildRequest, result: BuildResult) -> list[str]:
    pushed = _pushed(request.outputs, request, result)
    found = [f"pushed to {_shown(name)}" for name in dict.fromkeys(pushed)]
    found += [f"wrote {printable(str(one.dest))} ({one.kind})" for one in request.outputs if isinstance(one.dest, Path)]
    if any(one.dest is not None and not isinstance(one.dest, Path) for one in request.outputs):
        found.append("wrote standard output")
    kept = ", ".join(_shown(name) for name in result.names if name not in pushed)
    if kept:
        found.append(f"in the store as {kept}")
    elif not found and all(one.dest is None for one in request.outputs):
        found.append("in the store without a name")
    return found


def _pushed(outputs: Sequence[Output], request: BuildRequest, result: BuildResult) -> list[Reference]:
    """Return where an image can be had from, of those without a tag by their digest, if it is the one that is told."""
    from builder.engine.request import pushed_names, reported

    told = reported(request)
    return [
        replace(name, digest=result.digest) if name.tag is None and one.form == told else name
        for one in outputs
        for name in pushed_names([one], request.tags)
    ]


def _shown(name: Reference) -> str:
    return name.familiar


def _next(request: BuildRequest, result: BuildResult) -> str:
    """Return the command that one is likely to want next, or nothing."""
    for output in request.outputs:
        if command := _after(output, request, result):
            return command
    if request.outputs:
        return ""
    if not result.names:
        return "add -t NAME to keep it under a name, or -o type=docker,dest=FILE for docker load"
    name = result.names[0]
    if name.familiar == str(name):
        return f"pybuild push {name}"
    return f"pybuild save {name.familiar} | docker load"


def _after(output: Output, request: BuildRequest, result: BuildResult) -> str:
    from shlex import quote

    if pushed := _pushed([output], request, result):
        return f"docker run --rm {pushed[0].familiar}"
    if isinstance(output.dest, Path) and output.kind == "docker":
        return f"docker load -i {printable(quote(str(output.dest)))}"
    return ""

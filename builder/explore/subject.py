"""An image to be looked at: what its manifest and config say, its layers as they were read, and its Dockerfile's lines.

What is said here comes from strangers and is passed on as it is; whoever shows it must take it for text.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from builder.dockerfile.instructions import Dockerfile
from builder.explore.lines import Line, match
from builder.explore.reading import Stack, read_stack
from builder.image.artifact import Image
from builder.image.mutate import repaired_history
from builder.values import dataclass, field


@dataclass(frozen=True, slots=True)
class Recipe:
    """A Dockerfile that is said to have made an image, and which of its stages did."""

    dockerfile: Dockerfile
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """One image. ``name`` is what it was asked for by."""

    name: str
    image: Image
    stack: Stack = field(repr=False)
    recipe: Recipe | None = None

    def facts(self) -> dict[str, object]:
        """Return all that is known but for the files."""
        image, config = self.image, self.image.config
        raw = json.loads(image.raw_config)
        history, steps = self._history()
        return {
            "name": self.name,
            "digest": str(image.digest),
            "id": str(image.manifest.config.digest),
            "mediaType": image.media_type,
            "platform": str(config.platform),
            "created": config.created,
            "author": config.author,
            "size": sum(one.size for one in image.manifest.layers),
            "config": raw.get("config") or {},
            "annotations": dict(image.manifest.annotations),
            "history": history,
            "layers": [
                {
                    "digest": str(layer.descriptor.digest),
                    "diffId": str(layer.diff_id),
                    "mediaType": layer.descriptor.media_type,
                    "size": layer.descriptor.size,
                    "uncompressed": size,
                    "step": step,
                }
                for layer, size, step in zip(image.layers, self.stack.sizes, steps, strict=True)
            ],
            "dockerfile": None if self.recipe is None else self.recipe.dockerfile.source.name,
        }

    @property
    def commands(self) -> tuple[str, ...]:
        """What made each layer, as the history says it."""
        entries = repaired_history(self.image.config.history, len(self.image.layers))
        return tuple(one.created_by or one.comment for one in entries if not one.empty_layer)

    def _history(self) -> tuple[list[dict[str, object]], list[int]]:
        """Return the steps, the oldest first, and the step of each layer."""
        layers = len(self.image.layers)
        entries = repaired_history(self.image.config.history, layers)
        lines: tuple[Line | None, ...] = (None,) * len(entries)
        if self.recipe is not None:
            lines = match(entries, self.recipe.dockerfile, self.recipe.target)
        steps: list[int] = []
        shown: list[dict[str, object]] = []
        for number, (entry, line) in enumerate(zip(entries, lines, strict=True)):
            layer = None
            if not entry.empty_layer:
                layer = len(steps)
                steps.append(number)
            shown.append(
                {
                    "createdBy": entry.created_by,
                    "created": entry.created,
                    "comment": entry.comment,
                    "author": entry.author,
                    "layer": layer,
                    "line": None if line is None else [line.first, line.last, line.text],
                }
            )
        return shown, steps


def read_subject(name: str, image: Image, recipe: Recipe | None, scratch: Path, check: Callable[[], None]) -> Subject:
    """Read an image's layers; ``check`` raises to stop.

    Raises LayerFormatError, UnsafePathError, DigestMismatchError, DockerfileError for a target that is not there, and
    what opening the layers raises.
    """
    if recipe is not None:
        match((), recipe.dockerfile, recipe.target)
    return Subject(name, image, read_stack(image.layers, scratch, check), recipe)

"""Images of tests as the push takes them: layers in memory, and for each where it is known to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from builder.events import Reporter
from builder.image.artifact import Artifact, Parts
from builder.image.digest import Digest
from builder.image.reference import Reference
from builder.registry.client import Registry
from builder.registry.push import push_artifact


@dataclass(frozen=True, kw_only=True)
class PushedImage:
    """What is to be pushed. ``origins`` has, per layer, a reference into a repository that holds it, or None."""

    raw_manifest: bytes
    media_type: str
    raw_config: bytes
    layers: tuple[Any, ...]
    origins: tuple[Reference | None, ...] = ()

    @property
    def artifact(self) -> Artifact:
        """The image with its content."""
        documents = {Digest.of(raw): raw for raw in (self.raw_manifest, self.raw_config)}
        layers = {one.descriptor.digest: one for one in self.layers}
        origins = {
            one.descriptor.digest: origin
            for one, origin in zip(self.layers, self.origins or (None,) * len(self.layers), strict=True)
            if origin is not None
        }
        content = Parts(where="the test", documents=documents, layers=layers, origins=origins)
        return Artifact.of(content, self.raw_manifest)


def push_image(
    registry: Registry, references: Sequence[Reference], image: PushedImage, reporter: Reporter, **options: Any
) -> Digest:
    """Push an image of a test."""
    return push_artifact(registry, references, image.artifact, reporter, **options)

"""Annotations and what they are put on: manifests, indexes, and the descriptors that point to either."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from builder.image.platform import Platform
from builder.values import dataclass

Target = Literal["manifest", "manifest-descriptor", "index", "index-descriptor"]

TARGETS: tuple[Target, ...] = ("manifest", "manifest-descriptor", "index", "index-descriptor")


@dataclass(frozen=True, slots=True)
class Annotation:
    """One ``key`` and ``value`` for a target; with a ``platform``, for that one's manifest or descriptor only."""

    key: str
    value: str
    target: Target = "manifest"
    platform: Platform | None = None


def annotations_for(
    annotations: Iterable[Annotation], target: Target, platform: Platform | None = None
) -> dict[str, str]:
    """Return what is put on a target: those for every platform, then those for ``platform``; later ones win."""
    meant = [one for one in annotations if one.target == target]
    general = {one.key: one.value for one in meant if one.platform is None}
    return general | {one.key: one.value for one in meant if platform is not None and one.platform == platform}

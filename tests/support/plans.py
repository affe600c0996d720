"""Plans of small Dockerfiles, made without any file, registry or clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from builder.dockerfile.parser import parse
from builder.image.config import ContainerConfig, History, ImageConfig
from builder.image.digest import DiffID, Digest
from builder.image.platform import Platform
from builder.image.reference import Reference
from builder.plan.graph import Base, CopyFiles, ImageSource, MakeDirectory, Plan, RunCommand
from builder.plan.lower import lower
from builder.plan.references import PlanOptions, base_references

LINUX = Platform.parse("linux/amd64")


@dataclass(frozen=True)
class Planned:
    """A plan with short ways to what tests ask for."""

    plan: Plan
    asked: tuple[str, ...]

    @property
    def config(self) -> ContainerConfig:
        return self.plan.config

    @property
    def history(self) -> list[str]:
        """What our own instructions wrote."""
        return [step.template.created_by for step in self.plan.steps if not step.inherited]

    def operations(self, kind: type) -> list[Any]:
        return [one.operation for one in self.plan.vertices.values() if isinstance(one.operation, kind)]

    @property
    def run(self) -> RunCommand:
        (found,) = self.operations(RunCommand)
        assert isinstance(found, RunCommand)
        return found

    @property
    def copy(self) -> CopyFiles:
        (found,) = self.operations(CopyFiles)
        assert isinstance(found, CopyFiles)
        return found

    @property
    def directories(self) -> list[tuple[str, str]]:
        return [(one.path, one.user) for one in self.operations(MakeDirectory)]

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.plan.vertices.values()]


Images = Mapping[str, ContainerConfig | ImageConfig]


def base(config: ContainerConfig | ImageConfig, platform: Platform = LINUX) -> Base:
    if isinstance(config, ContainerConfig):
        diff_id = DiffID(Digest.of(repr(config).encode()))
        history = (History(created="2020-01-01T00:00:00Z", created_by="base"),)
        config = ImageConfig(platform=platform, config=config, diff_ids=(diff_id,), history=history)
    return Base(config, Digest.of(config.to_bytes()))


def plan(text: str, images: Images | None = None, **options: Any) -> Planned:
    """Plan a Dockerfile; ``images`` are the only ones that exist, under the names FROM gives them."""
    chosen = PlanOptions(**{"platform": LINUX, "build_platform": LINUX, **options})
    dockerfile = parse(text.encode("utf-8", "surrogateescape"))
    there = {
        f"docker-image://{Reference.parse(name)}" if "://" not in name else name: one
        for name, one in (images or {}).items()
    }
    known: dict[ImageSource, Base] = {}
    asked: list[str] = []
    while needed := base_references(dockerfile, chosen, known):
        for source in sorted(needed, key=lambda one: one.location):
            asked.append(source.location)
            known[source] = base(there[source.location], source.platform)
    return Planned(lower(dockerfile, chosen, known), tuple(asked))

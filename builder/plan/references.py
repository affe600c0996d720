"""What the names in FROM, ``COPY --from`` and mounts mean: a stage, a context or an image; and which images are needed.

Rules: dockerfile.md 1.6 and 1.13 (8, 9), semantics 17. Nothing is fetched here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from builder.dockerfile import instructions as df
from builder.dockerfile.mounts import mount_from
from builder.dockerfile.parser import parse_trigger
from builder.dockerfile.source import Span
from builder.dockerfile.suggest import nearest
from builder.errors import ImageError, UsageError
from builder.image.platform import Platform
from builder.image.reference import Reference
from builder.plan.graph import Base, ImageSource
from builder.plan.metadata import Expander
from builder.plan.scope import Scope, platform_args

_IMAGE_SCHEMES = ("docker-image://", "oci-layout://", "docker-archive:")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What the caller of a build chooses. ``contexts`` maps names to ``DIR``, a URL or an image location."""

    platform: Platform
    build_platform: Platform
    target: str | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)
    network: str = "default"


@dataclass(frozen=True, slots=True)
class ToStage:
    """A stage of the same Dockerfile."""

    index: int


@dataclass(frozen=True, slots=True)
class ToContext:
    """A named context that holds files."""

    name: str


@dataclass(frozen=True, slots=True)
class ToImage:
    """An image, to be resolved by the engine."""

    source: ImageSource


@dataclass(frozen=True, slots=True)
class ToScratch:
    """Nothing at all."""


Meaning = ToStage | ToContext | ToImage | ToScratch


class Names:
    """The names of one Dockerfile under the options of one build."""

    def __init__(self, dockerfile: df.Dockerfile, options: PlanOptions) -> None:
        self.dockerfile = dockerfile
        self.options = options
        self.expand = Expander(dockerfile.source)
        self._contexts = {name.lower(): name for name in options.contexts}
        self.target = self._target_index()
        self.globals = self._global_args()

    def _target_index(self) -> int:
        stages = self.dockerfile.stages
        wanted = self.options.target
        if not wanted:
            return len(stages) - 1
        found = [stage.index for stage in stages if stage.name == wanted.lower()]
        if found:
            return found[-1]
        close = nearest(wanted.lower(), [stage.name for stage in stages if stage.name])
        hint = f"did you mean {close}?" if close else None
        raise UsageError(f'target stage "{wanted}" could not be found in {self.dockerfile.source.name}', hint=hint)

    def _global_args(self) -> Scope:
        options, stage = self.options, self.dockerfile.stages[self.target]
        name = options.target or stage.name or "default"
        automatic = platform_args(options.build_platform, options.platform, name)
        scope = Scope()
        for key, value in automatic.items():
            scope = scope.with_arg(key, options.build_args.get(key, value))
        for instruction in self.dockerfile.global_args:
            for one in instruction.declarations:
                given = options.build_args.get(one.name)
                if given is None and one.default is not None:
                    given = self.expand.one(one.default, scope, instruction.span)
                scope = scope.with_arg(one.name, scope.values.get(one.name) if given is None else given)
        return scope

    def platform_of(self, stage: df.Stage) -> Platform:
        """Return the platform a stage is for."""
        word = stage.from_.platform
        if word is None:
            return self.options.platform
        text = self.expand.one(word, self.globals, stage.from_.span)
        if not text:
            raise self.expand.fail(f"empty platform value from expression {word.text}", stage.from_.span)
        try:
            return Platform.parse(text)
        except UsageError as error:
            raise self.expand.fail(error.message, stage.from_.span, error.hint) from error

    def base_of(self, stage: df.Stage) -> Meaning:
        """Say what FROM names."""
        span, platform = stage.from_.span, self.platform_of(stage)
        if stage.name and (own := self._context(stage.name, platform, span)) is not None:
            return own
        name = self.expand.one(stage.from_.image, self.globals, span)
        if not name:
            raise self.expand.fail(
                f"base name ({stage.from_.image.text}) should not be blank",
                span,
                "give the ARG before FROM a default, or pass --build-arg",
            )
        earlier = [one.index for one in self.dockerfile.stages[: stage.index] if one.name == name.lower()]
        if earlier:
            return self._context(name, platform, span) or ToStage(earlier[-1])
        return self._elsewhere(name, platform, span)

    def source_of(self, name: str, stage: df.Stage, span: Span) -> Meaning:
        """Say what ``--from=name`` inside ``stage`` names; a number is a stage's index."""
        stages = self.dockerfile.stages
        if name.isascii() and name.isdigit():
            if int(name) >= stage.index:
                raise self.expand.fail(
                    f"invalid stage index {name}: stage {stage.display} can only use earlier stages, 0 to "
                    f"{stage.index - 1}"
                    if stage.index
                    else f"invalid stage index {name}: no stage comes before {stage.display}",
                    span,
                )
            return ToStage(int(name))
        found = [one.index for one in stages if one.name == name.lower()]
        earlier = [index for index in found if index < stage.index]
        if earlier:
            target = stages[earlier[-1]]
            return self._context(name, self.platform_of(target), span) or ToStage(target.index)
        if found:
            raise self.expand.fail(
                f'cannot copy from stage "{name}", it needs to be defined before current stage "{stage.display}"', span
            )
        return self._elsewhere(name, self.platform_of(stage), span)

    def _context(self, name: str, platform: Platform, span: Span) -> Meaning | None:
        given = self._contexts.get(name.lower())
        if given is None:
            given = next((one for one in self.options.contexts if _same_image(one, name)), None)
        if given is None:
            return None
        location = self.options.contexts[given]
        if location == "docker-image://scratch":
            return ToScratch()
        if location.startswith(_IMAGE_SCHEMES):
            return ToImage(self._image(location, platform, span))
        return ToContext(given)

    def _elsewhere(self, name: str, platform: Platform, span: Span) -> Meaning:
        meaning = self._context(name, platform, span)
        if meaning is not None:
            return meaning
        if name == "scratch":
            return ToScratch()
        return ToImage(self._image(f"docker-image://{name}", platform, span))

    def _image(self, location: str, platform: Platform, span: Span) -> ImageSource:
        if location.startswith("docker-image://"):
            try:
                location = f"docker-image://{Reference.parse(location.removeprefix('docker-image://'))}"
            except ImageError as error:
                names = [one.name for one in self.dockerfile.stages if one.name]
                close = nearest(location.removeprefix("docker-image://").lower(), names)
                hint = f"did you mean the stage {close}?" if close else error.hint
                raise self.expand.fail(error.message, span, hint) from error
        return ImageSource(location, platform)


def _same_image(context: str, name: str) -> bool:
    try:
        return Reference.parse(context) == Reference.parse(name)
    except ImageError:
        return False


def triggers(names: Names, stage: df.Stage, bases: Mapping[ImageSource, Base]) -> tuple[df.StageInstruction, ...]:
    """Return the ONBUILD triggers that run right after ``stage``'s FROM, as far as they are known.

    Their spans are the FROM's, so that errors show a line of this Dockerfile.
    """
    match names.base_of(stage):
        case ToStage(index):
            texts = tuple(
                one.trigger for one in names.dockerfile.stages[index].instructions if isinstance(one, df.Onbuild)
            )
        case ToImage(source) if source in bases:
            texts = bases[source].config.config.onbuild
        case _:
            texts = ()
    parsed = (parse_trigger(text, escape=names.dockerfile.escape) for text in texts)
    return tuple(replace(one, span=stage.from_.span) for one in parsed)


def _uses(names: Names, stage: df.Stage, bases: Mapping[ImageSource, Base]) -> Iterator[Meaning]:
    yield names.base_of(stage)
    for one in (*triggers(names, stage, bases), *stage.instructions):
        if isinstance(one, df.Copy) and one.from_stage is not None:
            yield names.source_of(one.from_stage, stage, one.span)
        elif isinstance(one, df.Run):
            for mount in one.mounts:
                if origin := mount_from(mount):
                    yield names.source_of(origin, stage, one.span)


def base_references(
    dockerfile: df.Dockerfile, options: PlanOptions, known: Mapping[ImageSource, Base]
) -> frozenset[ImageSource]:
    """Return the images a build needs and ``known`` lacks: of reachable stages only.

    Ask again with their configs until nothing new is named: ONBUILD triggers of a base may name more.
    Raises DockerfileError and UsageError.
    """
    names = Names(dockerfile, options)
    waiting, seen = [names.target], {names.target}
    needed: set[ImageSource] = set()
    while waiting:
        for meaning in _uses(names, dockerfile.stages[waiting.pop()], known):
            if isinstance(meaning, ToImage):
                needed.add(meaning.source)
            elif isinstance(meaning, ToStage) and meaning.index not in seen:
                seen.add(meaning.index)
                waiting.append(meaning.index)
    return frozenset(needed - known.keys())

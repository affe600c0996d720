"""What the names in FROM, ``COPY --from`` and mounts mean: a stage, a context or an image; and which images are needed.

Rules: dockerfile.md 1.6 and 1.13 (8, 9), semantics 17. Nothing is fetched here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from builder.dockerfile import instructions as df
from builder.dockerfile import stages
from builder.dockerfile.source import Span
from builder.errors import ImageError, UsageError
from builder.image.platform import Platform
from builder.image.reference import Reference
from builder.plan.graph import Base, ImageSource
from builder.plan.metadata import Expander
from builder.plan.scope import platform_args
from builder.values import dataclass, field, replace

_IMAGE_SCHEMES = ("docker-image://", "oci-layout://", "docker-archive:")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What the caller of a build chooses. ``contexts`` maps names to ``DIR``, a URL or an image location.

    ``several``: the build is for other platforms, too, so that names of vertices say which one they are for.
    ``hosts`` are (name, address), ``ulimits`` (name, soft, hard), ``shm_size`` is bytes or 0 for the usual; ``allow``
    holds what RUN is granted beyond the usual: ``security.insecure``, ``network.host``. ``fresh_stages`` are names or
    numbers of stages whose steps are executed whatever is recorded.
    """

    platform: Platform
    build_platform: Platform
    several: bool = False
    target: str | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, str] = field(default_factory=dict)
    network: str = "default"
    hosts: tuple[tuple[str, str], ...] = ()
    ulimits: tuple[tuple[str, int, int], ...] = ()
    shm_size: int = 0
    allow: frozenset[str] = frozenset()
    fresh_stages: tuple[str, ...] = ()


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
        self.target = stages.find_target(dockerfile, options.target).index
        self.fresh = frozenset(number for one in options.fresh_stages for number in stages.numbers_of(dockerfile, one))
        automatic = platform_args(
            options.build_platform, options.platform, stages.target_stage_name(dockerfile, options.target)
        )
        self.globals = stages.global_scope(dockerfile, automatic, options.build_args)

    def platform_of(self, stage: df.Stage) -> Platform:
        """Return the platform a stage is for."""
        text = stages.platform_name(self.dockerfile, stage, self.globals)
        if text is None:
            return self.options.platform
        try:
            return Platform.parse(text)
        except UsageError as error:
            raise self.expand.fail(error.message, stage.from_.span, error.hint) from error

    def base_of(self, stage: df.Stage) -> Meaning:
        """Say what FROM names."""
        span = stage.from_.span
        if (own := self.replacement_of(stage)) is not None:
            return own
        platform = self.platform_of(stage)
        name = stages.base_name(self.dockerfile, stage, self.globals)
        earlier = stages.resolve_base(self.dockerfile, stage, name)
        if earlier is not None:
            return self._context(name, platform, span) or ToStage(earlier.index)
        return self._elsewhere(name, platform, span)

    def replacement_of(self, stage: df.Stage) -> Meaning | None:
        """Return the named context that stands for a whole stage, with all its instructions; None for no such."""
        if not stage.name:
            return None
        return self._context(stage.name, self.platform_of(stage), stage.from_.span)

    def source_of(self, name: str, stage: df.Stage, span: Span, what: str = "COPY --from") -> Meaning:
        """Say what ``--from=name`` inside ``stage`` names; a number is a stage's index."""
        # Of thousands of digits, Python makes no number.
        if name.isascii() and name.isdigit() and (len(name) > 9 or int(name) >= len(self.dockerfile.stages)):
            message = f"invalid stage index {name}: there are {len(self.dockerfile.stages)} stages"
            raise self.expand.fail(message, span, at=f"--from={name}")
        found = stages.resolve_from(self.dockerfile, stage, name, what=what, span=span)
        if found is not None:
            return self._context(name, self.platform_of(found), span) or ToStage(found.index)
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
            return ToImage(self._image(location, platform, span, named=True))
        return ToContext(given)

    def _elsewhere(self, name: str, platform: Platform, span: Span) -> Meaning:
        meaning = self._context(name, platform, span)
        if meaning is not None:
            return meaning
        if name == "scratch":
            return ToScratch()
        return ToImage(self._image(f"docker-image://{name}", platform, span))

    def _image(self, location: str, platform: Platform, span: Span, *, named: bool = False) -> ImageSource:
        from builder.dockerfile.suggest import nearest

        if location.startswith("docker-image://"):
            try:
                location = f"docker-image://{Reference.parse(location.removeprefix('docker-image://'))}"
            except ImageError as error:
                names = [one.name for one in self.dockerfile.stages if one.name]
                close = nearest(location.removeprefix("docker-image://").lower(), names)
                hint = f"did you mean the stage {close}?" if close else error.hint
                raise self.expand.fail(error.message, span, hint) from error
        return ImageSource(location, platform, named)


def _same_image(context: str, name: str) -> bool:
    try:
        return Reference.parse(context) == Reference.parse(name)
    except ImageError:
        return False


def triggers(names: Names, stage: df.Stage, bases: Mapping[ImageSource, Base]) -> tuple[df.StageInstruction, ...]:
    """Return the ONBUILD triggers that run right after ``stage``'s FROM, as far as they are known.

    Their spans are the FROM's, so that errors show a line of this Dockerfile.
    """
    if names.replacement_of(stage) is not None:
        return ()
    match names.base_of(stage):
        case ToStage(index):
            texts = tuple(
                one.trigger for one in names.dockerfile.stages[index].instructions if isinstance(one, df.Onbuild)
            )
        case ToImage(source) if source in bases:
            texts = bases[source].config.config.onbuild
        case _:
            texts = ()
    if not texts:
        return ()
    from builder.dockerfile.parser import parse_trigger  # a Dockerfile known from the store needs no parser

    parsed = (parse_trigger(text, escape=names.dockerfile.escape) for text in texts)
    return tuple(replace(one, span=stage.from_.span) for one in parsed)


def instructions_of(
    names: Names, stage: df.Stage, bases: Mapping[ImageSource, Base]
) -> tuple[df.StageInstruction, ...]:
    """Return what ``stage`` executes: triggers first; nothing where a named context replaces it."""
    return () if names.replacement_of(stage) is not None else (*triggers(names, stage, bases), *stage.instructions)


def uses(names: Names, stage: df.Stage, bases: Mapping[ImageSource, Base]) -> Iterator[tuple[Meaning, Span]]:
    """Yield what ``stage`` is made from and takes files from, and where, as far as ``bases`` tell its triggers."""
    yield names.base_of(stage), stage.from_.span
    for one in instructions_of(names, stage, bases):
        for use in stages.references(one):
            yield names.source_of(use.name, stage, use.span, use.what), use.span


def base_references(
    dockerfile: df.Dockerfile, options: PlanOptions, known: Mapping[ImageSource, Base]
) -> Mapping[ImageSource, Span]:
    """Return the images a build needs and ``known`` lacks, and where each is named: of reachable stages only.

    Ask again with their configs until nothing new is named: ONBUILD triggers of a base may name more.
    Raises DockerfileError and UsageError.
    """
    needed: dict[ImageSource, Span] = {}
    for meaning, span in _all_uses(Names(dockerfile, options), known):
        if isinstance(meaning, ToImage) and meaning.source not in known:
            needed.setdefault(meaning.source, span)
    return needed


def needed_stages(names: Names, bases: Mapping[ImageSource, Base]) -> list[df.Stage]:
    """Return the target and the stages it needs, as far as ``bases`` tell, in the order of the file."""
    indexes = {names.target, *(one.index for one, _ in _all_uses(names, bases) if isinstance(one, ToStage))}
    return [names.dockerfile.stages[index] for index in sorted(indexes)]


def _all_uses(names: Names, bases: Mapping[ImageSource, Base]) -> Iterator[tuple[Meaning, Span]]:
    """Yield what the target's stage and all stages it needs use."""
    waiting, seen = [names.target], {names.target}
    while waiting:
        for meaning, span in uses(names, names.dockerfile.stages[waiting.pop()], bases):
            if isinstance(meaning, ToStage) and meaning.index not in seen:
                seen.add(meaning.index)
                waiting.append(meaning.index)
            yield meaning, span

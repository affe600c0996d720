"""The build checks of a running build: what the text, the bases' configs and the copied files tell (dockerfile.md 2).

Findings are warnings. With ``# check=error=true`` any of them ends the build before it starts; then the files that
COPY and ADD take are looked at first, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from builder.context.gomatch import has_wildcard
from builder.dockerfile import lint_context
from builder.dockerfile.directives import CheckOptions
from builder.dockerfile.instructions import Arg, Dockerfile, Stage
from builder.dockerfile.lint import check_options, lint, wanted
from builder.dockerfile.rules import Finding
from builder.dockerfile.source import DockerfileError, Span
from builder.engine.contexts import Contexts
from builder.engine.selecting import Selection, places, select
from builder.errors import ContextError
from builder.events import Reporter, Warned
from builder.image.platform import Platform
from builder.plan.graph import Base, ContextOrigin, CopyFiles, CopySource, ImageSource, LocalPath, Plan
from builder.plan.references import Names, PlanOptions, ToImage, needed_stages, triggers
from builder.plan.scope import platform_args
from builder.values import dataclass, field

CHECK_ARGUMENT = "BUILDKIT_DOCKERFILE_CHECK"
"""The build argument that takes the place of ``# check=``."""


@dataclass(slots=True)
class Checks:
    """The findings of one build, each told once. Steps call ``copied`` from their threads."""

    dockerfile: Dockerfile
    options: CheckOptions
    reporter: Reporter
    found: dict[Finding, None] = field(default_factory=dict)

    @classmethod
    def of(cls, dockerfile: Dockerfile, build_args: Mapping[str, str], reporter: Reporter) -> Checks:
        """Return the checks that the Dockerfile and the build arguments ask for. Raises DockerfileError."""
        return cls(dockerfile, check_options(dockerfile, build_args.get(CHECK_ARGUMENT)), reporter)

    def tell(self, findings: Iterable[Finding]) -> None:
        """Take findings, and warn of those that are new and wanted."""
        for one in wanted(self.dockerfile, findings, self.options):
            if one not in self.found:
                self.found[one] = None
                self.reporter.emit(Warned(str(one), one.rule.name))

    def copied(self, operation: CopyFiles, selections: Sequence[Selection], span: Span | None) -> None:
        """Look at what a source of COPY or ADD takes from the context."""
        if not isinstance(operation.origin, ContextOrigin) or span is None:
            return
        finding = lint_context.sensitive_files(operation.instruction, places(selections), span)
        if finding is not None:
            self.tell([finding])

    def matched_nothing(self, operation: CopyFiles, span: Span | None) -> None:
        """Look at a COPY or ADD of which no source is there: a wildcard beside files that are may match nothing."""
        if isinstance(operation.origin, ContextOrigin) and span is not None:
            paths = [one.path for one in operation.sources if isinstance(one, LocalPath)]
            self.tell(lint_context.unmatched_wildcard(path, span) for path in paths if has_wildcard(path))

    def copies(self, plan: Plan, contexts: Contexts) -> None:
        """Look at what every COPY and ADD of a plan would take; what cannot be read is for the build to say."""
        for vertex in plan.vertices.values():
            operation = vertex.operation
            if not isinstance(operation, CopyFiles) or not isinstance(operation.origin, ContextOrigin):
                continue
            taken = [self._takes(operation, source, contexts, vertex.span) for source in operation.sources]
            if not any(taken):
                self.matched_nothing(operation, vertex.span)

    def _takes(self, operation: CopyFiles, source: CopySource, contexts: Contexts, span: Span | None) -> bool:
        """Look at a source, and say whether it takes anything, or cannot be read."""
        if not isinstance(source, LocalPath) or not isinstance(operation.origin, ContextOrigin):
            return True
        try:
            tree = contexts.get(operation.origin.name).tree
            found = select(tree, source.path, parents=operation.parents, exclude=operation.exclude)
        except ContextError:
            return True
        self.copied(operation, found, span)
        return bool(found)

    def enforce(self) -> None:
        """Raise DockerfileError if there are findings and the Dockerfile wants none."""
        if self.options.error and self.found:
            names = ", ".join(dict.fromkeys(one.rule.name for one in self.found))
            raise DockerfileError(
                f"lint violation found for rules: {names}",
                source=self.dockerfile.source,
                span=next(iter(self.found)).span,
                hint="mend them, or skip them with # check=skip=RULE",
            )


def text_findings(
    dockerfile: Dockerfile,
    options: PlanOptions,
    bases: Mapping[ImageSource, Base] | None,
    ignored: Callable[[str], bool] | None,
    *,
    every_stage: bool,
) -> tuple[Finding, ...]:
    """Return what the text tells, with what is known of the base images; of the stages that the target needs, or all.

    ``bases`` is None when they could not be looked at. Nothing is skipped yet. Raises DockerfileError for names that
    cannot be.
    """
    names = Names(dockerfile, options)
    unknown, bases = bases is None, bases or {}
    stages = dockerfile.stages if every_stage else needed_stages(names, bases)
    platforms = platform_args(options.build_platform, options.platform, options.target or "default")
    known = list(_known_bases(names, stages, bases))
    mismatched = [
        lint_context.base_platform(_shown(source), source.platform.full, base.config.platform.full, stage.from_.span)
        for stage, source, base in known
        if base.config.platform.os and _machine(base.config.platform) != _machine(source.platform)
    ]
    found = lint(
        dockerfile,
        stages=[stage.index for stage in stages],
        options=CheckOptions(experimental=("all",)),
        automatic=platforms,
        build_args=options.build_args,
        base_env={stage.index: base.config.config.environment() for stage, _, base in known},
        ignored=ignored,
        base_args=None if unknown else [*_inherited_args(names, known, bases)],
    )
    return (*found, *mismatched)


def _machine(platform: Platform) -> tuple[str, str]:
    return platform.os, platform.architecture


def _known_bases(
    names: Names, stages: Sequence[Stage], bases: Mapping[ImageSource, Base]
) -> Iterator[tuple[Stage, ImageSource, Base]]:
    for stage in stages:
        meaning = names.base_of(stage)
        if isinstance(meaning, ToImage) and meaning.source in bases:
            yield stage, meaning.source, bases[meaning.source]


def _inherited_args(
    names: Names, known: Iterable[tuple[Stage, ImageSource, Base]], bases: Mapping[ImageSource, Base]
) -> Iterator[str]:
    for stage, _, _ in known:
        for one in triggers(names, stage, bases):
            if isinstance(one, Arg):
                yield from (declared.name for declared in one.declarations)


def _shown(source: ImageSource) -> str:
    return source.location.removeprefix("docker-image://").removeprefix("docker.io/library/")

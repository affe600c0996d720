"""What a Dockerfile offers: its targets, and what a target can be given (``--call targets`` and ``--call outline``).

Nothing is fetched: images contribute neither variables nor ONBUILD triggers. Names and shapes are those of BuildKit's
subrequests, so that tools that read them read ours.
"""

from __future__ import annotations

from collections.abc import Iterable

from builder.dockerfile import instructions as df
from builder.dockerfile.expansion import variables
from builder.dockerfile.mounts import resolve_mount
from builder.dockerfile.source import DockerfileError, Span
from builder.dockerfile.text import SPACE
from builder.dockerfile.word import Word
from builder.plan.references import Names, PlanOptions, ToStage, needed_stages
from builder.plan.scope import Scope
from builder.values import dataclass, field


@dataclass(frozen=True, slots=True)
class Target:
    """A stage one can build. ``base`` and ``platform`` are as written."""

    name: str
    description: str
    base: str
    platform: str
    default: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Argument:
    """An ARG that counts for a target; ``value`` is what it has now, empty for none."""

    name: str
    description: str
    value: str
    span: Span


@dataclass(frozen=True, slots=True)
class Need:
    """A secret or an ssh agent that a RUN asks for, or a cache it uses."""

    name: str
    required: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Outline:
    """What a target takes from outside, each name once, in the order of the file."""

    name: str
    description: str
    args: tuple[Argument, ...]
    secrets: tuple[Need, ...]
    ssh: tuple[Need, ...]
    caches: tuple[Need, ...]


def targets(dockerfile: df.Dockerfile) -> tuple[Target, ...]:
    """Return the stages in the order of the file; the last one is the default."""
    last = len(dockerfile.stages) - 1
    return tuple(
        Target(
            name=stage.name or "",
            description=_described(stage.from_, stage.name),
            base=stage.from_.image.text,
            platform=stage.from_.platform.text if stage.from_.platform else "",
            default=stage.index == last,
            span=stage.from_.span,
        )
        for stage in dockerfile.stages
    )


def outline(dockerfile: df.Dockerfile, options: PlanOptions) -> Outline:
    """Return what the options' target and the stages it needs take from outside. Raises DockerfileError, UsageError."""
    names = Names(dockerfile, options)
    walk = _Walk(names)
    for stage in needed_stages(names, {}):
        walk.stage(stage)
    target = dockerfile.stages[names.target]
    return Outline(
        name=target.name or "",
        description=_described(target.from_, target.name),
        args=(*walk.global_args(), *walk.args.values()),
        secrets=tuple(walk.needs["secret"].values()),
        ssh=tuple(walk.needs["ssh"].values()),
        caches=tuple(walk.needs["cache"].values()),
    )


def _described(one: df.From | df.Arg, name: str | None) -> str:
    return description(one.written.comments, name) if name else ""


def description(comments: Iterable[str], name: str) -> str:
    """Return the text of the first comment that begins with ``name`` and a blank, without both; or nothing."""
    for comment in comments:
        head, blank, rest = comment.partition(" ")
        if blank and head == name:
            return rest.strip(SPACE)
    return ""


@dataclass(slots=True)
class _Walk:
    names: Names
    scopes: dict[int, Scope] = field(default_factory=dict)
    args: dict[str, Argument] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    needs: dict[str, dict[str, Need]] = field(default_factory=lambda: {"secret": {}, "ssh": {}, "cache": {}})

    def stage(self, stage: df.Stage) -> None:
        """Follow the variables through one stage; the stages it is based on come before it."""
        for word in (stage.from_.image, stage.from_.platform):
            self.used |= variables(word) if word else set()
        base = self.names.base_of(stage)
        scope = self.scopes.get(base.index, Scope()) if isinstance(base, ToStage) else Scope()
        for one in () if self.names.replacement_of(stage) is not None else stage.instructions:
            scope = self._instruction(scope, one)
        self.scopes[stage.index] = scope

    def _instruction(self, scope: Scope, one: df.StageInstruction) -> Scope:
        match one:
            case df.Arg():
                return self._arg(scope, one)
            case df.Env():
                pairs = {
                    self._word(key, scope, one.span): self._word(value, scope, one.span) for key, value in one.pairs
                }
                return scope.with_env(pairs)
            case df.Run():
                for flag in one.mounts:
                    self._mount(scope, flag, one.span)
        return scope

    def _word(self, word: Word, scope: Scope, span: Span) -> str:
        return self.names.expand.one(word, scope, span)

    def _arg(self, scope: Scope, one: df.Arg) -> Scope:
        for declared in one.declarations:
            value = self.names.options.build_args.get(declared.name)
            if value is None and declared.default is not None:
                value = self._word(declared.default, scope, one.span)
            if value is None:
                value = self.names.globals.env.get(declared.name)
                self.used.add(declared.name)
            if declared.name not in self.names.globals.declared:
                known = Argument(declared.name, _described(one, declared.name), value or "", one.span)
                self.args.setdefault(declared.name, known)
            scope = scope.with_arg(declared.name, value)
        return scope

    def _mount(self, scope: Scope, flag: df.MountFlag, span: Span) -> None:
        try:
            mount = resolve_mount(flag, scope.variables())
        except DockerfileError as error:
            raise error.located(self.names.dockerfile.source, span) from error
        if mount.kind in self.needs:
            name = mount.id or mount.target
            known = self.needs[mount.kind].setdefault(name, Need(name, mount.required, span))
            if mount.required and not known.required:
                self.needs[mount.kind][name] = Need(name, required=True, span=known.span)

    def global_args(self) -> Iterable[Argument]:
        """Yield the global ARGs that the stages or each other's defaults use."""
        shown: dict[str, Argument] = {}
        used = set(self.used)
        for one in reversed(self.names.dockerfile.global_args):
            for declared in reversed(one.declarations):
                if declared.name not in used:
                    continue
                if declared.default is not None:
                    used |= variables(declared.default)
                value = self.names.globals.env.get(declared.name) or ""
                shown.setdefault(
                    declared.name, Argument(declared.name, _described(one, declared.name), value, one.span)
                )
        return reversed(shown.values())

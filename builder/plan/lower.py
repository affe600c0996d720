"""From instructions and base configs to the graph: the one place that walks a Dockerfile's stages.

Pure. Stages the target does not need are never looked at. Errors carry the instruction's place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from builder.dockerfile import instructions as df
from builder.dockerfile.source import Span
from builder.errors import UsageError
from builder.image.config import ContainerConfig
from builder.image.digest import DiffID
from builder.image.mutate import repaired_history
from builder.image.platform import Platform
from builder.plan.copies import add_operation, copy_operation, history_text, join_path, without_credentials
from builder.plan.graph import (
    Base,
    BaseImage,
    ContextOrigin,
    CopyFiles,
    ImageSource,
    LocalPath,
    MakeDirectory,
    Mount,
    NothingOrigin,
    Operation,
    Origin,
    Plan,
    StageOrigin,
    Step,
    Vertex,
    VertexID,
    vertex_id,
)
from builder.plan.metadata import StageState, apply_config, set_env
from builder.plan.references import (
    Names,
    PlanOptions,
    ToContext,
    ToImage,
    ToScratch,
    ToStage,
    instructions_of,
    triggers,
    uses,
)
from builder.plan.runs import resolve_mount, run_history, run_operation
from builder.plan.scope import DEFAULT_PATH, Scope
from builder.values import dataclass, field, replace

_COUNTED = (df.Run, df.Copy, df.Add, df.Workdir)


def lower(dockerfile: df.Dockerfile, options: PlanOptions, bases: Mapping[ImageSource, Base]) -> Plan:
    """Return the plan for the options' target; ``bases`` must know every image of ``base_references``.

    Raises DockerfileError and UsageError.
    """
    names = Names(dockerfile, options)
    work = _Lowering(names, bases)
    state = work.stage(names.target)
    config = replace(state.config, labels={**state.config.labels, **options.labels})
    named = state.base.config.platform if state.base else state.platform
    platform = named if named.os and named.architecture else state.platform
    return Plan(
        vertices=work.reachable(state.top),
        target=state.top,
        platform=platform,
        asked=options.platform,
        config=config,
        author=state.author,
        base=state.base,
        base_source=state.base_source,
        steps=state.steps,
    )


@dataclass(slots=True)
class _Progress:
    """Counts the steps of one stage, for names like ``[build 3/7] RUN make``, or ``[linux/arm64 build 3/7] RUN make``.

    ``several``: names say which platform they are for.
    """

    stage: str
    total: int
    several: bool
    done: int = 0

    def name(self, text: str, platform: Platform, scope: Scope) -> str:
        self.done += 1
        where = platform.full + _compiled_for(platform, scope) if self.several else ""
        return f"[{' '.join(filter(None, (where, self.stage, f'{self.done}/{self.total}')))}] {text}"


def _compiled_for(platform: Platform, scope: Scope) -> str:
    """Return ``->arm64`` where the variables of a stage say that it works for another platform than its own."""
    values = scope.values
    try:
        if "TARGETPLATFORM" in values:
            target = Platform.parse(values["TARGETPLATFORM"])
        else:
            system, machine, variant = (values.get(f"TARGET{part}", "") for part in ("OS", "ARCH", "VARIANT"))
            variant = variant if machine else platform.variant
            target = Platform.normalised(system or platform.os, machine or platform.architecture, variant)
    except UsageError:
        return ""
    if target.os != platform.os:
        return f"->{target}"
    if target.architecture != platform.architecture:
        return "->" + "/".join(filter(None, (target.architecture, target.variant)))
    return ""


@dataclass(slots=True)
class _Lowering:
    names: Names
    bases: Mapping[ImageSource, Base]
    vertices: dict[VertexID, Vertex] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    stages: dict[int, StageState] = field(default_factory=dict)

    def stage(self, index: int) -> StageState:
        """Return the final state of a stage, walking it at most once."""
        # Stages only refer to earlier ones, so this ends; recursion depth is bounded by walking needs in order.
        waiting = [index]
        while waiting:
            missing = [one for one in self._needs(waiting[-1]) if one not in self.stages]
            if missing:
                waiting.append(missing[-1])
                continue
            current = waiting.pop()
            if current not in self.stages:
                self.stages[current] = self._walk(self.names.dockerfile.stages[current])
        return self.stages[index]

    def _needs(self, index: int) -> list[int]:
        stage = self.names.dockerfile.stages[index]
        return [one.index for one, _ in uses(self.names, stage, self.bases) if isinstance(one, ToStage)]

    def _walk(self, stage: df.Stage) -> StageState:
        inherited = triggers(self.names, stage, self.bases)
        instructions = instructions_of(self.names, stage, self.bases)
        alone = len(self.names.dockerfile.stages) == 1 and stage.name is None
        total = 1 + sum(isinstance(one, _COUNTED) for one in instructions)
        progress = _Progress("" if alone else stage.display, total, self.names.options.several)
        state = self._start(stage, progress)
        for number, one in enumerate(instructions):
            prefix = "ONBUILD " if number < len(inherited) else ""
            state = self._instruction(state, stage, one, progress, prefix)
        return state

    def _start(self, stage: df.Stage, progress: _Progress) -> StageState:
        platform, span = self.names.platform_of(stage), stage.from_.span
        label = progress.name(stage.from_.raw, platform, Scope())
        match self.names.base_of(stage):
            case ToStage(index):
                parent = self.stages[index]
                config = replace(parent.config, onbuild=())
                return replace(parent, config=config, cmd_set=False)
            case ToScratch():
                config = ContainerConfig(working_dir="/")
                return _with_default_path(StageState(platform=platform, config=config))
            case ToContext(name):
                copy = CopyFiles(sources=(LocalPath("/"),), origin=ContextOrigin(name), dest="/")
                state = StageState(platform=platform, config=ContainerConfig(working_dir="/"))
                top = self._vertex(copy, None, (), label, span, stage)
                return _with_default_path(state).with_step(f"FROM {name}", top)
            case ToImage(source):
                return self._from_image(source, label, span, stage)
            case other:
                assert_never(other)

    def _from_image(self, source: ImageSource, label: str, span: Span, stage: df.Stage) -> StageState:
        base = self.bases[source]
        config = replace(base.config.config, onbuild=())
        history = repaired_history(base.config.history, len(base.config.diff_ids))
        top = self._image_vertex(source, label, span, stage)
        return _with_default_path(
            StageState(
                platform=source.platform,
                top=top,
                config=config,
                author=base.config.author,
                scope=Scope(values=config.environment()),
                steps=tuple(Step(one, None, inherited=True) for one in history),
                base=base,
                base_source=source,
            )
        )

    def _image_vertex(self, source: ImageSource, label: str, span: Span, stage: df.Stage) -> VertexID | None:
        diff_ids: tuple[DiffID, ...] = self.bases[source].config.diff_ids
        return self._vertex(BaseImage(source, diff_ids), None, (), label, span, stage) if diff_ids else None

    def _vertex(
        self,
        operation: Operation,
        parent: VertexID | None,
        sources: tuple[VertexID, ...],
        name: str,
        span: Span,
        stage: df.Stage,
    ) -> VertexID:
        key = vertex_id(operation, parent, sources)
        ordinal = self.counts[stage.index] = self.counts.get(stage.index, 0) + 1
        fresh = stage.index in self.names.fresh
        known = self.vertices.get(key)
        if known is None:
            self.vertices[key] = Vertex(
                id=key,
                operation=operation,
                parent=parent,
                sources=sources,
                name=name,
                span=span,
                stage=stage.display,
                ordinal=ordinal,
                fresh=fresh,
            )
        elif fresh:
            self.vertices[key] = replace(known, fresh=True)
        return key

    def _instruction(
        self, state: StageState, stage: df.Stage, one: df.StageInstruction, progress: _Progress, prefix: str
    ) -> StageState:
        expand = self.names.expand

        def name(text: str) -> str:
            return progress.name(prefix + text, state.platform, state.scope)

        match one:
            case df.Arg():
                return self._arg(state, one)
            case df.Workdir():
                path = join_path(state.config.working_dir, expand.one(one.path, state.scope, one.span))
                return self._workdir(state, stage, path, name(one.raw), one.span)
            case df.Copy():
                origin, sources = self._origin(stage, one.from_stage, one.span)
                operation = copy_operation(state, one, origin, expand)
                return self._copy(state, stage, one, operation, sources, name(one.raw))
            case df.Add():
                operation = add_operation(state, one, expand)
                return self._copy(state, stage, one, operation, (), name(without_credentials(one.raw)))
            case df.Run():
                return self._run(state, stage, one, name(one.raw))
            case _:
                return apply_config(state, one, expand)

    def _arg(self, state: StageState, one: df.Arg) -> StageState:
        shown = []
        for declared in one.declarations:
            value = self.names.options.build_args.get(declared.name)
            if value is None and declared.default is not None:
                value = self.names.expand.one(declared.default, state.scope, one.span)
            if value is None:
                value = self.names.globals.env.get(declared.name)
            state = replace(state, scope=state.scope.with_arg(declared.name, value))
            shown.append(declared.name if value is None else f"{declared.name}={value}")
        return state.with_step(" ".join(["ARG", *shown]))

    def _workdir(self, state: StageState, stage: df.Stage, path: str, name: str, span: Span) -> StageState:
        user = state.config.user
        state = replace(state, config=replace(state.config, working_dir=path))
        if path == "/":
            return state.with_step(f"WORKDIR {path}")
        operation = MakeDirectory(path, user)
        return state.with_step(f"WORKDIR {path}", self._vertex(operation, state.top, (), name, span, stage))

    def _copy(
        self,
        state: StageState,
        stage: df.Stage,
        one: df.Copy | df.Add,
        operation: CopyFiles,
        extra: tuple[VertexID, ...],
        name: str,
    ) -> StageState:
        dest = self.names.expand.one(one.dest, state.scope, one.span)
        vertex = self._vertex(operation, state.top, extra, name, one.span, stage)
        return state.with_step(history_text(operation, dest), vertex)

    def _origin(
        self, stage: df.Stage, name: str | None, span: Span, *, taken: int = 0
    ) -> tuple[Origin, tuple[VertexID, ...]]:
        """Return where files come from and the source that adds to the vertex, which has ``taken`` already."""
        if name is None:
            return ContextOrigin(), ()
        match self.names.source_of(name, stage, span):
            case ToContext(context):
                return ContextOrigin(context), ()
            case ToScratch():
                return NothingOrigin(), ()
            case ToStage(index):
                top = self.stages[index].top
            case ToImage(source):
                top = self._image_vertex(source, f"FROM {name}", span, stage)
            case other:
                assert_never(other)
        return (NothingOrigin(), ()) if top is None else (StageOrigin(taken), (top,))

    def _run(self, state: StageState, stage: df.Stage, one: df.Run, name: str) -> StageState:
        extra: tuple[VertexID, ...] = ()
        mounts: list[Mount] = []
        for flag in one.mounts:
            from builder.dockerfile.mounts import mount_from

            mount = resolve_mount(state, one, flag, self.names, sum(each.kind == "ssh" for each in mounts))
            origin: Origin = NothingOrigin()
            added: tuple[VertexID, ...] = ()
            from_name = mount_from(flag)
            if from_name or mount.kind == "bind":
                origin, added = self._origin(stage, from_name, one.span, taken=len(extra))
            if isinstance(origin, ContextOrigin):
                added = (self._context_tree(origin, mount, one, stage),)
                origin = StageOrigin(len(extra))
            elif mount.kind == "cache" and isinstance(origin, StageOrigin):
                added = (self._seed(mount, added, one, stage),)
            mounts.append(replace(mount, origin=origin))
            extra += added
        operation = run_operation(state, one, tuple(mounts), self.names)
        vertex = self._vertex(operation, state.top, extra, name, one.span, stage)
        return state.with_step(run_history(operation, state.scope), vertex)

    def _context_tree(self, origin: ContextOrigin, mount: Mount, one: df.Run, stage: df.Stage) -> VertexID:
        """Make what a mount shows of a context a tree of its own: ignored files stay out, contents decide its key."""
        dest = "/" if mount.kind == "cache" else join_path("/", mount.source)
        copy = CopyFiles(sources=(LocalPath(mount.source),), origin=origin, dest=dest)
        return self._vertex(copy, None, (), f"[internal] bind {mount.source} for {mount.target}", one.span, stage)

    def _seed(self, mount: Mount, source: tuple[VertexID, ...], one: df.Run, stage: df.Stage) -> VertexID:
        """Make what a new cache starts with a tree of its own: a layer with nothing below it."""
        copy = CopyFiles(sources=(LocalPath(mount.source),), origin=StageOrigin(0), dest="/")
        return self._vertex(copy, None, source, f"[internal] files of the cache {mount.id}", one.span, stage)

    def reachable(self, top: VertexID | None) -> dict[VertexID, Vertex]:
        """Return the vertices ``top`` needs, inputs before users."""
        needed = set() if top is None else {top}
        for key in reversed(list(self.vertices)):
            if key in needed:
                needed.update(self.vertices[key].inputs)
        return {key: vertex for key, vertex in self.vertices.items() if key in needed}


def _with_default_path(state: StageState) -> StageState:
    if state.platform.os == "windows" or "PATH" in state.config.environment():
        return state
    values = {"PATH": DEFAULT_PATH}
    return replace(state, config=set_env(state.config, values), scope=state.scope.with_env(values))

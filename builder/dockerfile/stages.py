"""Which stage does a name mean (dockerfile.md 1.5, 1.6; semantics 17, 40).

Names are case-insensitive. Everything that is not a stage is left to the caller as a name: an image, or a named
context, which the caller looks up first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from builder.dockerfile.expansion import evaluate
from builder.dockerfile.instructions import Arg, Copy, Dockerfile, Run, Stage, StageInstruction
from builder.dockerfile.source import DockerfileError, Span
from builder.patterns import pattern
from builder.values import dataclass

_INDEX: Final = pattern(r"[0-9]{1,6}\Z", re.ASCII)

AUTOMATIC_ARGS: Final = (
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDOSVERSION",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETOSVERSION",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
)
PROXY_ARGS: Final = tuple(
    name
    for upper in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (upper, upper.lower())
)
BUILT_IN_ARGS: Final = (
    "BUILDKIT_BUILD_NAME",
    "BUILDKIT_CACHE_MOUNT_NS",
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_DOCKERFILE_CHECK",
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_MULTI_PLATFORM",
    "BUILDKIT_SANDBOX_HOSTNAME",
    "BUILDKIT_SBOM_SCAN_CONTEXT",
    "BUILDKIT_SBOM_SCAN_STAGE",
    "BUILDKIT_SYNTAX",
    "SOURCE_DATE_EPOCH",
)


@dataclass(frozen=True, slots=True)
class GlobalScope:
    """The arguments before the first FROM. ``env`` holds every one, None for one without a value.

    ``declared`` are the names that ARG instructions mention, in order.
    """

    env: Mapping[str, str | None]
    declared: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """A use of another stage or image by an instruction."""

    name: str
    span: Span
    what: str  # "COPY --from" or "RUN --mount from"


def find_target(dockerfile: Dockerfile, target: str | None) -> Stage:
    """Return the stage to build: by name, case-insensitively, or the last one. An index is no name."""
    from builder.dockerfile.suggest import did_you_mean

    if not target:
        return dockerfile.stages[-1]
    found = _latest(dockerfile, target, len(dockerfile.stages))
    if found is None:
        names = [stage.name for stage in dockerfile.stages if stage.name]
        hint = f"stages with a name: {', '.join(names)}" if names else "no stage has a name: FROM ... AS NAME"
        raise DockerfileError(f'target stage "{target}" could not be found{did_you_mean(target, names)}', hint=hint)
    return found


def numbers_of(dockerfile: Dockerfile, text: str) -> list[int]:
    """Return the stages that a name, case-insensitively, or a number stands for. Raises DockerfileError for none."""
    from builder.dockerfile.suggest import did_you_mean

    found = [
        stage.index for stage in dockerfile.stages if text.lower() in ((stage.name or "").lower(), str(stage.index))
    ]
    if not found:
        names = [stage.name for stage in dockerfile.stages if stage.name]
        hint = f"stages with a name: {', '.join(names)}" if names else "stages count from 0"
        raise DockerfileError(f'there is no stage "{text}"{did_you_mean(text, names)}', hint=hint)
    return found


def target_stage_name(dockerfile: Dockerfile, target: str | None) -> str:
    """Return the value of TARGETSTAGE: the target's name, or ``default``."""
    return target or dockerfile.stages[-1].name or "default"


def global_scope(
    dockerfile: Dockerfile, automatic: Mapping[str, str], build_args: Mapping[str, str | None]
) -> GlobalScope:
    """Evaluate the global ARGs: automatic ones first, then defaults in order, each overridden by its build argument."""
    given = {name: value for name, value in build_args.items() if value is not None}
    env: dict[str, str | None] = {name: given.get(name, value) for name, value in automatic.items()}
    declared: list[str] = []
    for arg in dockerfile.global_args:
        _declare(dockerfile, arg, env, given)
        declared += [item.name for item in arg.declarations]
    return GlobalScope(env, tuple(dict.fromkeys(declared)))


def _declare(dockerfile: Dockerfile, arg: Arg, env: dict[str, str | None], given: Mapping[str, str]) -> None:
    for item in arg.declarations:
        if item.name in given:
            env[item.name] = given[item.name]
        elif item.default is not None:
            try:
                env[item.name] = evaluate(item.default, env).value
            except DockerfileError as failure:
                raise failure.located(dockerfile.source, arg.span) from None
        else:
            env.setdefault(item.name, None)


def base_name(dockerfile: Dockerfile, stage: Stage, scope: GlobalScope) -> str:
    """Return the expanded image of FROM: a stage, a context, an image, or ``scratch``."""
    try:
        name = evaluate(stage.from_.image, scope.env).value
    except DockerfileError as failure:
        raise failure.located(dockerfile.source, stage.from_.span) from None
    if not name:
        message = f"base name ({stage.from_.image.text}) should not be blank"
        raise DockerfileError(
            message, source=dockerfile.source, span=stage.from_.span, hint="is its ARG before the first FROM, and set?"
        )
    return name


def platform_name(dockerfile: Dockerfile, stage: Stage, scope: GlobalScope) -> str | None:
    """Return the expanded ``--platform`` of FROM, None without one."""
    if stage.from_.platform is None:
        return None
    try:
        value = evaluate(stage.from_.platform, scope.env).value
    except DockerfileError as failure:
        raise failure.located(dockerfile.source, stage.from_.span) from None
    if not value:
        message = f"empty platform value from expression {stage.from_.platform.text}"
        raise DockerfileError(message, source=dockerfile.source, span=stage.from_.span)
    return value


def resolve_base(dockerfile: Dockerfile, stage: Stage, name: str) -> Stage | None:
    """Return the earlier stage that FROM ``name`` means: the latest of that name; None for anything else."""
    return _latest(dockerfile, name, stage.index)


def resolve_from(
    dockerfile: Dockerfile, stage: Stage, name: str, *, what: str = "COPY --from", span: Span | None = None
) -> Stage | None:
    """Return the earlier stage that ``--from=name`` means, by name or index; None for anything else.

    The stage itself or a later one is an error: it cannot be built before ``stage``.
    """
    if _INDEX.match(name):
        index = int(name)
        if index >= len(dockerfile.stages):
            return None
        return _require_earlier(dockerfile, stage, dockerfile.stages[index], name, what, span)
    found = _latest(dockerfile, name, stage.index) or _latest(dockerfile, name, len(dockerfile.stages))
    return None if found is None else _require_earlier(dockerfile, stage, found, name, what, span)


def _require_earlier(
    dockerfile: Dockerfile, stage: Stage, found: Stage, name: str, what: str, span: Span | None
) -> Stage:
    if found.index < stage.index:
        return found
    verb = "mount from" if what.startswith("RUN") else "copy from"
    message = f'cannot {verb} stage "{name}", it needs to be defined before current stage "{stage.display}"'
    raise DockerfileError(message, source=dockerfile.source, span=span or stage.from_.span)


def _latest(dockerfile: Dockerfile, name: str, before: int) -> Stage | None:
    wanted = name.lower()
    return next((stage for stage in reversed(dockerfile.stages[:before]) if stage.name == wanted), None)


def references(instruction: StageInstruction) -> Iterator[Reference]:
    """Yield what an instruction takes files from; ONBUILD only says what a trigger will."""
    match instruction:
        case Copy(from_stage=str() as name):
            yield Reference(name, instruction.span, "COPY --from")
        case Run() if instruction.mounts:
            from builder.dockerfile.mounts import mount_from

            for flag in instruction.mounts:
                name_or_none = mount_from(flag)
                if name_or_none:
                    yield Reference(name_or_none, instruction.span, "RUN --mount from")
        case _:
            return

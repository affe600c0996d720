"""Which epoch a build has (cli-and-outputs.md 3.3): option, build argument, ARG default, environment, git, or none."""

from __future__ import annotations

from pathlib import Path

from builder.dockerfile.instructions import Dockerfile
from builder.dockerfile.stages import global_scope, target_stage_name
from builder.engine.contexts import Contexts
from builder.engine.request import BuildRequest
from builder.engine.sources import is_local
from builder.engine.times import EPOCH_NAME, TimePolicy, epoch_seconds
from builder.plan.scope import platform_args


def time_policy(request: BuildRequest, dockerfile: Dockerfile, contexts: Contexts, clock: int) -> TimePolicy:
    """Return what happens to times; ``clock`` is when the build began. Raises UsageError for a text that is none."""
    text = _given(request, dockerfile)
    epoch = None if text is None else _number(text, request, contexts)
    if request.epoch.reproducible:
        return TimePolicy("set", _commit_time(request, contexts) or 0 if epoch is None else epoch, clock)
    return TimePolicy("keep" if epoch is None else "clamp", epoch, clock)


def _given(request: BuildRequest, dockerfile: Dockerfile) -> str | None:
    """Return the epoch's text by precedence; an empty one at any place means that there is none."""
    if request.epoch.given is not None:
        return request.epoch.given or None
    if (argument := request.build_args.get(EPOCH_NAME)) is not None:
        return argument or None
    if (default := _default(request, dockerfile)) is not None:
        return default or None
    return request.epoch.environment or None


def _default(request: BuildRequest, dockerfile: Dockerfile) -> str | None:
    """Return what ``ARG SOURCE_DATE_EPOCH=...`` before the first FROM says."""
    declared = (one for instruction in dockerfile.global_args for one in instruction.declarations)
    if not any(one.name == EPOCH_NAME and one.default is not None for one in declared):
        return None
    stage = target_stage_name(dockerfile, request.target)
    automatic = platform_args(request.build_platform, request.platform, stage)
    return global_scope(dockerfile, automatic, request.build_args).env[EPOCH_NAME]


def _number(text: str, request: BuildRequest, contexts: Contexts) -> int | None:
    if text == "context":
        # A local directory's files have no time that two checkouts agree on.
        return None if is_local(request.context) else contexts.main().time
    return epoch_seconds(EPOCH_NAME, text)


def _commit_time(request: BuildRequest, contexts: Contexts) -> int | None:
    if not is_local(request.context):
        return contexts.main().time
    from builder.context.git import commit_time

    return commit_time(Path(request.context), request.environment)

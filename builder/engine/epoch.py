"""Which epoch a build has (cli-and-outputs.md 3.3): option, build argument, ARG default, environment, git, or none."""

from __future__ import annotations

from pathlib import Path

from builder.dockerfile.instructions import Dockerfile
from builder.engine.contexts import Contexts
from builder.engine.request import BuildRequest
from builder.engine.sources import is_local
from builder.engine.times import TimePolicy
from builder.errors import UsageError

_NAME = "SOURCE_DATE_EPOCH"
_LAST = 253402300799  # the last second of year 9999: RFC 3339 and tar headers end there


def time_policy(request: BuildRequest, dockerfile: Dockerfile, contexts: Contexts, clock: int) -> TimePolicy:
    """Return what happens to times; ``clock`` is when the build began. Raises UsageError for a text that is none."""
    text = _given(request, dockerfile)
    epoch = None if text is None else _number(text, request, contexts)
    if request.epoch.reproducible:
        return TimePolicy("set", _commit_time(request, contexts) or 0 if epoch is None else epoch, clock)
    return TimePolicy("keep" if epoch is None else "clamp", epoch, clock)


def _given(request: BuildRequest, dockerfile: Dockerfile) -> str | None:
    """Return the epoch's text by precedence; an empty one at any place means that there is none."""
    choices = [request.epoch.given, request.build_args.get(_NAME)]
    for instruction in dockerfile.global_args:
        choices += [
            one.default.text for one in instruction.declarations if one.name == _NAME and one.default is not None
        ]
    choices.append(request.epoch.environment)
    found = next((one for one in choices if one is not None), None)
    return found or None


def _number(text: str, request: BuildRequest, contexts: Contexts) -> int | None:
    if text == "context":
        # A local directory's files have no time that two checkouts agree on.
        return None if is_local(request.context) else contexts.main().time
    if not text.isascii() or not text.isdigit() or int(text) > _LAST:
        raise UsageError(
            f"{_NAME} is {text!r}, not a number of seconds since 1970", hint="e.g. $(git log -1 --pretty=%ct)"
        )
    return int(text)


def _commit_time(request: BuildRequest, contexts: Contexts) -> int | None:
    if not is_local(request.context):
        return contexts.main().time
    from builder.context.git import commit_time

    return commit_time(Path(request.context), request.environment)

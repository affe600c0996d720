"""What a build leaves for scripts: the line on stdout, the ID and digest files, and the metadata of how it ended."""

from __future__ import annotations

import argparse
import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from builder.dockerfile.source import DockerfileError
from builder.errors import BuilderError, InterruptedBuildError, OutputError, UsageError
from builder.events import Event, Failed, Reporter, VertexCompleted, VertexFailed
from builder.streams import writing
from builder.values import dataclass, field, replace

if TYPE_CHECKING:
    from builder.engine.build import BuildResult
    from builder.engine.request import BuildRequest
    from builder.image.reference import Reference

_MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE})


@dataclass(slots=True)
class Recorder:
    """Passes events on and remembers what the metadata file tells of them."""

    reporter: Reporter
    steps: list[dict[str, object]] = field(default_factory=list)
    failed: str = ""

    def emit(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, VertexCompleted):
            step: dict[str, object] = {"name": event.name, "seconds": round(event.seconds, 3), "cached": event.cached}
            self.steps.append({**step, "reason": event.reason} if event.reason else step)
        elif isinstance(event, VertexFailed):
            self.failed = event.name
        self.reporter.emit(event)


def write_text(path: str, text: str) -> None:
    """Write a small file, whole or not at all. Raises OutputError."""
    with writing(Path(path)) as stream:
        stream.write(text.encode())


def prepare_results(options: argparse.Namespace, request: BuildRequest) -> None:
    """Refuse result files that cannot be written, before any work, and remove what an earlier build left in them.

    Raises UsageError, OutputError.
    """
    outputs = [str(one.dest) for one in request.outputs if isinstance(one.dest, Path)]
    given = {
        "--iidfile": options.iidfile,
        "--digest-file": options.digest_file,
        "--metadata-file": options.metadata_file,
    }
    taken = {os.path.realpath(path): "--output" for path in outputs}
    for option, path in given.items():
        if not path:
            continue
        folder = os.path.dirname(path) or "."
        if not os.path.isdir(folder):
            raise UsageError(f"{option} {path}: there is no directory {folder}")
        if os.path.isdir(path):
            raise UsageError(f"{option} {path} is a directory", hint="name a file in it")
        if os.path.isfile(path) or not os.path.exists(path):
            other = taken.setdefault(os.path.realpath(path), option)
            if other != option:
                raise UsageError(f"{option} {path}: {other} writes the same file")
        if option != "--metadata-file" and os.path.isfile(path) and not os.path.islink(path):
            _remove(path)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def shown_name(request: BuildRequest, result: BuildResult) -> Reference | None:
    """Return the name on standard output: the first of the image, without a digest, which stands there anyway."""
    names = (*result.names, *(name for output in request.outputs for name in output.names))
    return replace(names[0], digest=None) if names else None


def write_results(options: argparse.Namespace, result: BuildResult) -> None:
    """Write ``--iidfile`` and ``--digest-file``. Raises OutputError."""
    if options.iidfile:
        write_text(options.iidfile, result.built.image_id)
    if options.digest_file:
        write_text(options.digest_file, result.built.digest)


def success(result: BuildResult, recorder: Recorder, seconds: float) -> dict[str, object]:
    """Return the metadata of a finished build; a build for several platforms has a digest and a config for each."""
    built = result.built
    platforms = [
        {
            "platform": platform.full,
            "containerimage.digest": image.digest,
            "containerimage.config.digest": image.image_id,
        }
        for platform, image in zip(built.platforms, built.images, strict=True)
    ]
    several = bool(built.raw_index)
    return {
        "status": "success",
        "exit_code": 0,
        "containerimage.digest": built.digest,
        **({} if several else {"containerimage.config.digest": built.image_id}),
        "containerimage.descriptor": built.descriptor.to_json(),
        "image.name": ",".join(str(name) for name in result.names),
        **({"platforms": platforms} if several else {}),
        "bases": [{"location": location, "digest": digest} for location, digest in result.bases],
        "steps": recorder.steps,
        "seconds": round(seconds, 3),
    }


def failure(error: BaseException, recorder: Recorder, seconds: float) -> dict[str, object]:
    """Return the metadata of a build that ended early."""
    known = understood(error)
    value: dict[str, object] = {
        "status": "failed",
        "exit_code": (known or BuilderError).exit_code,
        "error": type(known or error).__name__,
        "message": str(known or "internal error"),
        "retryable": known is not None and known.retryable,
        "vertex": recorder.failed,
        "steps": recorder.steps,
        "seconds": round(seconds, 3),
    }
    if isinstance(error, DockerfileError) and error.span is not None:
        value["line"] = error.span.start_line
    if _is_command_failure(error):
        value["command_status"] = value["exit_code"]
    return value


def _is_command_failure(error: BaseException) -> bool:
    from builder.run.spec import CommandFailedError

    return isinstance(error, CommandFailedError)


def write_metadata(path: str, value: dict[str, object]) -> None:
    """Write ``--metadata-file``. Raises OutputError."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def understood(error: BaseException) -> BuilderError | None:
    """Return an error as one of ours, None for a bug: a full disk or table of files can meet any call."""
    if isinstance(error, BuilderError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return InterruptedBuildError("interrupted")
    if isinstance(error, OSError) and error.errno in _MACHINE:
        where = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes) else ""
        return OutputError(f"the system refuses{where}: {error.strerror}")
    return None


def ending(error: BuilderError) -> Failed:
    """Return the event for an error that ends the command."""
    hint = error.hint or ""
    return Failed(str(error).removesuffix(f"\nhint: {hint}"), hint, error.exit_code)

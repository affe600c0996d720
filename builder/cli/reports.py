"""What a build leaves for scripts: the line on stdout, the ID and digest files, and the metadata of how it ended."""

from __future__ import annotations

import argparse
import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from builder.dockerfile.source import DockerfileError
from builder.errors import BuilderError, ContextError, InterruptedBuildError, OutputError, UsageError
from builder.events import Failed
from builder.streams import is_fixed, writing
from builder.values import replace

if TYPE_CHECKING:
    from builder.api.results import BuildResult, Recorder, Step
    from builder.engine.request import BuildRequest
    from builder.image.reference import Reference

_MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE})

_NO_THREAD = "can't start new thread"
"""Python's words for it, of an error that is of no class of its own."""


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
        "--timings": options.timings,
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
        if option not in ("--metadata-file", "--timings") and os.path.isfile(path) and not os.path.islink(path):
            _remove(path)


def _remove(path: str) -> None:
    try:
        if is_fixed(Path(path)):
            os.truncate(path, 0)
        else:
            os.unlink(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def shown_name(request: BuildRequest, result: BuildResult) -> Reference | None:
    """Return the name on standard output: the first of the image, without a digest, which stands there anyway."""
    from builder.engine.request import pushed_names

    others = [name for output in request.outputs if output.kind != "registry" for name in output.names]
    names = (*result.names, *pushed_names(request.outputs, request.tags), *others)
    return replace(names[0], digest=None) if names else None


def write_results(options: argparse.Namespace, result: BuildResult) -> None:
    """Write ``--iidfile`` and ``--digest-file``. Raises OutputError."""
    if options.iidfile:
        write_text(options.iidfile, result.image_id)
    if options.digest_file:
        write_text(options.digest_file, result.digest)


def success(result: BuildResult, seconds: float) -> dict[str, object]:
    """Return the metadata of a finished build; a build for several platforms has a digest and a config for each."""
    platforms = [
        {
            "platform": image.platform.full,
            "containerimage.digest": image.digest,
            "containerimage.config.digest": image.image_id,
        }
        for image in result.images
    ]
    return {
        "status": "success",
        "exit_code": 0,
        "containerimage.digest": result.digest,
        **({} if result.is_index else {"containerimage.config.digest": result.image_id}),
        "containerimage.descriptor": result.descriptor.to_json(),
        "image.name": ",".join(str(name) for name in result.names),
        **({"platforms": platforms} if result.is_index else {}),
        "bases": [{"location": location, "digest": digest} for location, digest in result.bases],
        "steps": [_step(one) for one in result.steps],
        "seconds": round(seconds, 3),
    }


def _step(step: Step) -> dict[str, object]:
    value: dict[str, object] = {"name": step.name, "seconds": round(step.seconds, 3), "cached": step.cached}
    return {**value, "reason": step.reason} if step.reason else value


def failure(error: BaseException, recorder: Recorder, seconds: float) -> dict[str, object]:
    """Return the metadata of a build that ended early."""
    known = understood(error)
    value: dict[str, object] = {
        "status": "failed",
        "exit_code": (known or BuilderError).exit_code,
        "error": type(known or error).__name__,
        "code": (known or BuilderError("a bug: ")).code,
        "message": ending(known).message if known else "internal error",
        "retryable": known is not None and known.retryable,
        "vertex": recorder.failed,
        "steps": [_step(one) for one in recorder.steps],
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
    """Return an error as one of ours, None for a bug: what a machine lacks can meet any call."""
    if isinstance(error, BuilderError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return InterruptedBuildError("interrupted")
    if isinstance(error, OSError) and error.errno in _MACHINE:
        where = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes) else ""
        return OutputError(f"the system refuses{where}: {error.strerror}")
    if isinstance(error, MemoryError):
        return OutputError(f"the system refuses: {os.strerror(errno.ENOMEM)}")
    if isinstance(error, RuntimeError) and str(error) == _NO_THREAD:
        return OutputError(f"the system refuses: {error}", hint="raise the limit of processes (ulimit -u, pids.max)")
    if isinstance(error, FileNotFoundError) and error.filename is None and not _is_somewhere():
        return ContextError("the current directory does not exist any more", hint="cd to one that does")
    return None


def _is_somewhere() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def ending(error: BuilderError) -> Failed:
    """Return the event for an error that ends the command."""
    hint = error.hint or ("try again later: this often passes" if error.retryable else "")
    return Failed(str(error).removesuffix(f"\nhint: {hint}"), hint, error.exit_code, error.code)

"""What a build leaves for scripts: the line on stdout, the ID and digest files, and the metadata of how it ended."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from builder.dockerfile.source import DockerfileError
from builder.errors import BuilderError
from builder.events import Event, Reporter, VertexCompleted, VertexFailed
from builder.streams import replacing

if TYPE_CHECKING:
    from builder.engine.build import BuildResult
    from builder.engine.request import BuildRequest


@dataclass(slots=True)
class Recorder:
    """Passes events on and remembers what the metadata file tells of them."""

    reporter: Reporter
    steps: list[dict[str, object]] = field(default_factory=list)
    failed: str = ""

    def emit(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, VertexCompleted):
            self.steps.append({"name": event.name, "seconds": round(event.seconds, 3), "cached": event.cached})
        elif isinstance(event, VertexFailed):
            self.failed = event.name
        self.reporter.emit(event)


def write_text(path: str, text: str) -> None:
    """Write a small file, whole or not at all. Raises OutputError."""
    with replacing(Path(path)) as stream:
        stream.write(text.encode())


def write_results(options: argparse.Namespace, result: BuildResult) -> None:
    """Write ``--iidfile`` and ``--digest-file``. Raises OutputError."""
    if options.iidfile:
        write_text(options.iidfile, result.image.image_id)
    if options.digest_file:
        write_text(options.digest_file, result.image.digest)


def success(request: BuildRequest, result: BuildResult, recorder: Recorder, seconds: float) -> dict[str, object]:
    """Return the metadata of a finished build."""
    image = result.image
    return {
        "status": "success",
        "exit_code": 0,
        "containerimage.digest": image.digest,
        "containerimage.config.digest": image.image_id,
        "containerimage.descriptor": {
            "mediaType": image.manifest.media_type,
            "digest": image.digest,
            "size": len(image.raw_manifest),
        },
        "image.name": ",".join(str(tag) for tag in request.tags),
        "bases": [{"location": location, "digest": digest} for location, digest in result.bases],
        "steps": recorder.steps,
        "seconds": round(seconds, 3),
    }


def failure(error: BaseException, recorder: Recorder, seconds: float) -> dict[str, object]:
    """Return the metadata of a build that ended early."""
    known = isinstance(error, BuilderError)
    value: dict[str, object] = {
        "status": "failed",
        "exit_code": exit_code(error),
        "error": type(error).__name__,
        "message": str(error) if known else "internal error",
        "retryable": isinstance(error, BuilderError) and error.retryable,
        "vertex": recorder.failed,
        "steps": recorder.steps,
        "seconds": round(seconds, 3),
    }
    if isinstance(error, DockerfileError) and error.span is not None:
        value["line"] = error.span.start_line
    status = getattr(error, "status", None)
    if isinstance(status, int):
        value["command_status"] = status
    return value


def write_metadata(path: str, value: dict[str, object]) -> None:
    """Write ``--metadata-file``. Raises OutputError."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def exit_code(error: BaseException) -> int:
    """Return the process's exit status for an error."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    return error.exit_code if isinstance(error, BuilderError) else 70


def describe(error: BuilderError) -> str:
    """Return an error as people read it: the sentence with its place, and the way out."""
    text = str(error)
    if error.hint and not isinstance(error, DockerfileError):
        text += f"\nhint: {error.hint}"
    return text

"""What can end any command."""

from __future__ import annotations

from builder.catalog.kinds import Kind

KINDS = (
    Kind(
        code="PB1001",
        title="A command of a RUN failed",
        errors=("CommandFailedError",),
        texts=(
            "{command}: exit status {status}",
            "{command}: exit status {status} ({reason})",
            "{command}: killed by signal {signal}",
            "{command}: killed by signal {signal} ({reason})",
            'exec "{command}" in image: {reason}',
        ),
        cause="The command ran, and ended with a status other than 0 or was killed by a signal. pybuild ends with the "
        "same status; 127 says that the image has no such program, 126 that it cannot be executed; 128 and more are "
        "signals (137: killed, often for lack of memory).",
        way_out="Read the last lines that the step printed. `--timeout` and `--memory` say what a step may take; an "
        "image of the stage before the step (`--target`) lets you try the command by hand.",
    ),
    Kind(
        code="PB1301",
        title="The build was interrupted",
        errors=("InterruptedBuildError",),
        texts=(
            "interrupted",
            "interrupted while {doing}",
            "interrupted before {what} was {done}",
            "the build was interrupted",
            "cancelled while unpacking layers",
            "another transfer failed",
            "nobody waits for this upload any more",
        ),
        cause="Ctrl-C, SIGTERM or a CI system ended the command, or another part of the same build failed first.",
        way_out="Run the command again: steps that were finished are in the store.",
    ),
    Kind(
        code="PB7001",
        title="A bug in pybuild",
        errors=("BuilderError",),
        texts=("a bug: {error}",),
        cause="Something happened that the program does not expect. The traceback above the message says where.",
        way_out="Report it, with the traceback and the Dockerfile if possible. `--debug` shows more.",
    ),
)

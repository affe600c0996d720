"""``--progress quiet``: warnings, and what ended the command."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from builder.cli.reporters import INTERRUPTED, message_lines, print_line
from builder.events import Event, Failed, Warned


class QuietReporter:
    """Warnings and what ended the command only. Thread-safe."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def emit(self, event: Event) -> None:
        """Print a warning or a failure."""
        if isinstance(event, Warned | Failed):
            print_line(self._stream, "\n".join(message_lines(event)))

    def keep_logs(self, folder: Path) -> None:
        """Keep nothing: nothing is shown."""

    def close(self) -> None:
        """Do nothing."""

    def abandon(self) -> bytes:
        """Leave nothing."""
        return INTERRUPTED

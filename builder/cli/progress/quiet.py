"""``--progress quiet``: warnings, and what ended the command, with the last that a step wrote that failed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TextIO

from builder.cli.reporters import INTERRUPTED, message_lines, print_line
from builder.events import Event, Failed, Output, Stopping, VertexCompleted, VertexFailed, Warned

_KEPT = 8 << 10
"""Bytes at the end of a step's output that are kept for the case that it fails."""

_REPEATED = 30
"""Lines of them that are shown then."""


class QuietReporter:
    """Warnings and what ended the command only. Thread-safe."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._last: dict[str, bytes] = {}
        self._asked = False

    def emit(self, event: Event) -> None:
        """Print a warning or a failure, of a step with what it wrote last: nobody can look that up."""
        if isinstance(event, Warned | Failed):
            print_line(self._stream, "\n".join(message_lines(event)))
            return
        with self._lock:
            if isinstance(event, Stopping):
                self._asked = True  # what failed then failed for that
            elif isinstance(event, Output):
                self._last[event.vertex] = (self._last.get(event.vertex, b"") + event.data)[-_KEPT:]
            elif isinstance(event, VertexCompleted):
                self._last.pop(event.vertex, None)
            elif isinstance(event, VertexFailed) and (last := self._last.pop(event.vertex, b"")) and not self._asked:
                from builder.cli.progress.steplog import whole_lines

                lines = whole_lines(last, cut=len(last) == _KEPT)[-_REPEATED:]
                print_line(self._stream, "\n".join(f"| {line}" for line in lines))

    def keep_logs(self, folder: Path) -> None:
        """Keep nothing: nothing is shown."""

    def close(self) -> None:
        """Do nothing."""

    def abandon(self) -> bytes:
        """Leave nothing."""
        return INTERRUPTED

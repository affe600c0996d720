"""``--progress json``: events as lines of JSON, as docs/schema/progress.schema.json describes them."""

from __future__ import annotations

import codecs
import json
import threading
import time
from pathlib import Path
from typing import TextIO

from builder.cli.reporters import print_line
from builder.errors import InterruptedBuildError
from builder.events import Event, Failed, Output, VertexCompleted, VertexFailed

_STARTED = time.monotonic()
_DECODER = codecs.getincrementaldecoder("utf-8")


class JsonReporter:
    """One JSON object per line: ``event``, ``time`` (seconds since the start) and the event's fields. Thread-safe.

    What a step writes is whole characters: those that a write cuts in two come with the rest.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._decoders: dict[tuple[str, str], codecs.IncrementalDecoder] = {}

    def emit(self, event: Event) -> None:
        """Print one event."""
        with self._lock:
            if isinstance(event, VertexCompleted | VertexFailed):
                self._flush(event.vertex)
            text = self._decoded(event) if isinstance(event, Output) else ""
            if text or not isinstance(event, Output):
                self._print(event, text)

    def keep_logs(self, folder: Path) -> None:
        """Keep nothing: everything is shown."""

    def close(self) -> None:
        """Do nothing."""

    def abandon(self) -> bytes:
        """Return the end as an event like the others."""
        error = InterruptedBuildError("interrupted")
        event = Failed(error.message, "", error.exit_code, error.code)
        return (self._line(event, "") + "\n").encode()

    def _decoded(self, event: Output) -> str:
        decoder = self._decoders.setdefault((event.vertex, event.stream), _DECODER("replace"))
        return decoder.decode(event.data)

    def _flush(self, vertex: str) -> None:
        for stream in ("stdout", "stderr"):
            decoder = self._decoders.pop((vertex, stream), None)
            text = decoder.decode(b"", final=True) if decoder is not None else ""
            if text:
                self._print(Output(vertex, "stdout" if stream == "stdout" else "stderr", b""), text)

    def _print(self, event: Event, text: str) -> None:
        print_line(self._stream, self._line(event, text))

    def _line(self, event: Event, text: str) -> str:
        value: dict[str, object] = {"event": type(event).__name__, "time": round(time.monotonic() - _STARTED, 6)}
        for name in type(event).__slots__:
            item = getattr(event, name)
            if isinstance(item, bytes):
                item = text
            elif isinstance(item, str) and not item.isascii():
                # A name of a file that is no text has halves of characters, which most readers of JSON refuse.
                item = item.encode("utf-8", "replace").decode()
            value[name] = item
        # It means the same, and no service that reads the log takes it for a command.
        return json.dumps(value).replace("##", "#\\u0023")

"""Events into text: plain lines that never interleave, JSON lines, or only warnings.

A stream that nobody can write to any more (its reader is gone, its disk full) is given up; the build goes on.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from typing import TextIO

from builder.events import (
    BuildFinished,
    BuildStarted,
    Event,
    Failed,
    Notice,
    Output,
    Reporter,
    Transfer,
    VertexCompleted,
    VertexFailed,
    VertexStarted,
    Warned,
)

_STARTED = time.monotonic()
_LINE_LIMIT = 64 << 10
"""Bytes of an unfinished line that are kept back for its end."""


def printable(text: str) -> str:
    """Return ``text`` without what would control a terminal."""
    return "".join(char if char == "\t" or char.isprintable() else "\ufffd" for char in text)


def print_line(stream: TextIO, line: str) -> bool:
    """Print a line at once and say whether that worked; after a failure the stream leads nowhere."""
    return _at_once(stream, lambda: stream.write(line + "\n"))


def print_bytes(stream: TextIO, data: bytes) -> bool:
    """Print bytes as they are; see ``print_line``."""
    return _at_once(stream, lambda: stream.buffer.write(data))


def _at_once(stream: TextIO, write: Callable[[], object]) -> bool:
    try:
        stream.flush()
        write()
        stream.flush()
    except OSError:
        # Flushing again at exit must not complain, nor change the exit status.
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        return False
    return True


def _message(event: Notice | Warned | Failed) -> list[str]:
    """Return what is said to people, as lines; file names and registries' answers in it are strangers' text."""
    match event:
        case Notice(message):
            return [printable(message)]
        case Warned(message, _):
            return [f"warning: {printable(message)}"]
        case Failed(message, hint, _):
            lines = f"pybuild: error: {message}".split("\n")
            return [printable(line) for line in ([*lines, f"hint: {hint}"] if hint else lines)]


class PlainReporter:
    """Numbered lines in the order things happen. Thread-safe."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}
        self._partial: dict[tuple[str, str], bytes] = {}
        self._transfers: set[tuple[str, str]] = set()

    def emit(self, event: Event) -> None:
        """Print one event."""
        with self._lock:
            if lines := self._lines(event):
                print_line(self._stream, "\n".join(lines))

    def _lines(self, event: Event) -> list[str]:
        match event:
            case VertexStarted(vertex, name):
                return [f"#{self._number(vertex)} {printable(name)}"]
            case VertexCompleted(vertex, name, seconds, cached, reason):
                rest = self._rest(vertex)
                if cached:
                    return [*rest, f"#{self._number(vertex)} {printable(name)}", f"#{self._number(vertex)} CACHED"]
                why = [f"#{self._number(vertex)} MISS: {printable(reason)}"] if reason else []
                return [*rest, f"#{self._number(vertex)} DONE {seconds:.1f}s", *why]
            case VertexFailed(vertex, name, seconds, _):
                head = [] if vertex in self._numbers else [f"#{self._number(vertex)} {printable(name)}"]
                return [*head, *self._rest(vertex), f"#{self._number(vertex)} FAILED {seconds:.1f}s"]
            case Output(vertex, stream, data):
                return self._output(vertex, stream, data)
            case Transfer(direction, what, current, total):
                return self._transfer(direction, what, current, total)
            case Notice() | Warned() | Failed():
                return _message(event)
            case BuildStarted() | BuildFinished():
                return []

    def _number(self, vertex: str) -> int:
        return self._numbers.setdefault(vertex, len(self._numbers) + 1)

    def _output(self, vertex: str, stream: str, data: bytes) -> list[str]:
        *whole, rest = (self._partial.pop((vertex, stream), b"") + data).split(b"\n")
        if len(rest) > _LINE_LIMIT:
            whole.append(rest)
            rest = b""
        if rest:
            self._partial[vertex, stream] = rest
        return [self._line(vertex, line) for line in whole]

    def _rest(self, vertex: str) -> list[str]:
        rests = [self._partial.pop((vertex, stream), b"") for stream in ("stdout", "stderr")]
        return [self._line(vertex, rest) for rest in rests if rest]

    def _line(self, vertex: str, line: bytes) -> str:
        text = line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")
        return f"#{self._number(vertex)} | {printable(text)}"

    def _transfer(self, direction: str, what: str, current: int, total: int) -> list[str]:
        if current < total or (direction, what) in self._transfers:
            return []
        self._transfers.add((direction, what))
        return [f"{direction}ed {printable(what)} ({total} bytes)"]


class JsonReporter:
    """One JSON object per line: ``event``, ``time`` (seconds since the start) and the event's fields. Thread-safe."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def emit(self, event: Event) -> None:
        """Print one event."""
        value: dict[str, object] = {"event": type(event).__name__, "time": round(time.monotonic() - _STARTED, 6)}
        for name in type(event).__slots__:
            item = getattr(event, name)
            value[name] = item.decode("utf-8", "replace") if isinstance(item, bytes) else item
        line = json.dumps(value)
        with self._lock:
            print_line(self._stream, line)


class QuietReporter:
    """Warnings and what ended the command only. Thread-safe."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def emit(self, event: Event) -> None:
        """Print a warning or a failure."""
        if isinstance(event, Warned | Failed):
            print_line(self._stream, "\n".join(_message(event)))


def make_reporter(progress: str, stream: TextIO) -> Reporter:
    """Return the reporter for ``--progress``."""
    match progress:
        case "json":
            return JsonReporter(stream)
        case "quiet":
            return QuietReporter(stream)
        case _:
            return PlainReporter(stream)

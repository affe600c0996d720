"""``--progress tty``: what is going on, at the end of a terminal; what has ended stays above it.

A thread of its own draws, so that who tells of events never waits for a terminal. It begins when something has taken a
moment; rich is loaded then, and not for a build that finds everything.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from builder.cli.charset import speaks_utf8
from builder.cli.progress.rows import ASCII, UNICODE, row
from builder.cli.progress.state import Line, State
from builder.cli.progress.steplog import Logs
from builder.cli.reporters import INTERRUPTED, columns_of, print_line, print_text
from builder.events import Event

if TYPE_CHECKING:
    from builder.cli.progress.screen import Screen
    from builder.cli.progress.view import View

_PATIENCE = 0.15
"""Seconds that something has to take for being shown at all."""

_EVERY = 0.1
_SETTLING = 0.4
"""Seconds for which a terminal must have had its size before it is drawn on: in between, nobody knows what lines do."""

_STOPPED = 0.3
_HANDLED = 0.3
"""Seconds after which the process was probably stopped with Ctrl-Z, and in which its main thread hears of its end."""

_CLOSING = 2.0


class LiveReporter:
    """A live view. Thread-safe; ``close`` it before anything else is printed."""

    def __init__(
        self, stream: TextIO, environment: Mapping[str, str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._environment = environment
        self._glyphs = UNICODE if speaks_utf8(stream, environment) else ASCII
        # Reentrant: what Python itself prints, as of an error in a finalizer, comes at any moment, to ``_foreign``.
        self._lock = threading.RLock()
        self._logs = Logs()
        self._state = State(self._logs, clock)
        self._clock = clock
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()
        self._closed = False
        self._drawn = False
        self._lost = False
        self._continued = False
        self._restore = _listen_for_continue(self._on_continue)
        self._guards: list[Callable[[], None]] = []

    def emit(self, event: Event) -> None:
        """Take one event."""
        with self._lock:
            self._state.take(event)
            if self._closed:
                self._print(self._state.ended(all_of_it=True))
            elif self._thread is None and self._state.busy:
                self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)
                self._thread.start()

    def keep_logs(self, folder: Path) -> None:
        """Put there what is too much to be shown."""
        self._logs.folder = folder

    def close(self) -> None:
        """Remove what changes and print what stays."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(_CLOSING)
        with self._lock:
            if not self._closed:
                self._closed = True
                self._restore()
                for undo in self._guards:
                    undo()
                self._print(self._state.ended(all_of_it=True))

    def abandon(self) -> bytes:
        """Leave the terminal to others at once."""
        self._lost = True
        if self._drawn:
            with contextlib.suppress(OSError):
                os.write(self._stream.fileno(), b"\r\x1b[J")
        return INTERRUPTED

    def _print(self, lines: list[Line]) -> None:
        for line in lines:
            sign = self._glyphs.of(line)
            shown = (
                str(row(self._glyphs, sign, line, columns_of(self._stream) - 1))
                if sign
                else self._glyphs.shown(line.text)
            )
            print_line(self._stream, shown)

    def _on_continue(self) -> None:
        self._continued = True

    def _watch(self) -> None:
        if self._ending.wait(_PATIENCE):
            return
        from builder.cli.progress.screen import Screen
        from builder.cli.progress.view import View

        view = View(self._glyphs)
        screen = Screen(self._stream, self._environment)
        with self._lock:
            if self._ending.is_set():
                return
            self._guards = [_guard("stderr", self._foreign), _guard("stdout", self._foreign)]
        going, size, changed = True, screen.size(), 0.0
        while going and not self._lost:
            asleep = time.monotonic()
            going = not self._ending.wait(_EVERY)
            if time.monotonic() - asleep > _STOPPED:
                going = not self._ending.wait(_HANDLED)
            if size != (size := screen.size()):
                changed = time.monotonic()
            settled = time.monotonic() - changed >= _SETTLING
            if not going or (settled and screen.foreground()):
                self._draw(screen, view, last=not going)

    def _draw(self, screen: Screen, view: View, *, last: bool) -> None:
        with self._lock:
            columns, lines = screen.size()
            width, now = max(1, columns - 1), self._clock()
            if self._continued:
                self._continued = False
                screen.forget()
            above = [view.line(line, width) for line in self._state.ended(all_of_it=last)]
            shown = not last and (self._state.busy or self._drawn)
            block = view.frame(self._state, width, max(1, lines - 1), now) if shown else []
            self._drawn = bool(block)
        if not screen.draw(above, block):
            self._lost = True

    def _foreign(self, text: str) -> None:
        """Take what somebody prints past us: it stays above."""
        with self._lock:
            self._state.say(text)


class _Aside:
    """Stands in for a standard stream that is the terminal, for those who print past us: lines go to the view."""

    def __init__(self, stream: TextIO, say: Callable[[str], None]) -> None:
        self._stream = stream
        self._say = say
        self._partial = ""

    def write(self, text: str) -> int:
        *whole, self._partial = (self._partial + text).split("\n")
        for line in whole:
            self._say(line)
        return len(text)

    def flush(self) -> None:
        """Do nothing: whole lines are passed on at once."""

    def rest(self) -> str:
        return self._partial

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def _guard(name: str, say: Callable[[str], None]) -> Callable[[], None]:
    """Let what is printed to a standard stream go to ``say`` if it is a terminal; return what undoes that."""
    stream: TextIO = getattr(sys, name)
    if not stream.isatty():
        return lambda: None
    aside = _Aside(stream, say)
    setattr(sys, name, aside)

    def undo() -> None:
        if getattr(sys, name) is aside:
            setattr(sys, name, stream)
        print_text(stream, aside.rest())

    return undo


def _listen_for_continue(tell: Callable[[], None]) -> Callable[[], None]:
    """Call ``tell`` when the process goes on after Ctrl-Z: what was drawn is not at the end any more."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    before = signal.signal(signal.SIGCONT, lambda *_: tell())
    return lambda: (signal.signal(signal.SIGCONT, before), None)[1]

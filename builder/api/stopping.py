"""The wish that one call of several stops, and a program's listener, whose mistakes end the call they happen in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from builder.events import Event

Listener = Callable[[Event], object]
"""Is called with every event, from any thread, and should not take long."""

_TICK = 0.2
"""Seconds after which a wait looks at the wishes of others."""


class Stop(threading.Event):
    """Is set when it or one of ``others`` is: those may be for many calls, and what sets this one ends only one."""

    def __init__(self, *others: threading.Event | None) -> None:
        super().__init__()
        self._others = [one for one in others if one is not None]

    def is_set(self) -> bool:
        """Say whether to stop."""
        return super().is_set() or any(one.is_set() for one in self._others)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, or for ``timeout`` seconds; return whether it is."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = _TICK if end is None else min(_TICK, end - time.monotonic())
            if left <= 0:
                return False
            super().wait(left)
        return True


class Heard:
    """Hands events to a program's listener. What it raises ends the work, and is ``problem`` for who asked for it."""

    def __init__(self, listener: Listener, stop: Stop) -> None:
        self._listener = listener
        self._stop = stop
        self.problem: Exception | None = None

    def emit(self, event: Event) -> None:
        """Take one event."""
        if self.problem is not None:
            return
        try:
            self._listener(event)
        except Exception as problem:  # noqa: BLE001  strangers' code; raised again in the thread that asked
            self.problem = problem
            self._stop.set()


class Told:
    """Hands events that belong to no call to a program's listener."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def emit(self, event: Event) -> None:
        """Take one event. Raises what the listener raises."""
        self._listener(event)

"""Telling of work that is no step: when it began and how long it took."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from builder.events import Reporter, WorkCompleted, WorkStarted

if TYPE_CHECKING:
    from types import TracebackType


class Work:
    """Tells when the block began and how long it took."""

    __slots__ = ("_name", "_reporter", "_started")

    def __init__(self, reporter: Reporter, name: str) -> None:
        self._reporter = reporter
        self._name = name
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = time.monotonic()
        self._reporter.emit(WorkStarted(self._name))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reporter.emit(WorkCompleted(self._name, time.monotonic() - self._started))

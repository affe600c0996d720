"""A reporter that keeps what it hears."""

from __future__ import annotations

from builder.events import Event


class Events:
    """Every event so far, oldest first."""

    def __init__(self) -> None:
        self.seen: list[Event] = []

    def emit(self, event: Event) -> None:
        """Keep one."""
        self.seen.append(event)

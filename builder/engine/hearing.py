"""What a step writes, on its way to who listens: without the values of secrets, also where a write cuts them."""

from __future__ import annotations

from typing import Literal

from builder.engine.masks import Masking
from builder.engine.services import Services
from builder.events import Output

Stream = Literal["stdout", "stderr"]


class Heard:
    """The two streams of one step; at the end of the block comes what was kept back."""

    def __init__(self, vertex: str, services: Services) -> None:
        self._vertex = vertex
        self._services = services
        self._streams: dict[Stream, Masking] = {}

    def __enter__(self) -> Heard:
        return self

    def __exit__(self, *_: object) -> None:
        for stream, masking in self._streams.items():
            self._emit(stream, masking.end())

    def take(self, stream: Stream, data: bytes) -> None:
        """Pass on a piece of output."""
        masking = self._streams.get(stream)
        if masking is None:
            masking = self._streams[stream] = Masking(self._services.masks)
        self._emit(stream, masking.take(data))

    def _emit(self, stream: Stream, data: bytes) -> None:
        if data:
            self._services.reporter.emit(Output(self._vertex, stream, data))

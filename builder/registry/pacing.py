"""Answers that come too slowly to wait for: what a pool of connections reads passes through here.

Silence ends after the timeout of a read, which a server that sends a byte now and then never reaches.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpcore

PACE_SECONDS = 300.0
PACE_BYTES = 16 << 10
"""The fewest bytes of an answer in ``PACE_SECONDS`` of waiting for them, which is far less than any line carries."""


class TooSlowError(httpcore.ReadTimeout):
    """An answer came, but fewer than PACE_BYTES of it in PACE_SECONDS."""


class PacedStream(httpcore.NetworkStream):
    """A connection. The wait for the first bytes of an answer does not count, nor what we do between two reads."""

    def __init__(self, stream: httpcore.NetworkStream, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._begun = False
        self._waited, self._came = 0.0, 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return what has come. Raises TooSlowError."""
        since = self._clock()
        data = self._stream.read(max_bytes, timeout)
        if not self._begun:
            self._begun, self._waited, self._came = True, 0.0, 0
            return data
        self._waited += self._clock() - since
        self._came += len(data)
        if self._waited >= PACE_SECONDS:
            if data and self._came < PACE_BYTES:
                raise TooSlowError
            self._waited, self._came = 0.0, 0
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send; what is read next is another answer."""
        self._begun = False
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Return the connection with TLS on it."""
        return PacedStream(self._stream.start_tls(ssl_context, server_hostname, timeout), self._clock)

    def get_extra_info(self, info: str) -> Any:
        """Return what httpcore asks of a connection."""
        return self._stream.get_extra_info(info)


class PacedBackend(httpcore.SyncBackend):
    """Makes connections."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Return a new connection."""
        return PacedStream(super().connect_tcp(host, port, timeout, local_address, socket_options))

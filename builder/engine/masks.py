"""Values that must not be read in what steps write: those of secrets that a build has given to a step so far.

A value is found as a whole, and line by line where it has several, also with colours in it, as ``grep`` has them: who
shows it without them would put it together again. What a step makes of it (base64, half of it) is not found. Short ones
are left alone: a secret of one letter would hide every such letter.
"""

from __future__ import annotations

import re
import threading

from builder.patterns import pattern

MASK = b"***"

_SHORTEST = 4
_SHORTEST_LINE = 8
"""Of a value of several lines, a line like ``}`` is no secret."""

_PIECE = 1024
"""Bytes of a long line that are looked for at a time: so many are kept back until it is known what follows."""

_MOST_LINES = 512

_COLOURED = 1024
"""Bytes of all values up to which colours may be in them: a search for many such is slow."""

_GAP = rb"(?:\x1b\[[0-9;]{0,32}[mK])*"
_GAPS = pattern(rb"\x1b(?:\[(?:[0-9;]{0,32}(?:[mK]|\Z)|\Z)|\Z)")
"""Colours, the last of which may not be whole yet."""

_GAPS_LENGTH = 128
"""Bytes of colours in one value that is cut by the end of a write."""


class Masks:
    """The values of one build. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: tuple[bytes, ...] = ()

    @property
    def values(self) -> tuple[bytes, ...]:
        """What is to be hidden, the longest first."""
        return self._values

    def add(self, secret: bytes) -> None:
        """Hide a secret's value from now on."""
        found = set(_pieces(secret))
        with self._lock:
            if not found.issubset(self._values):
                self._values = tuple(sorted(found.union(self._values), key=len, reverse=True))

    def add_url(self, url: str) -> None:
        """Hide the password of a URL, if it has one, also as it is without the URL's escapes."""
        account, at, _ = url.partition("://")[2].rpartition("@")
        password = account.partition(":")[2]
        if at and password:
            from urllib.parse import unquote_to_bytes

            raw = password.encode("utf-8", "surrogateescape")
            self.add(raw)
            self.add(unquote_to_bytes(raw))


def _pieces(secret: bytes) -> list[bytes]:
    lines = [line.strip() for line in secret.splitlines()[:_MOST_LINES]]
    shortest = _SHORTEST if sum(map(bool, lines)) <= 1 else _SHORTEST_LINE
    pieces = []
    for line in lines:
        if len(line) < shortest:
            continue
        for start in range(0, len(line), _PIECE):
            piece = line[start : start + _PIECE]
            if start == 0 or len(piece) >= _SHORTEST_LINE:
                pieces.append(piece)
    return pieces


class Masking:
    """One stream of bytes without the values: those of ``masks`` when it begins."""

    def __init__(self, masks: Masks) -> None:
        self._values = masks.values
        self._longest = len(self._values[0]) if self._values else 0
        gap = _GAP if sum(map(len, self._values)) <= _COLOURED else b""
        self._any = pattern(b"|".join(gap.join(re.escape(bytes((one,))) for one in value) for value in self._values))
        self._kept = b""

    def take(self, data: bytes) -> bytes:
        """Return what can be shown; what may be the beginning of a value is kept for the next call."""
        if not self._values:
            return data
        data = self._kept + data
        shown: list[bytes] = []
        at, safe = 0, self._safe_until(data, 0)
        for found in self._any.finditer(data):
            if found.start() >= safe:
                break
            shown += (data[at : found.start()], MASK)
            at = found.end()
            if at > safe:
                safe = self._safe_until(data, at)
        shown.append(data[at:safe])
        self._kept = data[safe:]
        return b"".join(shown)

    def end(self) -> bytes:
        """Return what was kept back: no longer value begins there, but a shorter one may be in it."""
        rest, self._kept = self._kept, b""
        return self._any.sub(MASK, rest) if rest else b""

    def _safe_until(self, data: bytes, start: int) -> int:
        """Return where the end begins that may be the beginning of a value."""
        longest = self._longest - 1
        if data.find(b"\x1b", max(start, len(data) - longest - _GAPS_LENGTH)) >= 0:
            longest += _GAPS_LENGTH
        for place in range(max(start, len(data) - longest), len(data)):
            tail = data[place:]
            if b"\x1b" in tail:
                tail = _GAPS.sub(b"", tail)
            if any(len(value) > len(tail) and value.startswith(tail) for value in self._values):
                return place
        return len(data)

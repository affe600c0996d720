"""What a step writes: how much of it is shown, and a file with all of it where that is not everything.

A step that fills the log of a CI service, or writes faster than anybody reads, must not hide what others say. Until
something is left out there is no file: what was shown is kept in memory, which the limit bounds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from builder.cli.human import human_size
from builder.cli.reporters import printable
from builder.patterns import pattern

SHOWN_LIMIT = 2 << 20
"""Bytes of one step that are shown."""

BURST_LIMIT = 1 << 20
"""Bytes that a step may write at once and have shown."""

RATE_LIMIT = 256 << 10
"""Bytes a second that are shown beyond that."""

FILE_LIMIT = 256 << 20
"""Bytes of one step that are kept in a file."""

_LINE_LIMIT = 64 << 10
"""Bytes of an unfinished line that are kept back for its end."""

_END = 8 << 10
"""Bytes at the end of a step's output that are kept for the case that it fails."""

_KEPT = 7 * 86400
"""Seconds for which a file is kept, whoever trims the store."""

_SEQUENCES = pattern(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-Z\\`-~])")
"""Colours and the like, and titles, links, pictures with what they hold."""


class Logs:
    """The logs of one command; ``folder`` gets files, once it is known and needed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder: Path | None = None
        self.clock = clock
        self._number = 0

    def step(self) -> StepLog:
        """Return the log of one more step."""
        return StepLog(self)

    def create(self) -> tuple[int, Path] | None:
        """Open a new file, None where that cannot be; old ones go."""
        if self.folder is None:
            return None
        self._number += 1
        path = self.folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{self._number}.log"
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            _remove_old(self.folder)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            return os.open(path, flags, 0o600), path
        except OSError:
            return None


def _remove_old(folder: Path) -> None:
    before = time.time() - _KEPT
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                if entry.stat(follow_symlinks=False).st_mtime < before:
                    os.unlink(entry.path)
            except OSError:
                continue


class StepLog:
    """What one step writes."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self._kept: list[bytes] = []
        """What was shown until something was left out."""
        self._shown = 0
        self._hidden = 0
        self._skipped = 0
        """Bytes that were left out since something was shown."""
        self._budget = float(BURST_LIMIT)
        self._at = logs.clock()
        self._file: tuple[int, Path] | None = None
        self._written = 0
        self._whole = True
        self._line_ended = True
        self._end = b""
        """The last bytes since then, shown or not."""

    def take(self, data: bytes) -> bytes:
        """Return what of ``data`` is to be shown, perhaps after a line that says how much was left out."""
        room = self._room()
        if len(data) > room or (self._hidden and self._shown >= SHOWN_LIMIT):
            self._hide(data)
            return b""
        self._budget -= len(data)
        self._shown += len(data)
        if self._hidden:
            self._go_on(data)
        else:
            self._kept.append(data)
        note = self._note()
        self._line_ended = data.endswith(b"\n")
        return note + data

    def text(self) -> bytes:
        """Return what was shown until something was left out."""
        return b"".join(self._kept)

    def last(self) -> list[str]:
        """Return the last lines since something was left out."""
        return whole_lines(self._end, cut=len(self._end) == _END)

    def last_hidden(self) -> list[str]:
        """Return the last lines, if they were not shown."""
        end = self._end[-self._skipped :] if self._skipped else b""
        return whole_lines(end, cut=len(end) == _END)

    def end(self) -> str:
        """Say what was left out and where it is, or nothing; nothing more is written."""
        if self._file is not None:
            os.close(self._file[0])
        if not self._hidden:
            return ""
        said = f"{human_size(self._hidden)} of its output are not shown"
        if self._file is None:
            return said
        where, self._file = self._file[1], None
        return f"{said}; all of it is in {where}" if self._whole else f"{said}; the first of it is in {where}"

    def _room(self) -> int:
        now = self._logs.clock()
        self._budget = min(float(BURST_LIMIT), self._budget + (now - self._at) * RATE_LIMIT)
        self._at = now
        return min(int(self._budget), SHOWN_LIMIT - self._shown)

    def _hide(self, data: bytes) -> None:
        if not self._hidden:
            self._file = self._logs.create()
            for one in self._kept:
                self._write(one)
        self._hidden += len(data)
        self._skipped += len(data)
        self._go_on(data)

    def _go_on(self, data: bytes) -> None:
        self._end = (self._end + data)[-_END:]
        self._write(data)

    def _note(self) -> bytes:
        if not self._skipped:
            return b""
        text = f"[{human_size(self._skipped)} not shown: too much at once]\n"
        self._skipped = 0
        return text.encode() if self._line_ended else f"\n{text}".encode()

    def _write(self, data: bytes) -> None:
        if self._file is None or not self._whole:
            return
        if self._written + len(data) > FILE_LIMIT:
            self._whole = False
            return
        try:
            os.write(self._file[0], data)
        except OSError:
            self._whole = False
        self._written += len(data)


def whole_lines(end: bytes, *, cut: bool) -> list[str]:
    """Return the lines at the end of an output, without the first if that may be ``cut`` and is not all there is."""
    found = Lines()
    lines = [*found.take(end), *found.end()]
    return lines[1:] if cut and len(lines) > 1 else lines


class Lines:
    """One stream cut into lines that can be shown: no control characters, of a line written over again the last."""

    __slots__ = ("_partial",)

    def __init__(self) -> None:
        self._partial = b""

    @property
    def partial(self) -> str:
        """The line that has not ended."""
        return shown_line(self._partial) if self._partial else ""

    def take(self, data: bytes) -> Iterator[str]:
        """Yield the lines that have ended."""
        *whole, rest = (self._partial + data).split(b"\n")
        if len(rest) > _LINE_LIMIT:
            whole.append(rest)
            rest = b""
        self._partial = rest
        return map(shown_line, whole)

    def end(self) -> list[str]:
        """Return the rest, if there is one."""
        rest, self._partial = self._partial, b""
        return [shown_line(rest)] if rest else []


def shown_line(line: bytes) -> str:
    """Return a line as people see it: without its colours, and only what was written last in its place."""
    text = line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")
    return printable(_SEQUENCES.sub("", text) if "\x1b" in text else text)

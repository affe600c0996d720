"""A blob into a registry while its file is still being written (docs/adr/0013): pieces follow the file as it grows.

The digest is known when the file is complete; then one PUT makes a blob of the pieces, and not before ``commit``. The
file stays the truth: whatever goes wrong here costs time only, for the upload is cancelled and an ordinary one follows.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import BinaryIO

from builder.errors import BuilderError, InterruptedBuildError
from builder.events import Reporter, Transfer
from builder.image.descriptor import Descriptor
from builder.image.reference import Reference
from builder.registry.session import Session
from builder.registry.upload import Begun, Pieces, begin, cancel, exists, finish, send_piece

PIECE = 16 << 20
"""Bytes of a piece, and of a file for which an upload is begun at all."""

_TICK = 0.02
_WAIT_SECONDS = 60.0
"""How long a registry may take to answer a piece; the ordinary upload has more patience."""

_PARTING_SECONDS = 2.0

_TELL_SECONDS = 0.1


class Telling:
    """Tells how much of ``what`` is sent, not oftener than anybody looks."""

    def __init__(self, reporter: Reporter, what: str) -> None:
        self._reporter = reporter
        self._last = Transfer("push", what, 0, 0)
        self._told = 0.0

    def sent(self, current: int, total: int) -> None:
        """Tell of bytes that went out; the last one counts when the registry says that it has all."""
        now = time.monotonic()
        current = min(current, total - 1) if total else current
        told = self._last.current, self._last.total
        if now - self._told >= _TELL_SECONDS or total != told[1] or (current == total - 1 != told[0]):
            self._told = now
            self._tell(current, total)

    def arrived(self, size: int) -> None:
        """Tell that the registry has it."""
        self._tell(size, size)

    def given_up(self) -> None:
        """Tell that nothing comes of what was told, if anything was."""
        if self._told and not self._last.given_up:
            self._tell(self._last.current, self._last.total, given_up=True)

    def _tell(self, current: int, total: int, *, given_up: bool = False) -> None:
        self._last = Transfer("push", self._last.what, current, total, given_up)
        self._reporter.emit(self._last)


class Following:
    """The upload of a file that grows at ``path``, on a thread of its own; begun once there is a whole piece.

    ``complete`` or ``cancel`` must be called. Nothing is raised, ``commit`` says whether the blob is there.
    """

    def __init__(self, session: Session, reference: Reference, path: Path, pieces: Pieces, telling: Telling) -> None:
        self._session = session.varied(_WAIT_SECONDS)
        self._patient = session
        self._reference = reference
        self._path = path
        self._telling = telling
        self._limit = min(PIECE, pieces.limit(reference.registry) or PIECE)
        self._action = f"cannot push a layer in the making to {reference.name}"
        self._descriptor: Descriptor | None = None
        self._changed = threading.Event()
        self._cancelled = False
        self._begun: Begun | None = None
        self._there = self._asked = False
        self.failed = False
        """Whether the registry did not take what it should."""
        self._thread = threading.Thread(target=self._run, name="follow", daemon=True)
        self._thread.start()

    def complete(self, descriptor: Descriptor) -> None:
        """Tell that the file has all of its bytes, and what they are."""
        self._descriptor = descriptor
        self._changed.set()

    def commit(self) -> bool:
        """Wait for the last piece and make a blob of all; return whether the registry has it.

        Raises InterruptedBuildError.
        """
        while self._thread.is_alive():
            self._thread.join(_TICK)
            self._patient.go_on()
        begun, self._begun = self._begun, None
        if begun is not None and self._descriptor is not None and not self._cancelled:
            try:
                finish(self._patient, self._reference, self._descriptor.digest, begun.location)
                self._there = True
            except InterruptedBuildError:
                raise
            except BuilderError:
                # It may be there all the same: the ordinary upload looks first.
                self.failed, self._begun = True, begun
                self._abandon()
        if self._there and self._descriptor is not None:
            self._telling.arrived(self._descriptor.size)
        return self._there

    def cancel(self) -> None:
        """End what is under way and let the registry forget it; harmless after ``commit``. Waits little."""
        self._cancelled = True
        self._changed.set()
        self._thread.join(2 * _PARTING_SECONDS)
        if not self._thread.is_alive():
            self._abandon()

    def _run(self) -> None:
        try:
            self._follow()
        except (BuilderError, OSError):
            self.failed = True
            self._abandon()

    def _follow(self) -> None:
        stream = self._opened()
        if stream is None:
            return
        with stream:
            self._begun = begin(self._session, self._reference)
            piece = max(self._limit, self._begun.least)
            start = 0
            while size := self._ready(stream, start, piece):
                self._begun = self._sent(stream, start, size, self._begun)
                start += size
        if self._there:
            self._abandon()

    def _opened(self) -> BinaryIO | None:
        """Wait for a whole piece; return None for a file that ends before, or has been moved by now."""
        ended = False
        while not self._cancelled and not ended:
            ended = self._descriptor is not None
            with contextlib.suppress(FileNotFoundError):
                if os.stat(self._path).st_size >= self._limit:
                    return open(self._path, "rb", buffering=0)
            self._changed.wait(_TICK)
        return None

    def _ready(self, stream: BinaryIO, start: int, piece: int) -> int:
        """Wait for the next piece and return its size, 0 if there is none."""
        while True:
            self._go_on()
            whole = self._descriptor
            if whole is not None:
                self._telling.sent(start, whole.size)
                # Somebody else may have built the same.
                self._asked, asked = True, self._asked
                self._there = not asked and exists(self._session, self._reference, whole.digest)
                return 0 if self._there else min(piece, whole.size - start)
            if os.fstat(stream.fileno()).st_size - start >= piece:
                return piece
            self._changed.wait(_TICK)

    def _sent(self, stream: BinaryIO, start: int, size: int, begun: Begun) -> Begun:
        def opened() -> BinaryIO:
            return os.fdopen(os.dup(stream.fileno()), "rb", buffering=0)

        def report(sent: int) -> None:
            # Whoever has sent all of it waits for the answer: that says where the upload is by now.
            if sent < size:
                self._go_on()
            self._telling.sent(start + sent, 0 if self._descriptor is None else self._descriptor.size)

        location = send_piece(self._session, self._reference, self._action, begun.location, opened, start, size, report)
        return Begun(location, begun.least)

    def _go_on(self) -> None:
        if self._cancelled:
            raise InterruptedBuildError("nobody waits for this upload any more")

    def _abandon(self) -> None:
        begun, self._begun = self._begun, None
        if not self._there:
            self._telling.given_up()
        if begun is not None:
            cancel(self._patient.varied(_PARTING_SECONDS, threading.Event()), self._reference, begun.location)

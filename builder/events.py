"""What the engine tells the world while it works; reporters turn these into text.

Events are plain values without secrets. Times are seconds of a monotonic clock's difference, sizes bytes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Literal, Protocol

from builder.values import dataclass


@dataclass(frozen=True, slots=True)
class BuildStarted:
    """The graph is known: ``total`` vertices lie between the sources and the target; ``stages`` have so many each.

    It may come again: a build whose cache turns out to be damaged begins anew.
    """

    total: int
    stages: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class VertexStarted:
    """Work on a vertex begins; ``vertex`` is its id, ``name`` what people read.

    ``stage`` is that of the Dockerfile, ``lines`` its first and last line there, zeros where it has none; ``looked`` is
    how long its result was looked for.
    """

    vertex: str
    name: str
    stage: str = ""
    lines: tuple[int, int] = (0, 0)
    looked: float = 0.0


@dataclass(frozen=True, slots=True)
class VertexCompleted:
    """A vertex has its result. ``cached`` means nothing was executed for it; else ``reason`` says why, if known.

    ``layer`` is the digest of the layer it adds and ``size`` its compressed bytes; of a base image, those of all its
    layers together. Nothing and 0 for one that adds none.
    """

    vertex: str
    name: str
    seconds: float
    cached: bool
    reason: str = ""
    stage: str = ""
    lines: tuple[int, int] = (0, 0)
    layer: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class VertexFailed:
    """A vertex ended the build; ``message`` is the error's text, with the lines of the Dockerfile."""

    vertex: str
    name: str
    seconds: float
    message: str
    stage: str = ""
    lines: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class WorkStarted:
    """Something else than a step begins that may take a while: planning, writing an output, a push."""

    name: str


@dataclass(frozen=True, slots=True)
class WorkCompleted:
    """It has ended, well or not."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Output:
    """A piece of what a RUN wrote, in order per stream, not cut at line ends, the values of secrets masked."""

    vertex: str
    stream: Literal["stdout", "stderr"]
    data: bytes


@dataclass(frozen=True, slots=True)
class Transfer:
    """Bytes of one blob on their way; ``total`` is 0 while unknown.

    ``what`` is its digest, or ``layer of STEP`` for one that is sent while it is packed. It has arrived when
    ``current`` is ``total``; ``given_up`` means that what was sent came to nothing, and counts no more.
    """

    direction: Literal["pull", "push"]
    what: str
    current: int
    total: int
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class Stopping:
    """Somebody has asked the command to stop, for the first time."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something worth saying that is not a problem."""

    message: str


@dataclass(frozen=True, slots=True)
class Warned:
    """A problem that does not end the build; ``code`` names its kind."""

    message: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class BuildFinished:
    """The image is complete: manifest digest, and where it went."""

    digest: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The command ends with ``exit_code``; ``message`` says why, with its place, and ``hint`` the way out.

    ``code`` names the kind of the failure in the catalogue of errors.
    """

    message: str
    hint: str
    exit_code: int
    code: str = ""


Event = (
    BuildStarted
    | VertexStarted
    | VertexCompleted
    | VertexFailed
    | WorkStarted
    | WorkCompleted
    | Output
    | Transfer
    | Stopping
    | Notice
    | Warned
    | BuildFinished
    | Failed
)


class Reporter(Protocol):
    """Receives events, from any thread; must not raise and must not block for long."""

    def emit(self, event: Event) -> None:
        """Take one event."""
        ...


def warner(reporter: Reporter, code: str) -> Callable[[str], None]:
    """Return what emits a warning about ``code``."""
    return lambda message: reporter.emit(Warned(message, code))


@contextlib.contextmanager
def work(reporter: Reporter, name: str) -> Iterator[None]:
    """Tell of work that is no step: when the block began and how long it took."""
    started = time.monotonic()
    reporter.emit(WorkStarted(name))
    try:
        yield
    finally:
        reporter.emit(WorkCompleted(name, time.monotonic() - started))


class SilentReporter:
    """Drops every event."""

    def emit(self, event: Event) -> None:
        """Do nothing."""

"""When to ask a registry again, and how long to wait before it: exponential backoff with full jitter and a budget."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from typing import TypeVar

from builder.registry.errors import LOST, SLOW, UNREACHABLE, TransientRegistryError
from builder.values import dataclass, field

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """At most ``attempts`` tries, and never more than ``budget`` seconds of waiting in between.

    A server's Retry-After is obeyed while it fits into the budget. A host where nobody has ever answered is
    asked only ``connect_attempts`` times: it is more often a wrong name than a short outage; and so is one that is too
    slow, for which every one of them takes minutes.
    """

    attempts: int = 6
    connect_attempts: int = 3
    first: float = 0.5
    longest: float = 20.0
    budget: float = 120.0
    within: float = math.inf
    """Seconds without progress, tries included, after which none is begun any more."""
    step: int = 16 << 10
    """The least progress that counts, of whatever it is counted in: a few bytes at each try are none."""
    once: frozenset[str] = frozenset()
    """Error codes after which nothing is tried again, for whatever: the server is ``given_up``."""
    given_up: list[TransientRegistryError] = field(default_factory=list, compare=False, repr=False)
    """The first such failure; everybody with this list is told at once."""
    sleep: Callable[[float], object] = time.sleep
    random: Callable[[], float] = field(default=random.random)
    clock: Callable[[], float] = time.monotonic

    def delay(self, error: TransientRegistryError, failures: int, waited: float) -> float | None:
        """Return the seconds to wait after the ``failures``-th failure, None to give up."""
        few = SLOW in error.codes or (UNREACHABLE in error.codes and LOST not in error.codes)
        if self.given_up or failures >= (self.connect_attempts if few else self.attempts):
            return None
        ceiling = min(self.longest, self.first * 2.0 ** (failures - 1))
        wait = ceiling * (0.1 + 0.9 * self.random())
        if error.retry_after is not None:
            # Everyone was told the same number: spread out after it, not before it.
            wait += error.retry_after
        return wait if waited + wait <= self.budget else None

    def run(self, attempt: Callable[[], T], progress: Callable[[], int] = lambda: 0) -> T:
        """Call ``attempt`` until it returns; its last TransientRegistryError is raised when patience ends.

        Failures are counted anew while ``progress()`` grows: a long transfer over a bad line gets through.
        """
        failures, waited, reached, begun = 0, 0.0, 0, self.clock()
        while True:
            if self.given_up:
                raise _again(self.given_up[0])
            try:
                return attempt()
            except TransientRegistryError as error:
                if self.once.intersection(error.codes):
                    self.given_up.append(_again(error))
                if progress() - reached >= self.step and SLOW not in error.codes:
                    failures, reached, begun = 0, progress(), self.clock()
                failures += 1
                wait = self.delay(error, failures, waited)
                if wait is None or self.clock() - begun + wait > self.within:
                    raise
            self.sleep(wait)
            waited += wait


def _again(error: TransientRegistryError) -> TransientRegistryError:
    """Return the same failure for somebody else: whoever catches one adds to its message."""
    return TransientRegistryError(error.message, host=error.host, repository=error.repository, codes=error.codes)

"""Whether a build's pushes will be let in, asked while the build begins: not after an hour of it.

Nobody waits for the answers: a refusal ends the steps that are being executed by then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from builder.engine.request import BuildRequest, CacheTarget, pushed_names
from builder.errors import BuilderError, InterruptedBuildError
from builder.events import Reporter, Warned
from builder.image.reference import Reference
from builder.registry.errors import STALLED, RegistryError

if TYPE_CHECKING:
    from builder.registry.client import Registry

_COURTESY = 0.05
"""Seconds in which the first step begins, before an HTTP client is imported; while it runs nobody misses that time."""


class PushRights:
    """Asks every repository a request pushes to, on threads of its own; without a push there is nothing to do.

    Caches that are written are asked too, with less patience.
    """

    def __init__(self, request: BuildRequest, registry: Callable[[], Registry]) -> None:
        self._registry = registry
        self._cache_to = request.cache_to
        self._pushed = push_targets(request)
        self._failed: dict[str, Exception] = {}
        self._enforced: tuple[CacheTarget, ...] | None = None
        self._hurried = threading.Event()
        self._over = False
        names = {one.name for one in self._pushed}
        caches = {one.name: one for target in request.cache_to if (one := target.place.reference) is not None}
        asked = [(one, False) for one in self._pushed]
        asked += [(one, True) for name, one in caches.items() if name not in names]
        self._threads = [threading.Thread(target=self._ask, args=one, name="push-rights", daemon=True) for one in asked]
        for thread in self._threads:
            thread.start()

    def enforce(self, reporter: Reporter) -> tuple[CacheTarget, ...]:
        """Wait for the answers, and return the caches that are to be written: without those that only cost a warning.

        Raises the first AuthenticationError or RegistryError. A cache that is only out of reach may be there when the
        image is done; one that stalls is not worth as much waiting again.
        """
        self._hurried.set()
        if self._enforced is None:
            self._enforced = self._wait(reporter)
        return self._enforced

    def glance(self, reporter: Reporter) -> None:
        """Raise what ``enforce`` does, if all answers are there."""
        if not any(thread.is_alive() for thread in self._threads):
            self.enforce(reporter)

    def close(self) -> None:
        """Ask nobody who has not been asked yet."""
        self._over = True
        self._hurried.set()

    def _wait(self, reporter: Reporter) -> tuple[CacheTarget, ...]:
        for thread in self._threads:
            thread.join()
        for one in self._pushed:
            if one.name in self._failed:
                raise self._failed[one.name]
        return tuple(one for one in self._cache_to if self._may_be_written(one, reporter))

    def _may_be_written(self, target: CacheTarget, reporter: Reporter) -> bool:
        where = target.place.reference
        error = None if where is None else self._failed.get(where.name)
        if error is None:
            return True
        if not isinstance(error, BuilderError) or isinstance(error, InterruptedBuildError):
            raise error
        if error.retryable and not (
            target.ignore_error and isinstance(error, RegistryError) and STALLED in error.codes
        ):
            return True
        if target.ignore_error:
            reporter.emit(Warned(f"the cache {target.place.name} will not be written: {error.message}", "cache"))
            return False
        error.message = f"the cache {target.place.name} cannot be written: {error.message}"
        error.hint = "; ".join(filter(None, (error.hint, "ignore-error=true makes this a warning")))
        raise error

    def _ask(self, reference: Reference, hasty: bool) -> None:
        self._hurried.wait(_COURTESY)
        if self._over:
            return
        try:
            registry = self._registry()
            (registry.hasty() if hasty else registry).check_push(reference)
        except Exception as error:  # noqa: BLE001  carried to the caller's thread, whatever it is
            self._failed[reference.name] = error


def push_targets(request: BuildRequest) -> list[Reference]:
    """Return one reference into each repository that a request pushes to."""
    names = pushed_names(request.outputs, request.tags)
    return list({(name.registry, name.repository): name for name in names}.values())

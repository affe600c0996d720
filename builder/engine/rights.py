"""Whether a build's pushes will be let in, asked while the build begins: not after an hour of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from builder.engine.request import BuildRequest
from builder.image.reference import Reference

if TYPE_CHECKING:
    from builder.registry.client import Registry


class PushRights:
    """Asks every repository a request pushes to, on threads of its own; without a push there is nothing to do."""

    def __init__(self, request: BuildRequest, registry: Callable[[], Registry]) -> None:
        self._registry = registry
        self._failed: list[Exception] = []
        self._threads = [
            threading.Thread(target=self._ask, args=(one,), name="push-rights", daemon=True)
            for one in push_targets(request)
        ]
        for thread in self._threads:
            thread.start()

    def enforce(self) -> None:
        """Wait for the answers. Raises the first AuthenticationError or RegistryError."""
        for thread in self._threads:
            thread.join()
        if self._failed:
            raise self._failed[0]

    def _ask(self, reference: Reference) -> None:
        try:
            self._registry().check_push(reference)
        except Exception as error:  # noqa: BLE001  carried to the caller's thread, whatever it is
            self._failed.append(error)


def push_targets(request: BuildRequest) -> list[Reference]:
    """Return one reference into each repository that a request pushes to."""
    names = [name for one in request.outputs if one.kind == "registry" for name in one.names or request.tags]
    return list({(name.registry, name.repository): name for name in names}.values())

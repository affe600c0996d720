"""The sandbox of a build, started by its first RUN that is not cached and closed once."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from builder.cache.store import Store
from builder.events import Reporter

if TYPE_CHECKING:
    from builder.run.sandbox import Sandbox


class LazySandbox:
    """Makes a ``Sandbox`` when it is first asked for. Thread-safe."""

    def __init__(
        self, store: Store, isolation: str, snapshotter: str, reporter: Reporter, *, ignore_user: bool = False
    ) -> None:
        """``ignore_user``: see ``run.sandbox``."""
        self._store = store
        self._isolation = isolation
        self._snapshotter = snapshotter
        self.ignore_user = ignore_user
        self._reporter = reporter
        self._lock = threading.Lock()
        self._early: threading.Thread | None = None
        self._sandbox: Sandbox | None = None
        self._surely_single: bool | None = None

    @property
    def surely_single(self) -> bool:
        """Say whether RUN can only have one uid here, as far as that shows without a try. Raises SandboxError.

        With it a warm build of a user without subordinate ids finds its steps and starts no sandbox.
        """
        with self._lock:
            if self._surely_single is None:
                from builder.run.probe import attempts, gather

                self._surely_single = all(one.mode == "single" for one in attempts(self._isolation, gather()))
            return self._surely_single

    def get(self) -> Sandbox:
        """Return the sandbox. Raises SandboxError where no mode works."""
        from builder.run.sandbox import Sandbox

        with self._lock:
            if self._sandbox is None:
                self._sandbox = Sandbox(
                    self._store.root,
                    scratch=lambda: self._store.scratch(run=True),
                    stale=self._store.stale_scratch,
                    isolation=self._isolation,
                    snapshotter=self._snapshotter,
                    ignore_user=self.ignore_user,
                    touch=self._store.touch,
                    reporter=self._reporter,
                )
            return self._sandbox

    def start_early(self) -> None:
        """Start it on a thread, for a RUN that will very likely be executed; what is wrong with it, ``get`` says."""

        def start() -> None:
            with contextlib.suppress(Exception):
                self.get().mode  # noqa: B018  asking starts it

        if self._early is None:
            self._early = threading.Thread(target=start, name="sandbox", daemon=True)
            self._early.start()

    def close(self) -> None:
        """End what was started."""
        if self._early is not None:
            self._early.join()
        with self._lock:
            if self._sandbox is not None:
                self._sandbox.close()
                self._sandbox = None

"""Work that belongs together, several pieces at a time: the first that fails ends it, also what is under way.

Only transfers look whether it has ended, between two pieces of a body (``Session.go_on``): a large blob would do
nothing but delay the error.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

_here = threading.local()


def is_over() -> bool:
    """Say whether another piece of the work that this thread belongs to has failed."""
    ended: threading.Event | None = getattr(_here, "ended", None)
    return ended is not None and ended.is_set()


def in_parallel(tasks: Sequence[Callable[[], object]], jobs: int) -> None:
    """Run ``tasks`` on up to ``jobs`` threads; the first error ends it and is raised, the other tasks are dropped."""
    pending = iter(tasks)
    lock = threading.Lock()
    ended = threading.Event()
    errors: list[BaseException] = []

    def work() -> None:
        _here.ended = ended
        while True:
            with lock:
                task = None if errors else next(pending, None)
            if task is None:
                return
            try:
                task()
            except BaseException as error:  # noqa: BLE001  carried to the caller's thread, whatever it is
                with lock:
                    errors.append(error)
                ended.set()

    threads = [threading.Thread(target=work, name=f"transfer-{n}", daemon=True) for n in range(min(jobs, len(tasks)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]

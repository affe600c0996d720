"""The store and the registries that commands and programs work with: opened here, closed at the end of a block."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from builder.events import Reporter, Warned

if TYPE_CHECKING:
    from builder.engine.build import Environment
    from builder.registry.client import Registry
    from builder.registry.credentials import CredentialSource
    from builder.registry.session import SessionSettings

_TRANSFERS = 4
"""Blobs at a time, also on machines with fewer processors: they wait for the network most of the time."""

_OFFLINE = "bring it into the store before, with pybuild pull or warm, or drop --offline"


@contextlib.contextmanager
def opened(
    root: Path, second: Path | None, connect: Callable[[], Registry], reporter: Reporter, cancel: threading.Event
) -> Iterator[Environment]:
    """Yield the store ``root``, and registries for when they are needed; ``second`` is a store that is only read.

    Raises OutputError for a store that cannot be one. What turns out to be damaged in it is removed at the end.
    """
    from builder.cache.blobs import UnreadableBlobError
    from builder.cache.store import Store
    from builder.engine.build import Environment
    from builder.image.digest import DigestMismatchError
    from builder.rootfs.entry import LayerFormatError

    def warn(message: str) -> None:
        reporter.emit(Warned(message, "store"))

    with contextlib.ExitStack() as closing:
        store = closing.enter_context(Store.open(root, warn=warn, second=second))
        make, close = _once(connect)
        closing.callback(close)
        try:
            yield Environment(store, make, reporter, cancel)
        except (DigestMismatchError, LayerFormatError, UnreadableBlobError) as error:
            if store.blobs.blame():
                error.hint = "what was damaged in the store has been removed: have it built, loaded or pulled again"
            raise


def connector(
    accounts: Callable[[], CredentialSource],
    settings: Callable[[], SessionSettings],
    reporter: Reporter,
    cancel: threading.Event,
    *,
    jobs: int,
    upload_piece: int = 0,
    offline: bool = False,
) -> Callable[[], Registry]:
    """Return what makes the registry client; ``offline`` makes it a RegistryError to ask for one."""

    def connect() -> Registry:
        if offline:
            from builder.registry.errors import RegistryError

            raise RegistryError("--offline: a registry would have to be asked", hint=_OFFLINE)
        from builder.registry.client import Registry

        return Registry(
            accounts(),
            settings(),
            jobs=max(_TRANSFERS, jobs),
            reporter=reporter,
            cancel=cancel,
            upload_piece=upload_piece,
        )

    return connect


def _once(connect: Callable[[], Registry]) -> tuple[Callable[[], Registry], Callable[[], None]]:
    """Return what makes the registry client once, when it is needed, and what closes it."""
    made: list[Registry] = []
    lock = threading.Lock()

    def make() -> Registry:
        with lock:
            if not made:
                made.append(connect())
            return made[0]

    def close() -> None:
        for one in made:
            one.close()

    return make, close

"""The store and the registries that commands and programs work with: opened here, closed at the end of a block."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from builder.events import Reporter, warner
from builder.values import replace

if TYPE_CHECKING:
    from builder.engine.build import Environment
    from builder.registry.client import Registry
    from builder.registry.credentials import CredentialSource
    from builder.registry.session import SessionSettings
    from builder.settings import RegistrySettings, Settings

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

    warn = warner(reporter, "store")

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


def for_one_call(registry: Registry, cancel: threading.Event, reporter: Reporter) -> Registry:
    """Return a client with the connections of ``registry``, for work with an end and a listener of its own."""
    import copy

    one = copy.copy(registry)
    one.session = registry.session.varied(cancel=cancel, reporter=reporter)
    one.retry = replace(registry.retry, sleep=cancel.wait)
    return one


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


def account_source(given: Mapping[str, tuple[str, str]], variables: Mapping[str, str]) -> CredentialSource:
    """Return the accounts a program gives, user and password by host, before those that are configured."""
    from builder.registry.credentials import ConfiguredCredentials, Credential, GivenCredentials

    configured = ConfiguredCredentials(variables)
    if not given:
        return configured
    source = "the program"
    return GivenCredentials(
        {host: Credential(username=user, password=password, source=source) for host, (user, password) in given.items()},
        configured,
    )


def read_files(named: str | os.PathLike[str] | None, variables: Mapping[str, str]) -> Settings:
    """Return what the file ``named`` says, else those of the user and the machine. Raises UsageError."""
    from builder.settings import Settings, read_settings, settings_files

    files = settings_files(None if named is None else os.fspath(named), variables)
    return read_settings(files) if files else Settings()


def reached(
    given: Mapping[str, RegistrySettings], settings: Settings, variables: Mapping[str, str]
) -> Callable[[], SessionSettings]:
    """Return what makes the settings of the registry client when one is needed. Mistakes in files are found now."""
    own = {host: replace(one, place=one.place or f'registries["{host}"]') for host, one in given.items()}
    settings = replace(settings, registries={**settings.registries, **own})

    def make() -> SessionSettings:
        from builder.registry.configured import session_settings

        return session_settings(settings, variables)

    if not (settings.registries or settings.maps):
        return make
    made = make()
    return lambda: made

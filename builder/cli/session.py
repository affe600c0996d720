"""The process around a command: its standard streams, its signals, and the store and registries it works with."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from builder.api.opening import connector, opened
from builder.cli.accounts import credential_source
from builder.cli.charset import settle_characters
from builder.cli.registries import file_settings, session_settings, upload_piece
from builder.cli.reporters import INTERRUPTED, make_reporter
from builder.errors import InterruptedBuildError
from builder.events import Reporter, Stopping, warner

if TYPE_CHECKING:
    from builder.engine.bases import Bases
    from builder.engine.build import Environment
    from builder.settings import Settings

_GRACE = 3.0
"""Seconds that a build has for stopping in good order."""

_TELLING = 0.2
"""Seconds in which it is told that the build stops."""

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def open_standard_streams() -> None:
    """Let standard streams that were closed lead nowhere: the next file opened would have their descriptors.

    What they cannot carry is replaced.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  open until the process ends
    settle_characters(sys.stdout, os.environ)
    settle_characters(sys.stderr, os.environ)


@contextlib.contextmanager
def environment(
    options: argparse.Namespace, reporter: Reporter, jobs: int, at_last: Callable[[], bytes] = lambda: INTERRUPTED
) -> Iterator[Environment]:
    """Yield what commands work with, and close it; ``at_last`` has the last word when a signal ends all at once.

    Raises OutputError when there is no store, UsageError for bad options of registries or settings.
    """
    from builder.cache.location import choose_root
    from builder.settings import chosen_store

    warn = warner(reporter, "store")

    settings = file_settings(options, os.environ)
    reach = session_settings(options, os.environ, settings)
    accounts = credential_source(options, os.environ, reporter)
    piece, offline = upload_piece(options), getattr(options, "offline", False)
    cancel = threading.Event()
    connect = connector(accounts, reach, reporter, cancel, jobs=jobs, upload_piece=piece, offline=offline)
    root = choose_root(os.environ, chosen_store(options.root, os.environ, settings), os.geteuid(), warn=warn)
    with (
        opened(root, _second(options, settings), connect, reporter, cancel) as env,
        _signals(cancel, lambda: reporter.emit(Stopping()), at_last),
    ):
        yield env


def _second(options: argparse.Namespace, settings: Settings) -> Path | None:
    """Return the store that is only read, for commands that may have one."""
    if not hasattr(options, "store_ro"):
        return None
    text = options.store_ro or os.environ.get("PYBUILD_STORE_RO")
    return Path(os.path.abspath(text)) if text else settings.store_ro


def looking(options: argparse.Namespace, jobs: int = 1) -> contextlib.AbstractContextManager[Environment]:
    """Return ``environment`` for commands that have little to show on the way."""
    return environment(options, make_reporter(options.progress, sys.stderr), jobs)


@contextlib.contextmanager
def working(options: argparse.Namespace) -> Iterator[Environment]:
    """Yield what commands on images work with; until its end, nothing in the store is removed by others.

    With ``--quiet`` only warnings are shown. Raises as ``environment`` does.
    """
    from builder.cli.reporters import showing
    from builder.engine.machine import available_cpus

    with (
        showing(options.progress, sys.stderr, os.environ) as display,
        environment(options, display, available_cpus(), display.abandon) as env,
    ):
        env.store.hold_lease()
        yield env


def bases(env: Environment) -> Bases:
    """Return what finds images that are in the store, for commands that look at them."""
    from builder.engine.bases import Bases

    return Bases(env.store, env.registry, env.reporter, pull="missing", now=lambda: int(time.time()))


@contextlib.contextmanager
def _signals(cancel: threading.Event, at_first: Callable[[], None], at_last: Callable[[], bytes]) -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP ask the build to stop; a second one, or a few seconds more, end the process.

    What waits for a network or a pipe does not look whether it should stop; a store bears that its user vanishes. A
    thread listens, because Python calls handlers only between two steps of the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [number for number in _STOPPING if signal.getsignal(number) is not signal.SIG_IGN]  # as nohup leaves it
    before = {number: signal.signal(number, lambda *_: None) for number in heard}
    listening, speaking = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(speaking)
    listener = threading.Thread(
        target=_listen, args=(listening, cancel, at_first, at_last), name="signals", daemon=True
    )
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        os.write(speaking, b"\0")
        listener.join()
        os.close(listening)
        os.close(speaking)
        for number, handler in before.items():
            signal.signal(number, handler)


def _listen(pipe: int, cancel: threading.Event, at_first: Callable[[], None], at_last: Callable[[], bytes]) -> None:
    """Read the numbers of signals until a zero; end the process when it was asked to stop and does not."""
    asked = False
    while True:
        ready, _, _ = select.select([pipe], [], [], _GRACE if asked else None)
        numbers = os.read(pipe, 64) if ready else b""
        if 0 in numbers:
            return
        told = sum(number in _STOPPING for number in numbers)
        if ready and not told:
            continue
        if asked or told > 1:
            try:
                word = at_last()
                # Not through sys.stderr, whose lock the main thread may hold. The terminal may be what is gone.
                with contextlib.suppress(OSError):
                    os.write(2, word)
            finally:
                os._exit(InterruptedBuildError.exit_code)
        asked = True
        # A terminal that takes nothing, as after Ctrl-S, must not keep us from stopping.
        telling = threading.Thread(target=at_first, daemon=True)
        telling.start()
        telling.join(_TELLING)
        cancel.set()

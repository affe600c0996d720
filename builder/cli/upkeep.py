"""The store's size and room: warnings before a build, and trimming after it, at most once an hour."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import BuilderError
from builder.events import Notice, Warned

if TYPE_CHECKING:
    from builder.engine.build import Environment

USUAL = (50 << 30, 20)
"""Bytes and percents of the file system, of which the smaller is the usual limit."""

LOW = 100 << 20
"""Bytes; with less room a build is warned."""

EVERY = 3600.0
"""Seconds between two times that builds trim a store."""

_SPARED = 600.0
"""Seconds for which what was used is not trimmed: the build that has just ended is likely to be repeated."""

_LONGEST = 5.0
_ROOM = 0.9
"""How full a store is after trimming, so that not every build has to do it."""

_MARKER = "trimmed"
VARIABLE = "PYBUILD_STORE_MAX_SIZE"


def warn_if_low(env: Environment) -> None:
    """Warn when there is hardly any room for the store."""
    room = env.store.room()
    if room is not None and room < LOW:
        from builder.cli.human import human_size

        where = f"only {human_size(room)} are free on the file system of the store {env.store.root}"
        env.reporter.emit(Warned(f"{where}; pybuild cache prune makes room", "space"))


def check_size(options: argparse.Namespace, environment: Mapping[str, str]) -> None:
    """Raise UsageError for a wrong limit, before any work."""
    _given(options, environment)


def limit(options: argparse.Namespace, environment: Mapping[str, str], root: Path) -> int | None:
    """Return how many bytes the store may have, None for any number. Raises UsageError."""
    from builder.cli.amounts import store_size
    from builder.settings import read_settings, settings_files

    given = _given(options, environment)
    if given is _UNSAID:
        found = read_settings(settings_files(getattr(options, "config", None), environment)).store_size
        given = USUAL if found is None else store_size(found[1], found[0])
    if given is None:
        return None
    most, share = given
    try:
        status = os.statvfs(root)
    except OSError:
        return most
    whole = status.f_blocks * status.f_frsize
    return min(most, whole * share // 100) if whole else most


_UNSAID = (0, 0)


def _given(options: argparse.Namespace, environment: Mapping[str, str]) -> tuple[int, int] | None:
    for place, text in (
        ("--store-max-size", getattr(options, "store_max_size", None)),
        (VARIABLE, environment.get(VARIABLE)),
    ):
        if text:
            from builder.cli.amounts import store_size

            return store_size(place, text)
    return _UNSAID


def trim(options: argparse.Namespace, environment: Mapping[str, str], env: Environment) -> None:
    """Bring the store below its limit if it is time for that. What goes wrong is a warning: the build is done."""
    marker = env.store.root / _MARKER
    try:
        if 0 <= time.time() - os.lstat(marker).st_mtime < EVERY:
            return
    except OSError:
        pass
    try:
        # First, so that builds that end now do not all trim.
        _mark(marker)
        _trim(limit(options, environment, env.store.root), env)
    except (BuilderError, OSError) as error:
        env.reporter.emit(Warned(f"cannot trim the store {env.store.root}: {error}", "store"))


def _mark(marker: Path) -> None:
    fd = os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.utime(fd)
    finally:
        os.close(fd)


def _trim(most: int | None, env: Environment) -> None:
    if most is None:
        return
    from builder.cache.prune import Limits
    from builder.cache.usage import total
    from builder.images.tidying import Tidying

    end = time.monotonic() + _LONGEST
    tidying = Tidying(env.store, env.reporter, thorough=False)
    try:
        if total(tidying.items()) <= most:
            return
        done = tidying.prune(
            Limits(size=int(most * _ROOM)),
            spared=_SPARED,
            go_on=lambda: time.monotonic() < end and not env.cancel.is_set(),
        )
    finally:
        tidying.close()
    if done.removed:
        from builder.cli.human import human_size

        text = f"the store had more than {human_size(most)}: {human_size(done.size)} that were not used lately are gone"
        env.reporter.emit(Notice(text))

"""``--source-date-epoch`` and ``--reproducible`` of commands that change images, as a build has them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from builder.errors import UsageError

if TYPE_CHECKING:
    from builder.engine.times import TimePolicy

EPOCH_NAME = "SOURCE_DATE_EPOCH"
LAST = 253402300799
"""The last second of year 9999: RFC 3339 and tar headers end there."""


def seconds(where: str, text: str) -> int:
    """Return unix seconds. Raises UsageError."""
    if not text.isascii() or not text.isdigit() or len(text) > 20 or int(text) > LAST:
        raise UsageError(
            f"{where} is {text[:40]!r}, not a number of seconds since 1970", hint="e.g. $(git log -1 --pretty=%ct)"
        )
    return int(text)


def epoch_of(options: argparse.Namespace, environment: Mapping[str, str]) -> int | None:
    """Return the epoch: the option's, else the environment's; empty means none. Raises UsageError."""
    given = options.source_date_epoch
    if given is not None:
        return seconds("--source-date-epoch", given) if given else None
    text = environment.get(EPOCH_NAME)
    return seconds(EPOCH_NAME, text) if text else None


def times_of(options: argparse.Namespace, environment: Mapping[str, str]) -> TimePolicy:
    """Return what happens to times. Raises UsageError."""
    from builder.engine.times import TimePolicy

    epoch, now = epoch_of(options, environment), int(time.time())
    if options.reproducible:
        return TimePolicy("set", epoch or 0, now)
    return TimePolicy("keep" if epoch is None else "clamp", epoch, now)

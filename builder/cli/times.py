"""``--source-date-epoch`` and ``--reproducible`` of commands that change images, as a build has them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping

from builder.engine.times import EPOCH_NAME, TimePolicy, epoch_seconds


def epoch_of(options: argparse.Namespace, environment: Mapping[str, str]) -> int | None:
    """Return the epoch: the option's, else the environment's; empty means none. Raises UsageError."""
    given = options.source_date_epoch
    if given is not None:
        return epoch_seconds("--source-date-epoch", given) if given else None
    text = environment.get(EPOCH_NAME)
    return epoch_seconds(EPOCH_NAME, text) if text else None


def times_of(options: argparse.Namespace, environment: Mapping[str, str]) -> TimePolicy:
    """Return what happens to times. Raises UsageError."""
    epoch, now = epoch_of(options, environment), int(time.time())
    if options.reproducible:
        return TimePolicy("set", epoch or 0, now)
    return TimePolicy("keep" if epoch is None else "clamp", epoch, now)

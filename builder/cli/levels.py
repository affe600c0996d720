"""``--compat`` and ``$PYBUILD_COMPAT``: which compatibility level a command writes images at."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from builder.levels import NEWEST, Level, level_of

VARIABLE = "PYBUILD_COMPAT"


def add_compat(parser: argparse._ActionsContainer) -> None:
    """Add ``--compat``, which commands have that write bytes of their own into images."""
    parser.add_argument(
        "--compat",
        metavar="N",
        help=f"write the bytes of this compatibility level (default: ${VARIABLE}, then the newest, {NEWEST.number})",
    )


def chosen_level(options: argparse.Namespace, environment: Mapping[str, str]) -> Level:
    """Return the level that was asked for, else the newest. Raises UsageError for one that is not there."""
    if options.compat is not None:
        return level_of(f"--compat {options.compat}", options.compat)
    given = environment.get(VARIABLE)
    return level_of(f"{VARIABLE}={given}", given) if given else NEWEST

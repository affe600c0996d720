"""``pybuild logout``: accounts are removed from helpers and files."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from builder.cli.answers import answer, answer_json
from builder.cli.commands.login import HUB, registry_of
from builder.cli.parsing import Parser, add_json, base
from builder.cli.reporters import make_reporter
from builder.errors import UsageError
from builder.events import warner

if TYPE_CHECKING:
    from builder.registry.accounts import Removed

EXAMPLES = """
examples:
  pybuild logout registry.example
  pybuild logout --all --authfile team.json
"""


def parser() -> Parser:
    """Return the grammar."""
    about = "Forget the account of a registry (default: docker.io), in every file and helper that pybuild looks into."
    parser = base("pybuild logout", about, EXAMPLES)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("registry", metavar="REGISTRY", nargs="?", help="HOST[:PORT][/PATH]")
    which.add_argument("--all", action="store_true", help="forget the accounts of every registry")
    parser.add_argument("--authfile", metavar="FILE", help="look into this file only")
    add_json(parser)
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status; that there was no account is no failure, that one is left is."""
    from builder.registry.accounts import Accounts
    from builder.registry.errors import AuthenticationError

    reporter = make_reporter(options.progress, sys.stderr)

    warn = warner(reporter, "credentials")

    authfile = Path(options.authfile) if options.authfile else None
    if authfile is not None and not authfile.exists():
        raise UsageError(f"--authfile {authfile}: there is no such file")
    accounts = Accounts(os.environ, authfile, warn=warn)
    registries = accounts.registries() if options.all else (registry_of(options.registry or HUB),)
    removed = {registry: accounts.remove(registry) for registry in registries}
    for registry, one in removed.items():
        for place in one.left:
            warn(f"{place} may still have an account of {registry}")
    if options.json:
        values = [
            {"registry": name, "removed_from": list(one.where), "left_in": list(one.left)}
            for name, one in removed.items()
        ]
        answer_json(values)
    else:
        answer(_text(removed))
    return AuthenticationError.exit_code if any(one.left for one in removed.values()) else 0


def _text(removed: Mapping[str, Removed]) -> str:
    lines = [
        f"logged out of {registry}; the account was in {', '.join(one.where)}"
        for registry, one in removed.items()
        if one.where
    ]
    if not lines and len(removed) == 1:
        lines = [f"there was no account of {''.join(removed)} to remove"]
    return "\n".join(lines) or "there were no accounts to remove"

"""The names of targets, for completion and for telling a target from a mistyped command."""

from __future__ import annotations

from collections.abc import Mapping

from builder.cli.parsing import wants_project
from builder.errors import BuilderError


def target_names(environment: Mapping[str, str], config: str | None = None, start: str = ".") -> dict[str, str]:
    """Return the names of targets and groups with what they are for, as seen from a directory.

    ``config`` is what ``--config`` says. Files that cannot be read or are wrong say nothing: nothing is raised.
    """
    try:
        return _names(environment, config, start)
    except BuilderError:
        return {}


def may_be_target(word: str, environment: Mapping[str, str], config: str | None = None) -> bool:
    """Say whether a word is a target's name here, or might be: a file that is wrong says so when it is used."""
    try:
        return word in _names(environment, config, ".")
    except BuilderError:
        return True


def _names(environment: Mapping[str, str], config: str | None, start: str) -> dict[str, str]:
    from builder.settings import find_project, settings_files

    project = find_project(start) if wants_project(None, environment) else None
    files = settings_files(config, environment)
    if project is None and not files:
        return {}
    from builder.cli.config.effective import Found, read_files

    return read_files(Found(files, bool(config or environment.get("PYBUILD_CONFIG")), project)).targets()

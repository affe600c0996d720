"""From the words of a build and what files and variables say to the options of each build."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.cli.config.confine import refuse_meetings
from builder.cli.config.effective import Build, Files, Found, apply, builds, of_environment, read_files
from builder.cli.parsing import nothing_to_build
from builder.cli.requests import given_words
from builder.settings import Project


def settled(
    options: argparse.Namespace, environment: Mapping[str, str], files: tuple[Path, ...], projects: Sequence[Project]
) -> list[argparse.Namespace]:
    """Return the options of each build. Raises BuilderError for what is wrong with a value, with its place."""
    described, found = asked(options, environment, files, projects)
    for one in found:
        if "context" not in one.values:
            raise nothing_to_build(options.argv, described.targets())
    return [apply(one, options) for one in found]


def asked(
    options: argparse.Namespace, environment: Mapping[str, str], files: tuple[Path, ...], projects: Sequence[Project]
) -> tuple[Files, list[Build]]:
    """Return what the files say, and the builds that are asked for. Raises UsageError.

    A word is looked for among the targets where the command is given; as a directory, it has its own project's file.
    """
    named = bool(options.config or environment.get("PYBUILD_CONFIG"))
    which: Sequence[Project | None] = projects or [None]
    read = [read_files(Found(files, named, one)) for one in which]
    words = list(options.words)
    for one in read:
        if not words or set(words) & set(one.targets()):
            chosen = one
            break
    else:
        chosen = read[-1]
    variables = of_environment(environment)
    found = builds(words, given_words(options), chosen, variables)
    refuse_meetings(one.values for one in found)
    return chosen, found

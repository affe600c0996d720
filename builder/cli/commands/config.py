"""``pybuild config``: what files and variables say of a build, where each value comes from, and the schema of files."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from builder.cli.answers import answer, answer_json
from builder.cli.options import build_parser
from builder.cli.parsing import Parser, add_json, base, wants_project
from builder.cli.reporters import printable

if TYPE_CHECKING:
    from builder.cli.config.effective import Build
    from builder.cli.config.files import Entry
    from builder.settings import Settings

ACTIONS: Mapping[str, str] = {
    "show": "show the values that hold, for a build of a context or for a target",
    "targets": "list the targets and groups, and what they are for",
    "schema": "print the JSON Schema of pybuild.toml",
}

_SHOW = """
examples:
  pybuild config show
  pybuild config show --origin api
  pybuild config show --json --platform linux/arm64 api web
"""

_TARGETS = """
examples:
  pybuild config targets
  pybuild config targets --json | jq -r '.[].name'
"""

_SCHEMA = """
examples:
  pybuild config schema > pybuild.schema.json
"""


def parser(action: str) -> Parser:
    """Return the grammar of an action: that of ``build`` for ``show``."""
    prog = f"pybuild config {action}"
    if action == "show":
        about = """\
Show the values that hold for a build: what the command line, the environment and the settings say together. Takes the
options of a build; nothing is built. Every file that counts is read and checked."""
        made = build_parser(prog, about, _SHOW)
        made.add_argument("--origin", action="store_true", help="show where each value comes from")
        add_json(made)
        return made
    if action == "schema":
        return base(prog, "Print the JSON Schema of pybuild.toml, for editors and other programs.", _SCHEMA)
    about = "List the targets and groups that the files of this directory describe, and what they are for."
    made = base(prog, about, _TARGETS)
    made.add_argument("--config", metavar="FILE", help="the settings, as for a build")
    made.add_argument("--no-project-config", action="store_true", default=None, help="do not read the project's file")
    add_json(made)
    return made


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    if options.action == "schema":
        from builder.cli.config.schema import schema

        answer_json(schema())
    elif options.action == "targets":
        _targets(options)
    else:
        _show(options)
    return 0


def _targets(options: argparse.Namespace) -> None:
    from builder.cli.config.effective import Found, read_files
    from builder.settings import find_project, settings_files

    project = find_project(".") if wants_project(options.no_project_config, os.environ) else None
    named = bool(options.config or os.environ.get("PYBUILD_CONFIG"))
    found = read_files(Found(settings_files(options.config, os.environ), named, project)).targets()
    if options.json:
        answer_json([{"name": name, "description": about} for name, about in found.items()])
    else:
        width = max(map(len, found), default=0)
        lines = [f"{name:{width}}  {printable(about)}".rstrip() for name, about in found.items()]
        answer("\n".join(lines) or "no file describes a target")


def _show(options: argparse.Namespace) -> None:
    from builder.cli.config.effective import apply
    from builder.cli.config.settling import asked
    from builder.cli.registries import file_settings
    from builder.cli.requests import described

    settings = file_settings(options, os.environ)
    files, builds = asked(options, os.environ, *(described(options, os.environ) or ((), [])))
    for one in builds:
        apply(one, options)
    if options.json:
        answer_json(
            {
                "files": [{"file": str(one.file), "level": one.level} for one in reversed(files.sources)],
                "builds": [_value(one, origin=options.origin) for one in builds],
            }
        )
        return
    lines = [f"# {one.file} ({one.level})" for one in reversed(files.sources)]
    for one in builds:
        lines += ["", f"[target.{one.target}]" if one.target else "[build]", *_lines(one, origin=options.origin)]
    answer("\n".join([*lines, *_general(settings), *_meaningless()]).strip("\n"))


def _value(build: Build, *, origin: bool) -> dict[str, object]:
    from builder.cli.config.keys import BY_NAME

    values: dict[str, object] = {}
    for name, entries in build.values.items():
        found = [{"value": one.text, "origin": _origin(one)} if origin else one.text for one in entries]
        values[name] = found if BY_NAME[name].listed else found[-1]
    return {"target": build.target or None, "values": values}


def _lines(build: Build, *, origin: bool) -> list[str]:
    from builder.cli.config.keys import KEYS

    rows = [(one.name, entry) for one in KEYS for entry in build.values.get(one.name, ())]
    width = max((len(name) for name, _ in rows), default=0)
    longest = max((len(printable(entry.text)) for _, entry in rows), default=0)
    lines = []
    for name, entry in rows:
        line = f"{name:{width}} = {printable(entry.text):{min(longest, _WIDEST) if origin else 0}}"
        lines.append(f"{line}  # {_origin(entry)}" if origin else line.rstrip())
    return lines


_WIDEST = 60


def _origin(entry: Entry) -> str:
    return printable(f"{entry.place} ({entry.level})") if entry.place else "where the file is"


def _general(settings: Settings) -> list[str]:
    """Return the lines for what holds for every command."""
    lines = [
        *([f"root = {settings.store_root}"] if settings.store_root else []),
        *([f"read-only = {settings.store_ro}"] if settings.store_ro else []),
        *([f"max-size = {settings.store_size[0]}"] if settings.store_size else []),
    ]
    found = ["", "[store]", *lines] if lines else []
    for host, one in settings.registries.items():
        about = [*(f"mirrors = {url}" for url in one.mirrors), *(["insecure = true"] if one.insecure else [])]
        found += ["", f"[registry.{printable(host)}]", *map(printable, about)]
    maps = [f"{name} = {', '.join(one.targets)}" for name, one in settings.maps.items()]
    return [*found, *(["", "[registries.map]", *map(printable, maps)] if maps else [])]


def _meaningless() -> list[str]:
    """Return remarks about variables that look like ours and are not."""
    from builder.cli.config.keys import KEYS, TABLES
    from builder.dockerfile.suggest import did_you_mean

    known = {one.variable for one in KEYS} | {f"PYBUILD_{dest.upper()}" for dest in TABLES}
    known |= {"PYBUILD_CONFIG", "PYBUILD_CREDS", "PYBUILD_NO_PROJECT_CONFIG"}
    strange = sorted(one for one in os.environ if one.startswith("PYBUILD_") and one not in known)
    return [f"# {printable(one)} means nothing{did_you_mean(one, known)}" for one in strange]

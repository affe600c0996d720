"""docs/commands.md: every command with its options, from the parsers themselves.

Written from what the parsers hold and not from their --help, which other versions of Python lay out differently.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import cast

from builder.cli.options import GROUPS, Command, CommandOfTwoWords, build_parser, load

HEAD = """\
<!-- Written by scripts/docs from the parsers in builder/cli: edit there. -->

# Commands

Every command and every option, as `pybuild COMMAND --help` has them too. What they are for is told in
[images](images.md), [registries](registries.md), [what a build gives](outputs.md), [the store](store.md) and
[sharing results](caching.md). A flag, an option without a value, may be followed by `=true` or `=false`.
"""

_TITLES = {
    "build": "Building",
    "registry": "Registries",
    "images": "Images of the store",
    "looking": "Looking at images",
    "machine": "This machine",
}
_GLOBAL, _REGISTRIES = "global options", "registries"


def page() -> str:
    """Return the whole page."""
    parts = [HEAD, "\n".join(_contents()), *_global_options()]
    for group, commands in GROUPS.items():
        parts.append(f"## {_TITLES.get(group, group.capitalize())}")
        for command in commands:
            for name, parser in _parsers(command):
                parts += _section(name, parser)
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _contents() -> Iterator[str]:
    yield "| command | what it does |"
    yield "|---|---|"
    for commands in GROUPS.values():
        for name, summary in commands.items():
            first = next(_parsers(name))[0]
            yield f"| [`{name}`](#{_anchor(first)}) | {_cell(summary)} |"


def _parsers(command: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the parser of a command, or of each of its actions, with the words that call it."""
    if command == "build":
        yield "pybuild", build_parser("pybuild", "Build a container image from a Dockerfile, without a daemon.", "")
        return
    module = load(command)
    if not hasattr(module, "ACTIONS"):
        yield f"pybuild {command}", cast(Command, module).parser()
        return
    two = cast(CommandOfTwoWords, module)
    for action in two.ACTIONS:
        yield f"pybuild {command} {action}", two.parser(action)


def _global_options() -> Iterator[str]:
    parser = next(_parsers("build"))[1]
    yield "## Options of every command"
    yield from (_table(group) for group in parser._action_groups if group.title == _GLOBAL)
    yield "## Options for registries"
    yield "Of every command that speaks to registries ([what they do](registries.md))."
    yield _registry_table()


def _registry_table() -> str:
    parser = next(_parsers("build"))[1]
    return next(_table(group) for group in parser._action_groups if group.title == _REGISTRIES)


def _for_registries(table: str) -> str:
    """Return the one line that stands for what was told above, and what this command has besides, or has not."""
    usual, own = _registry_table().split("\n"), table.split("\n")
    if all(row in own for row in usual):
        more = [row for row in own if row not in usual]
        link = "And the [options for registries](#options-for-registries)."
        return "\n\n".join([link, "\n".join(["| | |", "|---|---|", *more])] if more else [link])
    return f"**registries**\n\n{table}"


def _section(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"### {name}"
    if parser.description:
        yield _text(parser.description)
    yield f"```text\n{name} {_usage(parser)}\n```"
    for group in parser._action_groups:
        table = _table(group)
        if table and group.title == _REGISTRIES:
            yield _for_registries(table)
        elif table and group.title != _GLOBAL:
            if group.title not in ("options", "positional arguments"):
                yield f"**{_text(group.title or '')}**"
            yield table
    examples = re.search(r"^examples:\n((?:  .*\n?)+)", parser.epilog or "", re.MULTILINE)
    if examples:
        lines = "\n".join(line[2:] for line in examples[1].rstrip().split("\n"))
        yield f"```text\n{lines}\n```"


def _usage(parser: argparse.ArgumentParser) -> str:
    words = ["[OPTIONS]"]
    for action in parser._actions:
        if not action.option_strings:
            word = _metavar(action)
            words.append(
                {"?": f"[{word}]", "*": f"[{word}...]", "+": f"{word} [{word}...]"}.get(str(action.nargs), word)
            )
    return " ".join(words)


def _table(group: argparse._ArgumentGroup) -> str:
    rows = [_row(action) for action in group._group_actions if action.help != argparse.SUPPRESS and _is_told(action)]
    return "\n".join(["| | |", "|---|---|", *rows]) if rows else ""


def _is_told(action: argparse.Action) -> bool:
    return not isinstance(action, argparse._HelpAction | argparse._VersionAction) and bool(action.help)


def _row(action: argparse.Action) -> str:
    words = ", ".join(f"`{word}`" for word in action.option_strings) or f"`{_metavar(action)}`"
    if action.option_strings and action.nargs != 0:
        value = _metavar(action)
        words = f"{words[:-1]}{'' if value.startswith('[=') else ' '}{value}`"
    repeated = " May be repeated." if isinstance(action, argparse._AppendAction) else ""
    help_text = (action.help or "") % {"default": action.default, "prog": ""}
    return f"| {_cell(words)} | {_text(_cell(help_text))}{'.' if repeated else ''}{repeated} |"


def _metavar(action: argparse.Action) -> str:
    if action.metavar is not None:
        return action.metavar if isinstance(action.metavar, str) else " ".join(action.metavar)
    if action.choices is not None:
        return "|".join(map(str, action.choices))
    return action.dest.upper()


def _cell(text: str) -> str:
    """Return text that ends no cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")


def _text(text: str) -> str:
    """Return text whose words are nothing to Markdown: names in capitals, options and asterisks stay what they are."""
    return re.sub(r"([*_\[\]])", r"\\\1", text.replace("<", "&lt;"))


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")

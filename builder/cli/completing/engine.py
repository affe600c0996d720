"""From an unfinished command line to what may stand at its end.

Everything is derived from the parsers of the commands: a new option is completed with no change here. Values are known
by how the help calls them (``values``).
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from builder.cli.completing.values import Wanted, wanted
from builder.cli.options import COMMANDS, Command, build_parser, load
from builder.cli.parsing import Parser, is_flag, split_word
from builder.values import dataclass

_LONGEST = 70
_BUILD = "build"


@dataclass(frozen=True, slots=True)
class Answer:
    """What may stand at the end of ``word``: texts with descriptions, and whether names of files may, or directories.

    ``before`` is what of the word stays as it is, in ``--option=VALUE`` and in the last attribute of a list.
    """

    word: str
    choices: Mapping[str, str]
    files: str = ""
    before: str = ""


def words_of(line: str) -> list[str]:
    """Return the words of a line up to the cursor, the last one perhaps empty, with their quotes taken away."""
    for end in ("", '"', "'"):
        try:
            # A mark at the end tells a word that was begun from the space after one.
            words = shlex.split(line + "\0" + end)
        except ValueError:
            continue
        return [*words[:-1], words[-1].rstrip("\0")]
    return [""]


def complete(words: Sequence[str], environment: Mapping[str, str]) -> Answer:
    """Return what may be the last of ``words``, which stand after the program's name."""
    *before, word = words
    command, rest = split_word(before)
    if command and command not in COMMANDS:
        command, rest = _BUILD, list(before)
    if not command:
        return _first(before, word, environment)
    if command == _BUILD:
        return _in_command(_build_parser(), rest, word, environment)
    module = load(command)
    actions = getattr(module, "ACTIONS", None)
    if actions is None:
        return _in_command(cast(Command, module).parser(), rest, word, environment)
    action, rest = split_word(rest)
    if action in actions:
        return _in_command(module.parser(action), rest, word, environment)  # type: ignore[call-arg]  # it has actions
    return Answer(word, _beginning(actions, word)) if not action else Answer(word, {})


def _first(before: Sequence[str], word: str, environment: Mapping[str, str]) -> Answer:
    """A word that may be a command, or begin a build."""
    found = _in_command(_build_parser(), before, word, environment)
    last = before[-1] if before else ""
    if word.startswith("-") or last.startswith("-"):
        return found
    return Answer(word, {**_beginning(COMMANDS, word), **found.choices}, found.files)


def _build_parser() -> Parser:
    return build_parser("pybuild", "", "")


def _in_command(parser: Parser, before: Sequence[str], word: str, environment: Mapping[str, str]) -> Answer:
    options = parser._option_string_actions
    last = options.get(before[-1]) if before and "--" not in before else None
    if last is not None and last.nargs is None and before[-1] != "--pull":
        return _value(last, word, "", parser, before, environment)
    if "--" not in before and word.startswith("-"):
        name, equals, value = word.partition("=")
        if equals and name in options and options[name].nargs is None:
            return _value(options[name], value, f"{name}=", parser, before, environment)
        if equals and is_flag(options.get(name)):
            return Answer(word, _beginning({f"{name}=true": "", f"{name}=false": ""}, word), before=f"{name}=")
        return Answer(word, _options(parser, before, word))
    action = _positional(parser, before)
    return Answer(word, {}) if action is None else _value(action, word, "", parser, before, environment)


def _options(parser: Parser, before: Sequence[str], word: str) -> dict[str, str]:
    """Return the options that begin so; short ones only where nothing else is asked for, and none a second time."""
    found: dict[str, str] = {}
    for action in parser._actions:
        if action.help == argparse.SUPPRESS:
            continue
        repeatable = isinstance(action, argparse._AppendAction)
        if not repeatable and any(name in before for name in action.option_strings):
            continue
        found |= {name: _short(action) for name in action.option_strings if name.startswith("--") or word == name}
    return _beginning(found, word)


def _short(action: argparse.Action) -> str:
    text = " ".join(((action.help or "") % {"default": action.default, "prog": "pybuild"}).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3].rstrip() + "..."


def _positional(parser: Parser, before: Sequence[str]) -> argparse.Action | None:
    """Return what the next word that is no option would be."""
    given = _operands(parser, before)
    for action in parser._actions:
        if action.option_strings:
            continue
        if action.nargs in ("*", "+", argparse.REMAINDER) or not given:
            return action
        given -= 1
    return None


def _operands(parser: Parser, before: Iterable[str]) -> int:
    """Return how many words are no options nor their values."""
    count, skip = 0, False
    for word in before:
        if skip:
            skip = False
        elif word.startswith("-") and word != "-":
            action = parser._option_string_actions.get(word)
            skip = action is not None and action.nargs is None and word != "--pull"
        else:
            count += 1
    return count


def _value(
    action: argparse.Action,
    value: str,
    before: str,
    parser: Parser,
    words: Sequence[str],
    environment: Mapping[str, str],
) -> Answer:
    found: Wanted = wanted(action, value, words, _dockerfile(parser, words), environment)
    kept = before + value[: found.start]
    choices = {kept + text: told for text, told in found.choices.items() if text.startswith(value[found.start :])}
    return Answer(before + value, choices, found.files, kept)


def _dockerfile(parser: Parser, words: Sequence[str]) -> tuple[str, str]:
    """Return what ``-f`` says, and the context."""
    named, context, skip = "", "", ""
    for word in words:
        if skip:
            named = word if skip in ("-f", "--file", "--dockerfile") else named
            skip = ""
        elif word.startswith(("--file=", "--dockerfile=")):
            named = word.partition("=")[2]
        elif word.startswith("-") and word != "-":
            action = parser._option_string_actions.get(word)
            skip = word if action is not None and action.nargs is None and word != "--pull" else ""
        else:
            context = word
    return named, context


def _beginning(choices: Mapping[str, str], word: str) -> dict[str, str]:
    return {name: told for name, told in choices.items() if name.startswith(word)}

"""The parser that every command has: global options, no abbreviations, and mistakes that are UsageError with a way out.

A command of more than one word (``manifest create``) has a table ``ACTIONS`` and a parser for each.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn, TypeGuard

from builder import __version__
from builder.cli.reporters import PROGRESS
from builder.errors import UsageError

GLOBAL_WITH_VALUE = ("--root", "--progress")
_GLOBAL_FLAGS = ("--debug",)

_PROGRESS_HELP = "how to show what happens, on stderr (default: $PYBUILD_PROGRESS, then auto)"


def _formatter(*, prog: str) -> argparse.HelpFormatter:
    """Return what argparse's own choice of a formatter would, without loading shutil for the width of the terminal."""
    try:
        width = int(os.environ.get("COLUMNS", "")) or 80
    except ValueError:
        try:
            width = os.get_terminal_size(sys.__stdout__.fileno() if sys.__stdout__ else 1).columns or 80
        except (OSError, ValueError):
            width = 80
    return argparse.RawDescriptionHelpFormatter(prog, width=width - 2)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose mistakes are UsageError, with what was probably meant.

    A flag may say ``=true`` or ``=false``, so that a command line can take back what a file or a variable says.
    """

    pull = ""
    """What follows a bare --pull, if it looks like its value."""

    elsewhere: Mapping[str, str] = {}
    """Options that others have for such a command, and what to write here."""

    _words: Sequence[str] = ()

    # argparse has overloads for namespaces of other types, which nobody asks for here.
    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Return what argparse does. Raises UsageError."""
        words = list(sys.argv[1:] if args is None else args)
        self._words = words
        end = words.index("--") if "--" in words else len(words)
        return super().parse_known_args([*map(self._as_flag, words[:end]), *words[end:]], namespace)

    def _as_flag(self, word: str) -> str:
        """Return the option that a flag with a value is: the flag, or a hidden one that says the opposite."""
        name, equals, value = word.partition("=")
        flag = self._option_string_actions.get(name) if equals else None
        if not is_flag(flag):
            return word
        if truth(name, value):
            return name
        if word not in self._option_string_actions:
            opposite = argparse._StoreFalseAction if flag.const else argparse._StoreTrueAction
            self._option_string_actions[word] = opposite([word], flag.dest)
        return word

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        from builder.dockerfile.suggest import nearest

        hint = f"see {self.prog} --help"
        unknown = message.partition("unrecognized arguments: ")[2].split(" ")[0].partition("=")[0]
        if unknown.startswith("--"):
            close = nearest(unknown, self._option_string_actions)
            hint = f"did you mean {close}?" if close else hint
            hint = _of_others(unknown) or hint
        elif unknown and self.pull:
            hint = f"write --pull={self.pull}"
        for word in self._words:
            if word in self.elsewhere:
                message, hint = f"unrecognized arguments: {word}", self.elsewhere[word]
        raise UsageError(message, hint=hint)


def is_flag(action: argparse.Action | None) -> TypeGuard[argparse._StoreConstAction]:
    """Say whether an option is on or off, and has no value of its own."""
    return isinstance(action, argparse._StoreTrueAction | argparse._StoreFalseAction)


def truth(what: str, text: str) -> bool:
    """Return what true and false mean, in any of the spellings of other builders. Raises UsageError."""
    if text.lower() not in TRUTHS:
        raise UsageError(f"{what}={text}: expected true or false")
    return TRUTHS[text.lower()]


def pull_said(word: str) -> str:
    """Return a word of a build, with a value if it is ``--pull``, which is a flag too.

    For a bare one argparse would take the next word, which is the context.
    """
    if word != "--pull" and not word.startswith("--pull="):
        return word
    truth = TRUTHS.get(word.partition("=")[2].lower(), None if "=" in word else True)
    return word if truth is None else "--pull=always" if truth else "--pull=auto"


def wants_project(unwanted: bool | None, environment: Mapping[str, str]) -> bool:
    """Say whether the project's file is read; ``unwanted`` is what the option says. Raises UsageError."""
    if unwanted is not None:
        return not unwanted
    text = environment.get(_NO_PROJECT, "")
    return not (text and truth(_NO_PROJECT, text))


_NO_PROJECT = "PYBUILD_NO_PROJECT_CONFIG"
TRUTHS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def _of_others(option: str) -> str:
    from builder.cli.foreign import for_registries

    here = for_registries(option)
    return f"use {here}" if here else ""


def base(prog: str, description: str, epilog: str | None = None, kind: type[Parser] = Parser) -> Parser:
    """Return a parser with the global options; ``epilog`` shows examples, and is printed as it is."""
    parser = kind(
        prog=prog,
        description=description,
        epilog=epilog and epilog.strip("\n") + "\n",
        allow_abbrev=False,
        formatter_class=_formatter,
    )
    parser.add_argument("--version", action="version", version=f"pybuild {__version__}")
    group = parser.add_argument_group("global options")
    group.add_argument("--root", metavar="DIR", help="the store (default: $PYBUILD_ROOT, then the user's cache folder)")
    group.add_argument("--progress", choices=PROGRESS, default="", help=_PROGRESS_HELP)
    group.add_argument("--debug", action="store_true", help="show tracebacks and log messages")
    return parser


def add_json(parser: Parser) -> None:
    """Add ``--json``, which a command has if it answers something."""
    parser.add_argument("--json", action="store_true", help="answer as JSON")


def add_quiet(parser: argparse._ActionsContainer) -> None:
    """Add ``--quiet``, which a command has that shows what it does."""
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but the answer, warnings and errors")


def add_limit(parser: Parser) -> None:
    """Add ``--limit``, which a command has if its answer may be long."""
    parser.add_argument("--limit", metavar="N", help="at most so many")


def limit_of(options: argparse.Namespace) -> int | None:
    """Return the value of ``--limit``, None for all. Raises UsageError."""
    text = options.limit
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise UsageError(f"--limit {text}: expected a whole number")
    return int(text)


def _first_word(argv: Sequence[str]) -> int:
    """Return where the first word is that is no global option nor one's value; the length if there is none."""
    index = 0
    while index < len(argv):
        word = argv[index]
        if word in GLOBAL_WITH_VALUE:
            index += 2
        elif word in _GLOBAL_FLAGS or word.startswith(tuple(f"{one}=" for one in (*GLOBAL_WITH_VALUE, *_GLOBAL_FLAGS))):
            index += 1
        else:
            break
    return min(index, len(argv))


def split_word(argv: Sequence[str]) -> tuple[str, list[str]]:
    """Return the first word after the global options, or nothing, and the others."""
    index = _first_word(argv)
    return "".join(argv[index : index + 1]), [*argv[:index], *argv[index + 1 :]]


def nothing_to_build(argv: Sequence[str], targets: Iterable[str] = ()) -> UsageError:
    """Return the mistake of a build without a context; ``targets`` could be one."""
    known = ", ".join(targets)
    hint = f"name a directory, e.g. . or a target: {known}" if known else "name a directory: pybuild -t NAME ."
    option, word = ("", "", *argv)[-2:]
    if option.startswith("-") and "=" not in option and os.path.isdir(word):
        hint = f"{word} was taken for the value of {option}"
    return UsageError("there is nothing to build: no CONTEXT was given", hint=hint)


def value_of(option: str, argv: Sequence[str]) -> str:
    """Return the last value of an option in words that were not parsed, perhaps because they cannot be; or nothing."""
    value = ""
    for word, following in itertools.pairwise([*argv, ""]):
        if word == option:
            value = following
        elif word.startswith(f"{option}="):
            value = word.partition("=")[2]
    return value


def listing(summaries: Mapping[str, str]) -> str:
    """Return names and what they do as aligned lines."""
    width = max(map(len, summaries))
    return "\n".join(f"  {name:{width}}  {summary}" for name, summary in summaries.items())


def chosen_action(command: str, actions: Mapping[str, str], argv: Sequence[str]) -> tuple[str, list[str]]:
    """Return the second word of a command of two, and what follows.

    Raises UsageError for one that is not in ``actions``; without one, ``--help`` prints them all and exits.
    """
    from builder.dockerfile.suggest import nearest

    action, rest = split_word(argv)
    if action in actions:
        return action, rest
    prog = f"pybuild {command}"
    if not action or action in ("-h", "--help", "--version"):
        epilog = f"actions:\n{listing(actions)}\n\npybuild {command} ACTION --help says more about each."
        parser = base(prog, f"One of {', '.join(actions)}.", epilog)
        parser.usage = f"{prog} ACTION ..."
        parser.parse_args(argv)
        raise UsageError(f"{prog} needs an action", hint=f"one of {', '.join(actions)}")
    close = nearest(action, actions)
    hint = f"did you mean {prog} {close}?" if close else f"one of {', '.join(actions)}"
    raise UsageError(f"{prog} cannot {action}", hint=hint)

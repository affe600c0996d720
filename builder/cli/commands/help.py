"""``pybuild help``: commands, short texts about topics, and what an error's code means; plain text, without a pager."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import cast

from builder.cli.answers import answer
from builder.cli.parsing import Parser, base, listing
from builder.errors import UsageError

EXAMPLES = """
examples:
  pybuild help             # every command and every topic
  pybuild help outputs     # a topic
  pybuild help push        # a command; the same as pybuild push --help
  pybuild help PB6401      # an error, by the code that its message ends with
"""
_WIDTH = 78
_COMMON = 4
"""Letters at the beginning that forms of one word share."""


def parser() -> Parser:
    """Return the grammar."""
    about = "Explain a command, a topic, the code of an error or the name of a build check."
    parser = base("pybuild help", about, EXAMPLES)
    parser.add_argument("topic", metavar="TOPIC", nargs="*", help="a topic, a command and its action, a code")
    return parser


def run(options: argparse.Namespace) -> int:
    """Carry it out and return the exit status."""
    answer(explanation(options.topic).rstrip("\n"))
    return 0


def explanation(words: Sequence[str]) -> str:
    """Return the text about what ``words`` name. Raises UsageError for nothing that is known."""
    from builder.cli.topics import TOPICS

    if not words:
        return contents()
    word = words[0]
    # Some words are a topic and a command.
    found = [_named(word) if len(words) == 1 else "", _command(word, words[1:])]
    if any(found):
        return "\n\n".join(filter(None, found))
    close = _meant(" ".join(words))
    hint = f"did you mean pybuild help {close}?" if close else f"there are {', '.join(TOPICS)}"
    if word.upper().startswith("PB") and word[2:].isdigit():
        hint = "docs/errors.md lists all codes; this pybuild may be older than the one that said it"
    raise UsageError(f"there is no help about {' '.join(words)[:100]!r}", hint=hint)


def _meant(text: str) -> str | None:
    """Return the word that was probably meant: said by a summary, nearly the same, or another form of the word."""
    from builder.cli.topics import TOPICS
    from builder.dockerfile.suggest import nearest

    if text.isdigit():
        return "exit-status"
    for name, topic in TOPICS.items():
        if len(text) > _COMMON and text.lower() in topic.summary.lower().replace(",", "").split():
            return name
    known = everything()
    begun = text.lower()[:_COMMON] if len(text) >= _COMMON else text
    return nearest(text, known) or next((name for name in known if name.startswith(begun)), None)


def everything() -> dict[str, str]:
    """Return every word that there is help about, but for codes and checks, with what it is about."""
    from builder.cli.options import COMMANDS
    from builder.cli.topics import TOPICS

    return {**{name: topic.summary for name, topic in TOPICS.items()}, **COMMANDS}


def contents() -> str:
    """Return the commands and the topics."""
    from builder.cli.options import COMMANDS, GROUPS
    from builder.cli.topics import TOPICS

    width = max(map(len, (*COMMANDS, *TOPICS)))
    parts = ["pybuild builds container images from Dockerfiles: pybuild -t NAME ."]
    for name, group in GROUPS.items():
        parts.append(f"commands ({name}):\n{listing({f'{word:{width}}': told for word, told in group.items()})}")
    topics = {f"{name:{width}}": topic.summary for name, topic in TOPICS.items()}
    parts.append(f"topics:\n{listing(topics)}")
    parts.append("pybuild help WORD says more about each, also about the code of an error.")
    return "\n\n".join(parts)


def _named(word: str) -> str:
    """Return the text of a topic, an error's code or a check; empty if it is none."""
    from builder.cli.topics import TOPICS

    if word.lower() in TOPICS:
        topic = TOPICS[word.lower()]
        return f"{word.lower()}: {topic.summary}\n\n{topic.text}"
    return _error(word) or _check(word)


def _command(word: str, rest: Sequence[str]) -> str:
    from builder.cli.options import COMMANDS, Command, CommandOfTwoWords, build_parser, load

    if word not in COMMANDS or len(rest) > 1:
        return ""
    if word == "build":
        about = "Build a container image from a Dockerfile, without a daemon."
        return "" if rest else build_parser("pybuild", about, "").format_help()
    module = load(word)
    actions = getattr(module, "ACTIONS", None)
    if actions is None:
        return "" if rest else cast(Command, module).parser().format_help()
    if not rest:
        return f"pybuild {word} ACTION\n\n{listing(actions)}\n\npybuild help {word} ACTION says more about each."
    return cast(CommandOfTwoWords, module).parser(rest[0]).format_help() if rest[0] in actions else ""


def _error(word: str) -> str:
    if not word.upper().removeprefix("PB").isdigit():
        return ""
    from builder.catalog.kinds import entry

    kind = entry(word)
    if kind is None:
        return ""
    parts = [f"{kind.code}: {kind.title}", _paragraph(kind.cause), "What to do:\n" + _paragraph(kind.way_out)]
    if kind.texts:
        parts.append("Its messages:\n" + "\n".join(f"  {text}" for text in kind.messages()))
    return "\n\n".join(parts)


def _check(word: str) -> str:
    from builder.dockerfile.rules import ALL

    for rule in ALL:
        if rule.name.lower() == word.lower():
            lines = [f"{rule.name}: {rule.description}", _paragraph(rule.why)]
            lines += [_paragraph(rule.situation)] if rule.situation else []
            lines += [f"Bad:\n{_indented(rule.bad)}", f"Good:\n{_indented(rule.good)}"]
            return "\n\n".join(lines)
    return ""


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())


def _paragraph(text: str) -> str:
    """Return Markdown as a terminal shows it, wrapped."""
    import textwrap

    return "\n".join(textwrap.fill(line, _WIDTH) for line in text.replace("`", "").splitlines())

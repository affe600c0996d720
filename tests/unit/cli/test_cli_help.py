"""``pybuild help``: every topic, command, code and check has a text, and what texts show is possible."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest

from builder.catalog.kinds import kinds
from builder.cli.commands.help import everything, explanation
from builder.cli.options import COMMANDS, build_parser, load, parse, split_command
from builder.cli.topics import TOPICS
from builder.dockerfile.rules import ALL
from builder.errors import UsageError
from tests.support.called import Call

LINES = [
    (name, line.strip())
    for name, topic in TOPICS.items()
    for line in topic.text.splitlines()
    if line.startswith("  pybuild ")
]


@pytest.mark.parametrize("name", TOPICS)
def test_topics_fit_a_terminal(name: str) -> None:
    lines = TOPICS[name].text.splitlines()
    assert max(map(len, lines)) <= 80
    assert 3 <= len(lines) <= 22, "a screen"
    assert all(line == line.rstrip() for line in lines)
    assert name in explanation([name.upper()])


@pytest.mark.parametrize(("name", "line"), LINES, ids=[line for _, line in LINES])
def test_commands_in_topics_can_be_read(name: str, line: str) -> None:
    shown = re.split(r"\s{2,}|\s[<|]\s", line)[0]
    command, rest = split_command(shlex.split(shown)[1:])
    if shown == "pybuild cache":
        return
    parse(command, rest)


def test_options_in_topics_exist() -> None:
    known = set(build_parser("pybuild", "", "")._option_string_actions)
    for command in set(COMMANDS) - {"build"}:
        module: Any = load(command)
        parsers = [module.parser(one) for one in module.ACTIONS] if hasattr(module, "ACTIONS") else [module.parser()]
        known |= {name for parser in parsers for name in parser._option_string_actions}
    text = "\n".join(topic.text for topic in TOPICS.values())
    ours = "\n".join(line for line in text.splitlines() if not re.match(r"  (RUN|FROM|docker|buildah|/kaniko)", line))
    spoken = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", ours)) - {"--load"}
    assert spoken - known - {"--from"} == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: str, call: Call) -> None:
    text = call("help", command).out
    if command == "build":
        assert "--build-arg" in text
        return
    module: Any = load(command)
    if not hasattr(module, "ACTIONS"):
        assert module.parser().format_help().strip() in text
        return
    for action in module.ACTIONS:
        assert f"\n  {action} " in text
        assert call("help", command, action).out.strip() == module.parser(action).format_help().strip()


def test_codes(call: Call) -> None:
    for kind in kinds():
        text = explanation([kind.code])
        assert text.startswith(f"{kind.code}: {kind.title}")
        assert "\n\nWhat to do:\n" in text
        assert "`" not in text.partition("Its messages")[0]
        assert explanation([kind.code.lower()]) == explanation([kind.code.removeprefix("PB")]) == text
    assert call("help", "PB6402").out.startswith("PB6402: There is no such command\n")


def test_checks(call: Call) -> None:
    for rule in ALL:
        assert explanation([rule.name.lower()]).startswith(f"{rule.name}: {rule.description}\n")


def test_without_a_word_everything_is_listed(call: Call) -> None:
    out = call("help").out
    for word in everything():
        assert re.search(rf"^  {word} +\S", out, re.MULTILINE), word


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["ouputs"], "did you mean pybuild help outputs?"),
        (["psuh"], "did you mean pybuild help push?"),
        (["nothing-like-it"], "there are start, context"),
        (["what"], "there are start, context"),
        (["PB0000"], "docs/errors.md lists all codes"),
        (["65"], "did you mean pybuild help exit-status?"),
        (["configuration"], "did you mean pybuild help config?"),
        (["Caching"], "did you mean pybuild help cache?"),
        (["registry"], "did you mean pybuild help registries?"),
        (["mirrors"], "did you mean pybuild help registries?"),
        (["docker"], "did you mean pybuild help others?"),
        (["cache", "nosuch"], "did you mean pybuild help cache?"),
        (["push", "x"], "did you mean pybuild help push?"),
        (["cache", "du", "x"], "did you mean pybuild help cache?"),
    ],
)
def test_words_without_help(words: list[str], hint: str) -> None:
    with pytest.raises(UsageError, match="there is no help about") as caught:
        explanation(words)
    assert hint in (caught.value.hint or "")


def test_messages_of_an_error_show_what_differs_as_a_word(call: Call) -> None:
    out = call("help", "PB1001").out
    assert "  <command>: exit status <status> (<reason>)\n" in out
    assert not re.search(r"[{}]", out)

"""The table of commands: help, modules, examples, words that are nearly a command, commands of two words."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from builder.cli import commands
from builder.cli.answers import table
from builder.cli.options import COMMANDS, load, split_command
from builder.cli.parsing import chosen_action
from builder.errors import UsageError
from tests.support.cli import CHECKOUT
from tests.support.commands import run


def test_every_command_has_a_module_that_shows_examples() -> None:
    folder = Path(commands.__file__).parent
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == set(COMMANDS) - {"build"}
    for name in set(COMMANDS) - {"build"}:
        module: Any = load(name)
        parsers = [module.parser(one) for one in module.ACTIONS] if hasattr(module, "ACTIONS") else [module.parser()]
        for parser in parsers:
            assert "examples:\n  pybuild " in parser.format_help(), parser.prog
            assert parser.prog.startswith(f"pybuild {name}")


def test_help_names_every_command_and_loads_none() -> None:
    text = "import sys\nfrom builder.cli.main import main\ntry: main(['--help'])\nfinally: print(sorted(sys.modules))"
    done = run([sys.executable, "-c", text], cwd=CHECKOUT)
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout
        assert f"builder.cli.commands.{name}'" not in done.stdout


def test_the_readme_names_every_command() -> None:
    text = (CHECKOUT / "README.md").read_text()
    assert [name for name in COMMANDS if f"`{name}`" not in text and name != "build"] == []


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["psuh", "a:1"], "did you mean pybuild push?"),
        (["--debug", "--root", "r", "doctr"], "did you mean pybuild doctor?"),
    ],
)
def test_a_word_that_is_nearly_a_command(
    words: list[str], hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="neither a command nor a directory") as caught:
        split_command(words)
    assert caught.value.hint == hint
    (tmp_path / "psuh").mkdir()
    (tmp_path / "doctr").mkdir()
    assert split_command(words) == ("build", words)


@pytest.mark.parametrize("word", ["./push", "push/", "../psuh", "psuh.git", "nosuchthing"])
def test_what_is_no_command_is_a_context(word: str) -> None:
    assert split_command([word]) == ("build", [word])


def test_a_second_word_says_what_to_do() -> None:
    actions = {"create": "make one", "push": "send it"}
    assert chosen_action("manifest", actions, ["--root", "r", "create", "a", "--debug"]) == (
        "create",
        ["--root", "r", "a", "--debug"],
    )
    for words, hint in ((["craete", "a"], "did you mean pybuild manifest create?"), ([], "one of create, push")):
        with pytest.raises(UsageError) as caught:
            chosen_action("manifest", actions, words)
        assert caught.value.hint == hint


def test_tables_are_aligned_and_cannot_control_a_terminal() -> None:
    assert table(["A", "LONGER"], [["value", "x"], ["v\x1b", "y"]]) == "A       LONGER\nvalue   x\nv\ufffd      y"

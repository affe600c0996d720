"""Words of other builders: each is told what to write here, by the command line itself."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from builder.cli import foreign
from builder.cli.human import plain
from builder.cli.options import COMMANDS, build_parser, load, parse, split_command
from builder.cli.parsing import Parser
from builder.cli.requests import make_request, settle
from builder.engine.request import BuildRequest
from builder.errors import UsageError
from tests.support.cli import CHECKOUT, digest_of, pybuild, write_context

KNOWN = build_parser("pybuild", "", "")._option_string_actions
OPTIONS = [(one, name) for one in (*foreign.OPTIONS, *foreign.of_kaniko(KNOWN)) for name in one.options]


def refused(*words: str) -> UsageError:
    def read() -> None:
        command, rest = split_command(words)
        parse(command, rest)

    with pytest.raises(UsageError) as caught:
        read()
    return caught.value


@pytest.mark.parametrize(("one", "name"), OPTIONS, ids=[name for _, name in OPTIONS])
def test_options(one: foreign.Foreign, name: str) -> None:
    """With a value or without, with what we ask for or without it, in any order."""
    same = [each for each, other in OPTIONS if other == name]
    wanted = {plain(each.here) for each in same}
    for words in ([name, "."], [f"{name}=x"], ["-t", "a", name, "x", "."], ["explain", name, "x", "."], [name]):
        error = refused(*words)
        assert error.message == f"{name} is an option of {same[0].builder}"
        hint = (error.hint or "").removesuffix("; or let pybuild kaniko take all flags of an executor")
        assert any(each.startswith(hint.removeprefix("instead: ")) for each in wanted)
    assert one.builder in ("docker build", "buildx", "buildah", "kaniko")


def test_no_option_of_ours_is_in_the_table() -> None:
    assert [name for _, name in OPTIONS if name in KNOWN] == []
    names = [name for one in foreign.OPTIONS for name in one.options]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("option", "value"), foreign.VALUES)
def test_values(option: str, value: str) -> None:
    assert option in KNOWN
    for words in ([option, value, "."], [f"{option}={value}"]):
        error = refused(*words)
        assert error.message == f"{option} {value} is another builder's"
        assert plain(foreign.VALUES[option, value]) in (error.hint or "")


@pytest.mark.parametrize("word", foreign.COMMANDS)
def test_commands(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert word not in COMMANDS
    error = refused(word, "build", ".")
    assert error.message == f"there is neither a command nor a directory called {word}"
    assert error.hint == f"use {foreign.COMMANDS[word]}"
    (tmp_path / word).mkdir()
    assert split_command([word]) == ("build", [word])


@pytest.mark.parametrize("option", foreign.REGISTRIES)
def test_options_for_registries_in_any_command(option: str) -> None:
    for command in ("push", "pull", "tags"):
        module = load(command)
        parser = module.parser()  # type: ignore[call-arg]  # commands of one word
        assert isinstance(parser, Parser)
        assert option not in parser._option_string_actions
        with pytest.raises(UsageError) as caught:
            parser.parse_args(["a", option])
        assert caught.value.hint == f"use {plain(foreign.REGISTRIES[option])}"


def test_what_is_told_uses_what_there_is() -> None:
    """Options that texts speak of exist."""
    every = set(KNOWN)
    for command in COMMANDS:
        if command == "build":
            continue
        module = load(command)
        actions = getattr(module, "ACTIONS", None)
        parsers = [module.parser(one) for one in actions] if actions else [module.parser()]
        every |= {name for parser in parsers for name in parser._option_string_actions}
    texts = [one.here for one in foreign.OPTIONS] + list(foreign.VALUES.values()) + list(foreign.REGISTRIES.values())
    spoken = {word for text in texts for word in re.findall(r"--[a-z][a-z-]+", text)}
    assert spoken - every - {"--mount", "--tls-verify", "--security"} == set()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--destnation", "x", "."], "see pybuild --help"),
        (["--cache-form", "x", "."], "did you mean --cache-from?"),
        ([".", "--", "--load"], "see pybuild --help"),
    ],
)
def test_other_mistakes_stay_what_they_are(words: list[str], hint: str) -> None:
    assert refused(*words).hint == hint


# --- variables

_PAGE = (CHECKOUT / "docs/foreign.md").read_text().partition("## Environment variables")[2]
_WITHOUT_MEANING = re.findall(
    r"`([A-Z_]+[A-Z])`", "".join(line for line in _PAGE.splitlines() if re.search(r"\| nothing", line))
)


def made(*words: str, **environment: str) -> BuildRequest:
    return make_request(settled(parse("build", [*words, "."])), environment)


def settled(options: argparse.Namespace) -> argparse.Namespace:
    (one,) = settle(options, {})
    return one


def test_dockers_platform_is_the_usual_one() -> None:
    platforms = made(DOCKER_DEFAULT_PLATFORM="linux/arm64,linux/arm/v6").platforms
    assert [str(one) for one in platforms] == ["linux/arm64", "linux/arm/v6"]
    assert [str(one) for one in made("--platform=arm64", DOCKER_DEFAULT_PLATFORM="x/y").platforms] == ["linux/arm64"]
    assert made(DOCKER_DEFAULT_PLATFORM="").platforms == made().platforms
    with pytest.raises(UsageError, match=r"\$DOCKER_DEFAULT_PLATFORM: .*unknown architecture"):
        made(DOCKER_DEFAULT_PLATFORM="foo")


def test_a_policy_is_not_passed_over() -> None:
    with pytest.raises(UsageError, match="protect nobody") as caught:
        made(EXPERIMENTAL_BUILDKIT_SOURCE_POLICY="policy.json")
    assert "unset it" in (caught.value.hint or "")


def test_variables_without_a_meaning_change_nothing(tmp_path: Path) -> None:
    assert len(_WITHOUT_MEANING) > 12
    context = write_context(tmp_path / "c", "FROM scratch\nCOPY Dockerfile /\n")
    values = dict.fromkeys(_WITHOUT_MEANING, "tcp://nowhere.invalid:1") | {"DOCKER_BUILDKIT": "0"}
    epoch = {"SOURCE_DATE_EPOCH": "1"}
    done = pybuild(context, root=tmp_path / "a", env={**epoch, **values})
    assert digest_of(done) == digest_of(pybuild(context, root=tmp_path / "b", env=epoch))
    assert "warning" not in done.stderr


def test_content_trust_is_a_warning(tmp_path: Path) -> None:
    context = write_context(tmp_path / "c", "FROM scratch\nCOPY Dockerfile /\n")
    for value, warned in (("1", True), ("true", True), ("0", False), ("", False)):
        done = pybuild(context, root=tmp_path / "a", env={"DOCKER_CONTENT_TRUST": value})
        assert ("signatures of images are not looked at" in done.stderr) == warned

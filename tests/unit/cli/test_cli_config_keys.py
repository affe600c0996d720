"""The keys of configuration files: every option has one, each is refused or confined where a project says it."""

from __future__ import annotations

import json
from argparse import Action
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tomli

from builder.cli.config.files import read_source
from builder.cli.config.keys import BY_DEST, KEYS, NOT_KEYS, TABLES, Key
from builder.cli.config.schema import schema
from builder.cli.main import main
from builder.cli.options import build_parser
from builder.errors import UsageError
from builder.settings import Project, parse_settings
from tests.support.cli import CHECKOUT

ACTIONS: dict[str, Action] = {one.dest: one for one in build_parser("pybuild", "", "")._actions}


def test_every_option_of_a_build_has_a_key_or_a_reason() -> None:
    known = [*BY_DEST, *TABLES, *NOT_KEYS]
    assert set(ACTIONS) - set(known) == set(), "a new option belongs into builder/cli/config/keys.py"
    assert sorted(known) == sorted(ACTIONS)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_a_key_is_its_option(key: Key) -> None:
    action = ACTIONS[key.dest]
    assert key.option in action.option_strings or key.option == action.metavar
    assert key.choices == tuple(action.choices or ())
    flag = action.nargs == 0
    assert flag == (key.kind == "flag")
    assert key.listed == (not flag and isinstance(action.default, list))
    assert key.about[0].islower()
    assert not key.about.endswith(".")


def test_a_key_is_refused_for_a_reason_or_not_at_all() -> None:
    assert {one.name for one in KEYS if bool(one.why) != (one.project == "no")} == set()


def test_what_a_project_may_say_is_a_list_that_is_read_before_it_grows() -> None:
    assert {one.name for one in KEYS if one.project == "yes"} == {
        *("stage", "platforms", "labels", "annotations", "base-annotations", "tags", "format"),
        *("compression", "compression-level", "force-compression", "no-cache", "no-cache-filter", "pull"),
        *("source-date-epoch", "reproducible", "compat"),
    }
    assert {one.name for one in KEYS if one.project == "inside"} == {
        *("context", "dockerfile", "args", "contexts", "outputs", "iidfile", "digest-file", "metadata-file", "timings"),
    }


def example(key: Key) -> object:
    """Return a value of the right kind."""
    if key.choices:
        return key.choices[0]
    values: dict[str, object] = {"flag": True, "number": 1, "text": "x", "texts": ["x"], "pairs": {"x": "y"}}
    return values.get(key.kind, [{"type": "local"}])


def written(key: Key) -> str:
    value = example(key)
    text = '{ x = "y" }' if isinstance(value, dict) else json.dumps(value)
    return f'{key.name} = [{{ type = "local" }}]' if key.kind == "attributes" else f"{key.name} = {text}"


@pytest.mark.parametrize("table", ["build", "target.api"])
@pytest.mark.parametrize("key", [one for one in KEYS if one.project == "no"], ids=lambda key: key.name)
def test_a_key_that_grants_access_is_refused_in_a_project(key: Key, table: str, tmp_path: Path) -> None:
    file = tmp_path / "pybuild.toml"
    file.write_text(f"[{table}]\n{written(key)}\n")
    with pytest.raises(UsageError) as caught:
        read_source(file, "project", Project(file, tmp_path))
    assert caught.value.message == f"{file}:2: {table}.{key.name}: a project's file may not say this: {key.why}"
    hint = caught.value.hint or ""
    assert key.option in hint
    assert key.variable in hint
    assert "--config" in hint
    read_source(file, "--config")  # a file that was named may


@pytest.mark.parametrize("path", [path for path, _ in TABLES.values()])
def test_settings_of_every_command_are_refused_in_a_project(path: str, tmp_path: Path) -> None:
    file = tmp_path / "pybuild.toml"
    table = path.partition(".")[0]
    file.write_text(f"[{table}]\n")
    with pytest.raises(UsageError, match=f"{table}: a project's file may not say this"):
        read_source(file, "project", Project(file, tmp_path))


@pytest.mark.parametrize("word", ["creds", "registry-mirror", "tls", "mirrors", "credentials", "authority"])
def test_other_words_for_access_are_no_keys_at_all(word: str, tmp_path: Path) -> None:
    file = tmp_path / "pybuild.toml"
    file.write_text(f"[build]\n{word} = 'x'\n")
    for level, project in (("project", Project(file, tmp_path)), ("--config", None)):
        with pytest.raises(UsageError, match=f"build.{word}: "):
            read_source(file, level, project)  # type: ignore[arg-type]  # one of the levels


# --- the schema


def test_the_published_schema_is_the_one_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    published = (CHECKOUT / "docs/schema/pybuild.schema.json").read_text()
    assert capsys.readouterr().out == published, "pybuild config schema >docs/schema/pybuild.schema.json"


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


def valid(document: Any) -> bool:
    return jsonschema.Draft202012Validator(schema()).is_valid(document)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_the_schema_knows_what_the_reader_does(key: Key, tmp_path: Path) -> None:
    file = tmp_path / "pybuild.toml"
    for value in (
        True,
        1,
        1.5,
        "x",
        "",
        [],
        ["x"],
        [1],
        [""],
        {"x": "y"},
        {"x": 1},
        [{"x": "y"}],
        [{}],
        {},
        *key.choices,
    ):
        text = f"[target.a]\n{key.name} = {_toml(value)}\n"
        file.write_text(text)
        try:
            read_source(file, "--config")
        except UsageError:
            read = False
        else:
            read = True
        assert valid(tomli.loads(text)) == read, text


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(one)}" for name, one in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("[registry.'x.y']\nmirrors = ['a']\ninsecure = true\nca = 'x'", True),
        ("[registry.'x.y']\nmirror = ['a']", False),
        ("[registries.map]\na = 'b'", True),
        ("[store]\nroot = '/x'\nread-only = '/y'\nmax-size = '5g'", True),
        ("[store]\nsize = '5g'", False),
        ("[builds]", False),
    ],
)
def test_the_schema_knows_the_other_tables(text: str, good: bool) -> None:
    assert valid(tomli.loads(text)) == good
    if good:
        parse_settings(text.encode(), Path("/f/pybuild.toml"))
    else:
        with pytest.raises(UsageError):
            parse_settings(text.encode(), Path("/f/pybuild.toml"))

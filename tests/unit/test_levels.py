"""Compatibility levels: which there are, how one is asked for, and that the first one leaves every key as it was."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from builder.cache.keys import Identity
from builder.cli.levels import chosen_level
from builder.cli.options import load, parse
from builder.cli.requests import make_request
from builder.engine.keys import levelled
from builder.errors import UsageError
from builder.levels import FIRST, LEVELS, NEWEST, level_of
from builder.rootfs.coding import USUAL
from builder.values import replace
from tests.support.cli import CHECKOUT, pybuild
from tests.support.images import file, layer

WORDS = {
    "build": ["."],
    "explain": ["."],
    "append": ["scratch", "oci-archive:x.tar", "--layer", "l.tar"],
    "convert": ["a", "oci-archive:x.tar", "--format=oci"],
    "mutate": ["a", "oci-archive:x.tar", "--env=A=b"],
}


def test_levels_are_numbered_from_one() -> None:
    assert list(LEVELS) == list(range(1, len(LEVELS) + 1))
    assert [level.number for level in LEVELS.values()] == list(LEVELS)
    assert NEWEST is LEVELS[len(LEVELS)]


def test_the_numbers_of_a_level_never_change() -> None:
    assert type(FIRST)(number=1, chunk=1 << 20, gzip=1, zstd=3, single=6) == FIRST


@pytest.mark.parametrize("text", ["0", "-1", "x", "", "1.0", "²", "99999999999999", str(NEWEST.number + 1)])
def test_an_unknown_level_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(UsageError, match="--compat: there is no compatibility level") as caught:
        level_of("--compat", text)
    assert "this pybuild has 1" in (caught.value.hint or "")
    assert ("a later one" in (caught.value.hint or "")) == (text == str(NEWEST.number + 1))


def test_the_option_counts_more_than_the_variable() -> None:
    assert make_request(parse("build", ["."]), {}).level == NEWEST
    assert make_request(parse("build", ["."]), {"PYBUILD_COMPAT": ""}).level == NEWEST
    assert make_request(parse("build", ["."]), {"PYBUILD_COMPAT": "1"}).level == FIRST
    assert make_request(parse("build", ["--compat=1", "."]), {"PYBUILD_COMPAT": "999"}).level == FIRST
    with pytest.raises(UsageError, match="PYBUILD_COMPAT=999: there is no compatibility level '999'"):
        make_request(parse("build", ["."]), {"PYBUILD_COMPAT": "999"})


@pytest.mark.parametrize("command", WORDS)
def test_every_command_that_writes_images_looks_at_it_first(command: str, tmp_path: Path) -> None:
    (tmp_path / "l.tar").write_bytes(layer(file("f", b"x")))
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY l.tar /\n")
    assert chosen_level(parse(command, ["--compat=1", *WORDS[command]]), {}) == FIRST
    done = pybuild(command, *WORDS[command], "--compat=7", root=tmp_path / "store", status=64, cwd=tmp_path)
    assert "--compat 7: there is no compatibility level '7'" in done.stderr
    assert not (tmp_path / "store").exists()


def test_the_metadata_tell_the_level(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    pybuild("--metadata-file=m.json", ".", root=tmp_path / "store", cwd=tmp_path)
    assert json.loads((tmp_path / "m.json").read_text())["compat"] == NEWEST.number


def test_the_first_level_is_in_no_key_and_every_other_one_is() -> None:
    exact = Identity("copy", 3, {"parent": "x"}, lambda: iter([("parent", "x")]))
    assert levelled(exact, FIRST) is exact
    later = [levelled(exact, replace(FIRST, number=number)) for number in (2, 3)]
    assert len({exact.key, *(one.key for one in later)}) == 3
    assert ("compatibility level", "2") in list(later[0].components())


def test_the_page_about_it_knows_every_level_and_names_tests_that_exist() -> None:
    text = (CHECKOUT / "docs/reproducibility.md").read_text()
    assert re.findall(r"^\| (\d+) \| ", text, re.MULTILINE) == [str(number) for number in LEVELS]
    assert USUAL.fingerprint().rpartition("-1-1MiB-")[1] in text
    named = re.findall(r"`(test_\w+)::(\w+)`", text)
    assert len(named) > 10
    files = {path.stem: path.read_text() for path in (CHECKOUT / "tests").rglob("test_*.py")}
    assert [f"{file}::{test}" for file, test in named if f"def {test}(" not in files.get(file, "")] == []
    for command in WORDS:
        assert f"`{command}`" in text


def test_commands_that_write_no_image_have_no_level() -> None:
    for command in ("save", "pull", "warm"):
        assert "--compat" not in load(command).parser().format_help()

"""docs/compatibility.md names tests that exist, and says of everything since when and how it is known."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/compatibility.md").read_text()
NAMED = re.compile(r"`(?:(?P<file>test_\w+)::(?P<test>test_\w+)|golden: (?P<golden>[a-z0-9-]+))`")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of every table row below a heading and its subheadings, without those of tables' heads."""
    (section,) = re.findall(rf"(?ms)^## {re.escape(heading)}$(.*?)(?=^## |\Z)", PAGE)
    found = [line for line in section.splitlines() if line.startswith("|")]
    heads = {at - 1 for at, line in enumerate(found) if set(line) <= set("|-")}
    kept = [line for at, line in enumerate(found) if at not in heads and at - 1 not in heads]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in kept]


def named_tests(cell: str) -> list[str]:
    """Return the tests a cell names, which has to hold nothing else."""
    named = cell.strip(" |").split(", ")
    assert all(NAMED.fullmatch(one) for one in named), cell
    return named


def test_every_named_test_exists() -> None:
    functions: dict[str, set[str]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(path.read_text())
        functions[path.stem] = {one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)}
    missing = []
    for one in NAMED.finditer(PAGE):
        if one["golden"]:
            exists = (ROOT / "testdata/dockerfiles" / one["golden"] / "expected.json").exists()
        else:
            exists = one["test"] in functions.get(one["file"], ())
        if not exists:
            missing.append(one[0])
    assert missing == []


def test_every_feature_is_supported_and_tested() -> None:
    found = rows("Features")
    assert len(found) > 80
    for feature, since, *tested in found:
        assert feature, since
        assert re.fullmatch(r"\d+\.\d+", since), feature
        assert len(tested) == 1, feature
        assert named_tests(tested[0]), feature


def test_every_difference_has_a_reason_and_a_test() -> None:
    found = rows("Where pybuild differs from BuildKit")
    assert [len(row) for row in found] == [5] * 18 + [2] * 11 + [4] * 7
    for row in found:
        assert all(row), row
        assert named_tests(row[-1]), row


def test_the_eighty_behaviours() -> None:
    found = rows("Eighty behaviours")
    assert [number for number, _, _ in found] == [str(number) for number in range(1, 81)]
    for _, behaviour, tested in found:
        assert named_tests(tested), behaviour


@pytest.mark.parametrize("instruction", [
    "FROM", "RUN", "CMD", "LABEL", "MAINTAINER", "EXPOSE", "ENV", "ADD", "COPY", "ENTRYPOINT", "VOLUME", "USER",
    "WORKDIR", "ARG", "ONBUILD", "STOPSIGNAL", "HEALTHCHECK", "SHELL",
])  # fmt: skip
def test_every_instruction_is_listed(instruction: str) -> None:
    assert any(re.search(rf"`{instruction}\b", row[0]) for row in rows("Features"))

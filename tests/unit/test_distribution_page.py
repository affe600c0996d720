"""docs/distribution.md names tests that exist, one at least for every rule."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/distribution.md").read_text()
NAMED = re.compile(r"`(?P<file>test_\w+)::(?P<test>test_\w+)`")
USED = ("Reading", "Writing", "Listing and deleting", "Errors, waiting, warnings")


def rows(heading: str) -> list[list[str]]:
    (section,) = re.findall(rf"(?ms)^## {re.escape(heading)}$(.*?)(?=^## |\Z)", PAGE)
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split(" | ")] for line in lines[2:]
    ]


def test_every_named_test_exists() -> None:
    functions = {
        (path.stem, node.name)
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert [one[0] for one in NAMED.finditer(PAGE) if (one["file"], one["test"]) not in functions] == []


@pytest.mark.parametrize("heading", USED)
def test_every_rule_has_a_test(heading: str) -> None:
    found = rows(heading)
    assert len(found) >= 8
    for row in found:
        assert len(row) == 3, row
        assert row[0]
        assert NAMED.sub("", row[2]).strip(" ,") == "", row
        assert NAMED.search(row[2]), row


def test_what_is_not_used_has_a_reason() -> None:
    assert all(len(row) == 2 and all(row) for row in rows("Not used"))


def test_every_endpoint_of_the_specification_is_mentioned() -> None:
    mentioned = set(re.findall(r"\bend-(\d+[ab]?):", PAGE))
    assert mentioned == {"1", "2", "3", "4a", "4b", "5", "6", "7", "8a", "8b", "9", "10", "11", "12a", "12b", "13"}

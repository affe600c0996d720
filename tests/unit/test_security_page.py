"""docs/security.md and docs/platforms.md name tests that exist; every cell of their tables says something."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("security", "platforms")
NAMED = re.compile(r"`(test_\w+)::(\w+)`")


def text_of(page: str) -> str:
    return (ROOT / f"docs/{page}.md").read_text()


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


@pytest.mark.parametrize("page", PAGES)
def test_every_named_test_exists(page: str) -> None:
    functions: dict[str, set[str]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(path.read_text())
        functions[path.stem] = {one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)}
    named = NAMED.findall(text_of(page))
    assert named
    assert [f"{file}::{test}" for file, test in named if test not in functions.get(file, ())] == []


def test_every_wall_has_a_test_or_is_none() -> None:
    section = text_of("security").partition("\n## Walls\n")[2].partition("\n## ")[0]
    head, *walls = rows(section)
    assert head[1:] == ["root", "userns", "single", "chroot"]
    assert len(walls) > 15
    for attempt, *cells in walls:
        assert len(cells) == 4, attempt
        for cell in cells:
            assert NAMED.fullmatch(cell.removeprefix("no wall: ")) or cell == "no wall", (attempt, cell)


def test_every_platform_has_a_test_or_says_that_it_has_none() -> None:
    head, *platforms = rows(text_of("platforms").partition("\n## Platforms\n")[2].partition("\n## ")[0])
    assert head[-1] == "known by"
    assert len(platforms) > 12
    for platform, *cells in platforms:
        assert all(cells), platform
        assert cells[-1] == "not verified" or NAMED.search(cells[-1]), platform

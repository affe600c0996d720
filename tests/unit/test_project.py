"""What the project promises about itself, checked against its files."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import builder
from builder import errors

CHECKOUT = Path(__file__).resolve().parents[2]
MODULES = sorted((CHECKOUT / "builder").rglob("*.py"))
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_a_module_is_short_and_says_what_it_is(path: Path) -> None:
    text = path.read_text()

    assert text.count("\n") <= (600 if path.match("builder/run/init.py") else 400)
    assert ast.get_docstring(ast.parse(text))


def _drawn() -> dict[str, tuple[str | None, str]]:
    """Return name -> (parent, exit status) as drawn in the docstring of builder/errors.py."""
    found: dict[str, tuple[str | None, str]] = {}
    ancestors: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"( +)(\w+Error)\s+(\d+|\*)", line)
        if match:
            depth, name = len(match[1]), match[2]
            ancestors = [one for one in ancestors if one[0] < depth]
            found[name] = (ancestors[-1][1] if ancestors else None, match[3])
            ancestors.append((depth, name))
    return found


def _defined() -> dict[str, type[errors.BuilderError]]:
    """Return every class below BuilderError, importing all modules but the entry points."""
    for module in pkgutil.walk_packages(builder.__path__, "builder."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

    def below(parent: type[errors.BuilderError]) -> Iterator[type[errors.BuilderError]]:
        yield parent
        for child in parent.__subclasses__():
            yield from below(child)

    return {found.__name__: found for found in below(errors.BuilderError) if found.__module__.startswith("builder.")}


def test_the_drawing_of_the_errors_is_the_code() -> None:
    drawn, defined = _drawn(), _defined()
    assert drawn, "builder/errors.py draws no tree"

    for name, error in defined.items():
        assert name in drawn, f"{error.__module__}.{name} is not drawn in builder/errors.py"
        parent, status = drawn[name]
        assert name == "BuilderError" or parent == error.__base__.__name__, f"{name} is drawn below {parent}"
        assert status in ("*", str(error.exit_code)), f"{name} is drawn with exit status {status}"
    assert sorted(drawn) == sorted(defined)


@pytest.mark.parametrize("name", ["attending", "init"])
def test_the_process_of_a_run_needs_only_the_standard_library(name: str) -> None:
    imported = set()
    for node in ast.walk(ast.parse((CHECKOUT / f"builder/run/{name}.py").read_text())):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            imported.update(f"{node.module}.{alias.name}" for alias in node.names)

    ours = {one for one in imported if one.startswith("builder.run.attending")}
    assert {one.split(".")[0] for one in imported - ours} <= sys.stdlib_module_names


def test_the_package_ships_what_is_not_python() -> None:
    files = [path.relative_to(CHECKOUT) for path in (CHECKOUT / "builder").rglob("*") if path.is_file()]
    # Tools started inside the package leave hidden cache directories there; git and hatchling ignore them.
    others = {path.suffix or path.name for path in files if not any(part.startswith(".") for part in path.parts)}

    assert others <= {".py", ".pyc", ".lark", ".typed", ".html", ".css", ".js"}, (
        "hatchling ships them, but nobody expects them"
    )


def test_every_dependency_has_a_tested_minimum() -> None:
    listed = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]

    assert all(re.fullmatch(r"[a-z0-9-]+>=[0-9.]+", line) for line in listed), listed


def test_contributing_fits_on_a_page() -> None:
    assert (CHECKOUT / "CONTRIBUTING.md").read_text().count("\n") <= 60

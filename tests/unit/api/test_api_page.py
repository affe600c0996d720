"""The examples of docs/python.md, executed as they stand in a directory with a context; the registry's name is ours."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import pytest

from builder import BuildRequest
from tests.support.commands import run
from tests.support.need import need
from tests.support.registry import TestRegistry

CHECKOUT = Path(__file__).resolve().parents[3]
PAGE = (CHECKOUT / "docs/python.md").read_text()
EXAMPLES = re.findall(r"^## ([^\n]+)\n((?:(?!^## ).)*)", PAGE, re.MULTILINE | re.DOTALL)
BLOCKS = [
    (title, block) for title, part in EXAMPLES for block in re.findall(r"^```python\n(.*?)^```", part, re.M | re.S)
]


def test_all_of_them_are_found() -> None:
    assert len(BLOCKS) == PAGE.count("```python") >= 6


@pytest.mark.parametrize(("title", "text"), BLOCKS, ids=[f"{title}-{n}" for n, (title, _) in enumerate(BLOCKS)])
def test_an_example_works(
    title: str,
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    store_root: Path,
    registry: TestRegistry,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Dockerfile").write_text("FROM scratch AS one\nARG VERSION\nCOPY app /app\nLABEL v=$VERSION\n")
    (tmp_path / "app").write_text(title)
    (tmp_path / "token.txt").write_text("secret")

    exec(compile(text.replace("registry.example", registry.host), f"docs/python.md: {title}", "exec"), {})

    assert "Traceback" not in capsys.readouterr().err


def test_every_field_of_a_request_is_explained() -> None:
    unsaid = {one.name for one in dataclasses.fields(BuildRequest) if f"`{one.name}`" not in PAGE}
    assert unsaid == {"build_platform"}, "which nobody sets"


def test_the_examples_have_the_right_types(tmp_path: Path) -> None:
    """As a program has them that imports an installed pybuild: with what py.typed promises, and nothing ignored."""
    need(Path(sys.executable).with_name("mypy").exists(), "needs mypy, of the development tools")
    for number, (_, text) in enumerate(BLOCKS):
        (tmp_path / f"example{number}.py").write_text(text)
    cache = CHECKOUT / ".mypy_cache"
    run([sys.executable, "-m", "mypy", "--strict", "--cache-dir", cache, *tmp_path.glob("*.py")], cwd=CHECKOUT)

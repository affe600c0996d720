"""The examples of docs/python.md, executed as they stand in a directory with a context; the registry's name is ours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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

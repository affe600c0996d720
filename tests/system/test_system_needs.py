"""What a test needs and the machine lacks: a reason to skip at home, a failure where CI says that all is there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.support.cli import CHECKOUT
from tests.support.commands import run

TEST = """\
from tests.support.need import need_tool

def test_with_a_tool():
    need_tool("a-tool-that-nobody-has")
"""


@pytest.mark.parametrize(("ci", "word", "status"), [(None, "1 skipped", 0), ("true", "1 failed", 1)])
def test_a_missing_tool(tmp_path: Path, ci: str | None, word: str, status: int) -> None:
    (tmp_path / "test_needing.py").write_text(TEST)
    env = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST")}
    env |= {"PYTHONPATH": str(CHECKOUT)} | ({} if ci is None else {"CI": ci})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", tmp_path]
    done = run(command, env=env, cwd=tmp_path, check=False)
    assert (word in done.stdout, done.returncode) == (True, status), done.stdout
    assert "needs a-tool-that-nobody-has" in done.stdout or ci is None

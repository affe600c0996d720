"""Pages that are made from code are what the code says, and every page is in the site's table of contents."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def test_pages_made_from_code_are_fresh() -> None:
    command = [sys.executable, "-B", CHECKOUT / "scripts/docs", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

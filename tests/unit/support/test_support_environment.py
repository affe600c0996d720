"""What conftest.py promises every test."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import settings


def test_what_is_left_in_the_temporary_directory_goes_with_the_run() -> None:
    place = Path(tempfile.gettempdir())
    assert place == Path(os.environ["TMPDIR"])
    assert place.name.startswith("pbt-")
    assert place.stat().st_mode & 0o7777 == 0o1777


def test_the_full_suite_does_not_try_the_same_examples_each_time(full: bool) -> None:
    default = settings()
    assert default.derandomize is not full
    assert default.deadline is None

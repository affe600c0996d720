"""A store and a context for each test of this package."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.builds import Workshop


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    """Builds with a new store on an empty context."""
    return Workshop(tmp_path / "store", tmp_path / "context")

"""A store and a listener for each test of this package."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.cache.store import Store
from builder.engine.build import Environment
from tests.support.builds import Recording, no_registry


@pytest.fixture
def env(tmp_path: Path) -> Iterator[Environment]:
    """What commands work with, and no registry."""
    with Store.open(tmp_path / "store") as store:
        yield Environment(store, no_registry, Recording(), threading.Event())

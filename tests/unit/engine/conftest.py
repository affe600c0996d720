"""A store, a context and clients of registries for each test of this package."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.registry.client import Registry
from builder.registry.retry import RetryPolicy
from tests.support.builds import Workshop


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    """Builds with a new store on an empty context."""
    return Workshop(tmp_path / "store", tmp_path / "context")


@pytest.fixture
def connect() -> Iterator[Callable[[], Registry]]:
    """What makes clients that do not really wait."""
    with contextlib.ExitStack() as closing:
        yield lambda: closing.enter_context(Registry(retry=RetryPolicy(sleep=lambda _: None)))

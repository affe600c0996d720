"""The bases of the Dockerfiles, and a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import goldens


@pytest.fixture(scope="module")
def bases(busybox_layout: Path, tmp_path_factory: pytest.TempPathFactory) -> goldens.Bases:
    return goldens.make_bases(busybox_layout, tmp_path_factory.mktemp("bases"))


@pytest.fixture(scope="module")
def shared_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all cases: the base is read and unpacked once."""
    return tmp_path_factory.mktemp("golden") / "store"

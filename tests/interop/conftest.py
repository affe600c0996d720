"""Tools that more than one module asks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.commands import run
from tests.support.need import need_root, need_tool


@pytest.fixture(scope="session")
def podman() -> Iterator[Any]:
    need_root("needs root: podman")
    need_tool("podman")
    # Podman refuses a run root of more than 50 characters, which pytest's directories can have.
    with tempfile.TemporaryDirectory(prefix="pod-", dir="/tmp") as base:
        options = ["--root", f"{base}/root", "--runroot", f"{base}/run", "--storage-driver", "vfs"]
        yield lambda *arguments: run([need_tool("podman"), *options, *arguments]).stdout

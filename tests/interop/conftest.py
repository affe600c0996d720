"""Tools that more than one module asks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.registry.client import Registry
from tests.support.called import Call, caller
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


@pytest.fixture(scope="session")
def buildah_with_vfs() -> Iterator[Callable[..., str]]:
    """Buildah with images of its own, on plain directories."""
    need_root("needs root: buildah")
    need_tool("buildah")
    with tempfile.TemporaryDirectory(prefix="bah-", dir="/tmp") as base:
        options = ["--root", f"{base}/root", "--runroot", f"{base}/run", "--storage-driver", "vfs"]
        yield lambda *arguments: run([need_tool("buildah"), *options, *arguments]).stdout


@pytest.fixture
def empty_docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Podman and buildah want the file that $DOCKER_CONFIG promises."""
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker/config.json").write_text("{}")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


@pytest.fixture
def call(store_root: Path, capfd: pytest.CaptureFixture[str]) -> Call:
    """The command line in this process."""
    assert store_root
    return caller(capfd)


@pytest.fixture
def client() -> Iterator[Registry]:
    """Ours."""
    with Registry() as opened:
        yield opened

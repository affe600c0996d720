"""Tests that need something of the machine: absent, they skip at home and fail in CI."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

# Ordinary users often lack these two, and Debian installs dockerd and runc there.
_SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def in_ci() -> bool:
    """True where everything a test may need has to be there."""
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")


def need(condition: object, reason: str) -> None:
    """Go on if ``condition`` holds; otherwise skip the test with ``reason``, or fail it in CI."""
    if condition:
        return
    if in_ci():
        pytest.fail(f"needed in CI: {reason}", pytrace=False)
    pytest.skip(reason)


def need_root(reason: str = "needs root") -> None:
    """Go on only as root."""
    need(os.geteuid() == 0, reason)


def need_tool(name: str) -> str:
    """Return the path of the program ``name``, or skip."""
    path = shutil.which(name, path=_SEARCH)
    need(path, f"needs {name}")
    assert path is not None
    return path


def machine_cache() -> Path:
    """Return a directory, ours alone, that outlives the test run: for what is slow to make and never changes."""
    named = os.environ.get("PYBUILD_TEST_CACHE")
    path = Path(named) if named else Path(f"/var/tmp/pybuild-test-cache-{os.geteuid()}")
    try:
        path.mkdir(mode=0o700, parents=bool(named), exist_ok=True)
        if path.lstat().st_uid == os.geteuid() and path.is_dir() and not path.is_symlink():
            return path
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="pybuild-test-cache-"))

"""Tests that need something of the machine: absent, they skip at home and fail in CI."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_SYS_ADMIN = 21
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
    """Go on only as the root of a machine: one in a container without privileges may neither mount nor trace."""
    need(os.geteuid() == 0, reason)
    (effective,) = [line.split()[1] for line in _status() if line.startswith("CapEff:")]
    need(int(effective, 16) >> _SYS_ADMIN & 1, f"{reason}; this one lacks CAP_SYS_ADMIN")


def need_user_namespaces(reason: str = "needs user namespaces") -> None:
    """Go on only where a user namespace can be made."""
    need(subprocess.run(["unshare", "--user", "true"], capture_output=True, check=False).returncode == 0, reason)


def _status() -> list[str]:
    return Path("/proc/self/status").read_text().splitlines()


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


@contextmanager
def public_directory(name: str) -> Iterator[Path]:
    """Yield a directory that every user can reach, on a disk, with a short path; it is gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix=f"pybuild-test-{name}-", dir="/var/tmp") as made:
        Path(made).chmod(0o755)
        yield Path(made)

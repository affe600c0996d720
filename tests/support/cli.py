"""The command line as a process of its own, and contexts to build: what tests of the whole product share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def environment(root: Path, env: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """Return this process's environment for a pybuild of this checkout with the store ``root``; None removes one."""
    merged = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYBUILD_ROOT": str(root), **(env or {})}
    return {name: value for name, value in merged.items() if value is not None}


def pybuild(
    *arguments: str | Path,
    root: Path,
    status: int | Sequence[int] = 0,
    env: Mapping[str, str | None] | None = None,
    cwd: Path | None = None,
    stdin: Path | None = None,
    python: str | Path = sys.executable,
) -> subprocess.CompletedProcess[str]:
    """Run the command line; it must end with ``status`` (or one of them) and never with a traceback."""
    with open(stdin or os.devnull, "rb") as source:
        done = subprocess.run(
            [python, "-m", "builder.cli.main", *arguments],
            stdin=source,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env=environment(root, env),
            cwd=cwd,
        )
    expect(done, status)
    return done


def expect(done: subprocess.CompletedProcess[str], status: int | Sequence[int]) -> None:
    """Fail unless the process ended with ``status`` or one of them, and without a traceback."""
    allowed = [status] if isinstance(status, int) else list(status)
    said = f"{done.stdout}{done.stderr}"
    assert done.returncode in allowed, f"ended with {done.returncode}, not {allowed}:\n{said}"
    assert "Traceback" not in said, said


def digest_of(done: subprocess.CompletedProcess[str]) -> str:
    """Return the manifest digest on the one line of standard output."""
    (line,) = done.stdout.splitlines()
    return "sha256:" + line.rpartition("sha256:")[2]


def write_context(directory: Path, dockerfile: str, files: Mapping[str, str | bytes] | None = None) -> Path:
    """Write a build context; return it."""
    for name, contents in {"Dockerfile": dockerfile, **(files or {})}.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents.encode() if isinstance(contents, str) else contents)
    return directory

"""Running the tools that tests compare with."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def run(
    command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a program without standard input and return its output; a failure shows all it said."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=env,
        cwd=cwd,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{list(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


def stop(process: subprocess.Popen[bytes], seconds: float) -> None:
    """End a process that we started: politely first."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

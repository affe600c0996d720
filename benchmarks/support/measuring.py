"""Measuring whole commands: wall and processor time, and the largest resident set.

Wall time is of the command alone. Processor time is what the kernel counted for the command and all that it waited
for. The peak is the largest resident set of any one of these processes, in MB (10**6 bytes): not their sum. Work that
a command has done by a daemon is added with ``daemon``, its process.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import descendants

_TICKS = os.sysconf("SC_CLK_TCK")
_TIMED = str(Path(__file__).with_name("timed.py"))


@dataclass(frozen=True)
class Measured:
    """What one command took: seconds, and MB."""

    wall: float
    processor: float
    peak: float


def measure(command: Sequence[str], env: Mapping[str, str], daemon: int | None = None) -> Measured:
    """Run a command to its end; what others still had to write to the disk is written before.

    Ends the benchmark if the command fails.
    """
    os.sync()
    before = _daemon_seconds(daemon)
    for pid in _tree(daemon):
        with suppress(OSError):  # it has ended meanwhile; 5 resets its peak
            Path(f"/proc/{pid}/clear_refs").write_text("5")
    program = shutil.which(command[0], path=env.get("PATH")) or command[0]
    with tempfile.NamedTemporaryFile("r") as answer, tempfile.TemporaryFile() as said:
        around = [sys.executable, "-I", "-S", _TIMED, answer.name, program, *command[1:]]
        subprocess.run(around, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=True)
        code, *figures = answer.read().split()
        if int(code):
            said.seek(0)
            sys.exit(f"{list(command)} ended with {code}:\n{said.read().decode(errors='replace')[-4000:]}")
    wall, user, system, kilobytes = map(float, figures)
    peaks = [kilobytes, *(_peak(pid) for pid in _tree(daemon))]
    return Measured(wall, user + system + _daemon_seconds(daemon) - before, max(peaks) * 1024 / 1e6)


def done(command: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """Run a command that is not measured and return its output; ends the benchmark if it fails."""
    ran = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"{list(command)} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}"[-4000:])
    return ran.stdout


def median(found: Iterable[Measured]) -> Measured:
    """Return the medians of the times, and the largest peak."""
    runs = list(found)
    wall = statistics.median(one.wall for one in runs)
    return Measured(wall, statistics.median(one.processor for one in runs), max(one.peak for one in runs))


def take_turns(jobs: Mapping[str, Callable[[], Measured]], repeat: int) -> dict[str, list[Measured]]:
    """Run every job ``repeat`` times, one after the other; another one begins each round."""
    found: dict[str, list[Measured]] = {name: [] for name in jobs}
    names = list(jobs)
    for number in range(repeat):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            found[name].append(jobs[name]())
    return found


def _tree(daemon: int | None) -> list[int]:
    return [] if daemon is None else descendants(daemon)


def _daemon_seconds(daemon: int | None) -> float:
    """Return the processor time of a daemon, of what runs below it and of all that they have waited for."""
    ticks = 0
    for pid in _tree(daemon):
        with suppress(OSError):  # it has ended, and its parent counts it
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS


def _peak(pid: int) -> float:
    """Return the largest resident set of a running process in kB since it was last reset; 0 if it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1])
    return 0.0

"""What runs below a process, and waiting for its end."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterable
from pathlib import Path

GONE_SECONDS = 5.0  # a machine under load; it takes milliseconds


def descendants(pid: int) -> list[int]:
    """Return ``pid`` and everything below it, parents first; ended processes nobody has waited for too."""
    parents: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue
        parents.setdefault(int(fields[1]), []).append(int(name))
    found = [pid]
    for each in found:
        found.extend(parents.get(each, ()))
    return found


def helper_of(worker: int) -> int:
    """Return the process below ``worker`` that accompanies its only running step: the one that has a child."""
    (found,) = [pid for pid in children(worker) if children(pid)]
    return found


def nursery_of(worker: int) -> int:
    """Return the process below ``worker`` that makes the helpers of steps; waits for those of ended steps to go."""
    deadline = time.monotonic() + GONE_SECONDS
    while len(found := [pid for pid in children(worker) if not children(pid)]) != 1:
        assert time.monotonic() < deadline, found
    return found[0]


def children(pid: int) -> list[int]:
    """Return the processes directly below ``pid``; none if it is gone."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
        texts = [Path(f"/proc/{pid}/task/{thread}/children").read_text() for thread in threads]
    except FileNotFoundError:
        return []
    return [int(child) for text in texts for child in text.split()]


def watch(pids: Iterable[int]) -> list[int]:
    """Return descriptors that tell the end of processes, for :func:`await_end`."""
    return [os.pidfd_open(pid) for pid in pids]


def await_end(pidfds: list[int]) -> float:
    """Wait until every process has ended; return the seconds it took. Fails unless they do soon."""
    began = time.monotonic()
    for fd in pidfds:
        ready, _, _ = select.select([fd], [], [], max(0.0, began + GONE_SECONDS - time.monotonic()))
        os.close(fd)
        assert ready, "a process of the step is still there"
    return time.monotonic() - began


def mounts(below: Path) -> list[str]:
    """Return the lines of what is mounted below a directory."""
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(below) in line]

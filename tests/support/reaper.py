"""Kills a program after some time, and waits for all it started. A program: ``reaper.py SECONDS PATIENCE COMMAND``.

It is the subreaper: whatever the command left behind becomes its child, so that nothing can hide. Standard output gets
``killed`` or ``ended``, and names what did not end by itself within PATIENCE seconds, which is killed then.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_SET_CHILD_SUBREAPER = 36


def _children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def _reap(deadline: float) -> bool:
    """Wait until there is no child any more; False when the deadline comes first."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if not pid:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)


def main(seconds: float, patience: float, command: list[str]) -> int:
    """Run, kill and reap."""
    assert ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0) == 0
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        process.wait(seconds)
        print("ended")
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        print("killed")
    if _reap(time.monotonic() + patience):
        return 0
    for pid in _children():
        print(f"left behind: {pid} {Path(f'/proc/{pid}/cmdline').read_bytes()!r}")
        os.kill(pid, signal.SIGKILL)
    return 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))

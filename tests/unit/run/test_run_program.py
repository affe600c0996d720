"""The program every step begins with: how little it loads."""

from __future__ import annotations

import subprocess
import sys

from builder.run import spawning

# The code of the program as it is handed to the process of a step, but for its last line, which begins the work.
LOAD = f"""
import io, os, sys
os.pread = lambda *_: sys.stdin.buffer.read()
{spawning._BOOTSTRAP.rpartition("module.main()")[0]}
print(*sys.modules)
"""


def test_the_program_of_a_step_loads_little() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "utf8", "-c", LOAD],
        input=spawning.program(),
        capture_output=True,
        check=True,
    )
    loaded = set(done.stdout.decode().split())
    assert "ctypes" in loaded
    # Every step waits for its imports: typing, with what it brings along, was a third of its start.
    assert loaded.isdisjoint({"typing", "re", "enum", "functools", "collections", "dataclasses", "subprocess"})

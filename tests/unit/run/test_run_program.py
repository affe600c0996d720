"""The program every step begins with: how little it loads."""

from __future__ import annotations

import subprocess
import sys

from builder.run import init

# Runs the file as a step does, without its last line; runpy, which would be shorter, itself loads too much.
LOAD = """
import sys
code = compile(open(sys.argv[1]).read(), sys.argv[1], "exec")
exec(code, {"__name__": "init"})
print(*sys.modules)
"""


def test_the_program_of_a_step_loads_little() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "utf8", "-c", LOAD, init.__file__],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert "ctypes" in loaded
    # Every step waits for its imports: typing, with what it brings along, was a third of its start.
    assert loaded.isdisjoint({"typing", "re", "enum", "functools", "collections", "dataclasses", "subprocess"})

"""Runs one command and writes what it took to a file: a program of its own, started by ``measuring``.

A process begins its count of the largest resident set with its parent's, so the parent has to be small: this one
imports next to nothing and is started with ``-I -S``.
"""

import os
import sys
import time


def main() -> None:
    """Take the file of results and a command; write "status wall user system kilobytes"."""
    target, *command = sys.argv[1:]
    began = time.perf_counter()
    pid = os.posix_spawn(command[0], command, os.environ)
    _, status, used = os.wait4(pid, 0)
    wall = time.perf_counter() - began
    with open(target, "w") as stream:
        code = os.waitstatus_to_exitcode(status)
        stream.write(f"{code} {wall} {used.ru_utime} {used.ru_stime} {used.ru_maxrss}")


main()

"""The process that the processes of steps are forked from, which saves each of them the start of an interpreter.

Started once by ``run.spawning`` with ``run.init`` in memory; it has one thread, keeps nothing of what it hands on, and
ends with the worker. Its children are the worker's: it only makes them. Standard library only, like ``run.init``.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from typing import NoReturn

from builder.run import init

_CONTROL, _CODE = 3, 6
_CLONE_PARENT, _SIGCHLD = 0x8000, 17
_CLONE = {"x86_64": 56, "aarch64": 220}


def main() -> NoReturn:
    """Fork a step's process for every message, which brings its descriptors, and answer with its pid, 0 for none."""
    os.close(_CODE)
    control = socket.socket(fileno=_CONTROL)
    control.set_inheritable(False)
    number = _CLONE[os.uname().machine]
    # Keeps the interpreter's lock, as it has to be when the child returns.
    syscall = ctypes.PyDLL(None).syscall
    while True:
        message, fds, _, _ = socket.recv_fds(control, 1, 5, socket.MSG_CMSG_CLOEXEC)
        if not message:
            os._exit(0)
        pid = syscall(number, _CLONE_PARENT | _SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            _become(control, fds)
        for fd in fds:
            os.close(fd)
        control.send(max(pid, 0).to_bytes(8, "little"))


def _become(control: socket.socket, fds: list[int]) -> NoReturn:
    try:
        control.close()
        os.setsid()
        stdout, stderr, spec, channel, life = fds
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.close(stdout)
        os.close(stderr)
        sys.argv[1:] = [str(fd) for fd in (spec, channel, life, os.dup(0))]
        init.main()
    finally:
        os._exit(71)

"""Starting the processes of steps, from the worker's side: forked by ``run.nursery``, as long as that works.

Thread-safe. Whoever gets no process here starts an interpreter instead.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from builder.run import attending, init, nursery, wire

# Reading programs from memory saves compiling them: files that are run directly are never cached.
_BOOTSTRAP = """
import marshal, os, sys
for name, code in marshal.loads(os.pread(6, 1 << 22, 0)):
    module = sys.modules[name] = type(sys)(name)
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    if code:
        exec(code, module.__dict__)
module.main()
"""


class Nursery:
    """One ``run.nursery``, or none where it cannot be."""

    def __init__(self) -> None:
        """Start it, without waiting for it. Raises OSError."""
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair()
        code = program(nursery)
        try:
            self.pid = _start(code, {theirs.fileno(): 3}, ())
        finally:
            theirs.close()

    def fork(self, fds: list[int]) -> int:
        """Return the pid of a new child of ours that runs ``run.init``; 0 if there is none.

        ``fds`` are its standard output, its standard error and what init calls SPEC, STATUS and LIFE.
        """
        with self._lock:
            try:
                socket.send_fds(self._control, [b"+"], fds)
                answer = self._control.recv(8)
            except OSError:
                answer = b""
        return int.from_bytes(answer, "little")

    def close(self) -> None:
        """End it, and wait until it is gone."""
        with self._lock:
            self._control.close()
        os.waitpid(self.pid, 0)


def start(code: bytes, fds: Sequence[int]) -> int:
    """Start an interpreter with the :func:`program` ``code``, which gets ``fds`` as for a nursery; return its pid.

    Raises OSError.
    """
    return _start(code, dict(zip(fds, range(1, 6), strict=True)), ("3", "4", "5", "6"))


def _start(code: bytes, fds: Mapping[int, int], arguments: Sequence[str]) -> int:
    file = wire.memory_file(code)
    # First out of the way of the numbers they get in the child.
    high = {fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10): number for fd, number in {**fds, file: 6}.items()}
    try:
        actions: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]
        actions += [(os.POSIX_SPAWN_DUP2, fd, number) for fd, number in high.items()]
        command = [sys.executable, "-I", "-S", "-X", "utf8", "-c", _BOOTSTRAP, *arguments]
        return os.posix_spawn(sys.executable, command, {}, file_actions=actions, setsid=True)
    finally:
        for fd in (*high, file):
            os.close(fd)


def program(*modules: Any) -> bytes:
    """Return the code of ``run.init`` and of ``modules`` on it, in an order to be loaded in; the last has ``main``."""
    named: list[tuple[str, Any]] = [("builder", None), ("builder.run", None)]
    named += [(module.__name__, module.__loader__.get_code(module.__name__)) for module in (attending, init, *modules)]
    return marshal.dumps(named)

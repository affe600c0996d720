"""Messages between the engine's process and the worker: marshalled values and file descriptors over a socket pair.

Both ends are this version of this package on one machine, so the format has no version. A value that does not fit
into a datagram travels in an anonymous memory file: secrets are among them, and must not reach a disk.
"""

from __future__ import annotations

import array
import marshal
import os
import socket
from collections.abc import Sequence
from typing import Any

_INLINE = 32768
_MAX_FDS = 16


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends; message boundaries are kept, and one end's death is the other's end of input."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(sock: socket.socket, value: Any, fds: Sequence[int] = ()) -> None:
    """Send one value, from any thread. Raises OSError when the other end is gone."""
    data = marshal.dumps(value)
    if len(data) <= _INLINE:
        _send(sock, b"\0" + data, fds)
        return
    memory = memory_file(data)
    try:
        _send(sock, b"\1", (memory, *fds))
    finally:
        os.close(memory)


def _send(sock: socket.socket, data: bytes, fds: Sequence[int]) -> None:
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)


def receive(sock: socket.socket) -> tuple[Any, list[int]] | None:
    """Return the next value and its descriptors, which are then the caller's; None when the other end is gone."""
    size = array.array("i").itemsize
    try:
        data, ancillary, _, _ = sock.recvmsg(_INLINE + 1, socket.CMSG_SPACE(_MAX_FDS * size), socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        return None
    if not data:
        return None
    fds = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % size])
    descriptors = list(fds)
    if data[0] == 0:
        return marshal.loads(data[1:]), descriptors
    with open(descriptors.pop(0), "rb") as memory:
        return marshal.load(memory), descriptors


def memory_file(data: bytes) -> int:
    """Return a descriptor, positioned at the start, of an anonymous file in memory that holds ``data``."""
    fd = os.memfd_create("pybuild", os.MFD_CLOEXEC)
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd

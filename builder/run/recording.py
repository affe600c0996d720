"""Owners where only one uid exists: changes of owners are written down instead of made (run-sandbox.md 3, mode C).

A thread of the worker answers the calls that ``seccomp.recorder`` lets wait: it finds the file as the caller would,
lets the kernel do what any chown does (set-id bits and capabilities go), and puts the owner into an attribute of the
file, which renames and copies-up keep and ``rootfs.diff`` turns into the owner in the layer.

The caller may change its arguments while we look. That is no danger: nothing is written that it could not write itself.
What stat(2) shows inside stays root's, and only files and directories can carry the attribute.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import select
import stat
import struct
import threading
from collections.abc import Callable

from builder.rootfs import whiteout
from builder.run import seccomp

_RECEIVE, _SEND, _STILL_VALID = 0xC0502100, 0xC0182101, 0x40082102
_SET_FLAGS, _SAME_CPU = 0x40082104, 1
_NOTICE = struct.Struct("=QIIiIQ6Q")
_REPLY = struct.Struct("=QqiI")

_OPENAT2 = 437
_NO_MAGIC, _BENEATH, _IN_ROOT = 0x02, 0x08, 0x10
_O_PATH = 0x200000
_AT_FDCWD, _NOFOLLOW, _EMPTY_PATH = -100, 0x100, 0x1000
_KEEP = 0xFFFFFFFF
_PATH_MAX = 4096
_RACES = 16

# Links only the caller itself can follow: for us /proc/self is nobody.
_OWN_DESCRIPTOR = re.compile(rb"/+(?:dev|proc/(?:self|thread-self))/+fd/+(\d{1,9})")
_STREAMS = {b"/dev/stdin": 0, b"/dev/stdout": 1, b"/dev/stderr": 2}

_libc = ctypes.CDLL(None, use_errno=True)


class Recorder:
    """Answers the calls of one step, in one thread, so that each sees what the one before has done."""

    def __init__(self, listener: int, warn: Callable[[str], None]) -> None:
        """``listener`` is ours from now on; ``warn`` is called once for links, which cannot have an owner."""
        self._listener = listener
        self._warn = warn
        self._warned = False
        self._calls = seccomp.recorded_calls(os.uname().machine)
        self._end = os.eventfd(0)
        try:
            fcntl.ioctl(listener, _SET_FLAGS, _SAME_CPU)  # the two of us take turns anyway
        except OSError:
            pass  # Linux before 6.6
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering, after what is being answered. Every process of the step should have ended."""
        os.eventfd_write(self._end, 1)
        self._thread.join()
        os.close(self._end)
        os.close(self._listener)

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        poll.register(self._listener, select.POLLIN)
        while True:
            events = dict(poll.poll())
            if self._end in events or not events[self._listener] & select.POLLIN:
                return
            notice = bytearray(_NOTICE.size)
            try:
                fcntl.ioctl(self._listener, _RECEIVE, notice, True)
            except OSError:
                continue  # the caller was killed in between
            ident, pid, _, number, arch, _, *arguments = _NOTICE.unpack(notice)
            failure = errno.EIO
            try:
                failure = self._answer(ident, pid, self._calls[arch, number], arguments)
            finally:
                reply = bytearray(_REPLY.pack(ident, 0, -failure, 0))
                try:
                    fcntl.ioctl(self._listener, _SEND, reply, True)
                except OSError:
                    pass  # it has been killed since

    def _answer(self, ident: int, pid: int, call: str, arguments: list[int]) -> int:
        """Do what was asked; return an errno, 0 for success."""
        uid, gid = (number & _KEEP for number in arguments[2 if call == "fchownat" else 1 :][:2])
        try:
            file, name = _open(pid, call, arguments)
        except OSError as error:
            return error.errno or errno.EIO
        try:
            # Whatever was opened by the number was opened of the caller, if that one is still waiting.
            fcntl.ioctl(self._listener, _STILL_VALID, struct.pack("=Q", ident))
            self._record(b"/proc/self/fd/%d" % file, name, uid, gid)
            return 0
        except OSError as error:
            return error.errno or errno.EIO
        finally:
            os.close(file)

    def _record(self, file: bytes, name: bytes, uid: int, gid: int) -> None:
        os.chown(file, -1, -1)
        before = _recorded(file)
        after = (before[0] if uid == _KEEP else uid, before[1] if gid == _KEEP else gid)
        if after == before:
            return
        try:
            if after == (0, 0):
                os.removexattr(file, whiteout.OWNER)
            else:
                os.setxattr(file, whiteout.OWNER, whiteout.encode_owner(*after))
        except OSError as error:
            if error.errno == errno.EPERM:
                self._say_lost(file, name, after)
            elif error.errno != errno.ENOTSUP:  # what is not on a disk has no place in a layer either
                raise

    def _say_lost(self, file: bytes, name: bytes, owner: tuple[int, int]) -> None:
        mode = os.stat(file).st_mode
        if self._warned or not (stat.S_ISLNK(mode) or stat.S_ISFIFO(mode)):
            return
        self._warned = True
        self._warn(
            f"{os.fsdecode(name)}: with one uid (--isolation=single) links and fifos belong to 0:0 in the image, "
            f"not to {owner[0]}:{owner[1]}; others are not told of"
        )


def _recorded(file: bytes) -> tuple[int, int]:
    try:
        return whiteout.decode_owner(os.getxattr(file, whiteout.OWNER)) or (0, 0)
    except OSError:
        return 0, 0


def _open(pid: int, call: str, arguments: list[int]) -> tuple[int, bytes]:
    """Return an O_PATH descriptor of the file a call is about, and the name the caller gave it. Raises OSError."""
    process = os.open(b"/proc/%d" % pid, _O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if call == "fchown":
            return _open_descriptor(process, _signed(arguments[0])), b"a file"
        directory, address, flags = _AT_FDCWD, arguments[0], _NOFOLLOW if call == "lchown" else 0
        if call == "fchownat":
            directory, address, flags = _signed(arguments[0]), arguments[1], arguments[4] & _KEEP
        if flags & ~(_NOFOLLOW | _EMPTY_PATH):
            raise OSError(errno.EINVAL, "flags")
        name = b"" if flags & _EMPTY_PATH and not address else _text(process, address)
        if not name:
            if not flags & _EMPTY_PATH:
                raise OSError(errno.ENOENT, "path")
            return _open_start(process, directory), b"a file"
        return _resolve(process, directory, name, 0 if not flags & _NOFOLLOW else os.O_NOFOLLOW), name
    finally:
        os.close(process)


def _signed(argument: int) -> int:
    """Return an int of C that came in a register."""
    return (argument & _KEEP ^ 0x80000000) - 0x80000000


def _text(process: int, address: int) -> bytes:
    """Read a path from the caller's memory."""
    memory = os.open(b"mem", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process)
    try:
        # The highest byte of a pointer may be a tag on aarch64.
        found = os.pread(memory, _PATH_MAX, address & (1 << 56) - 1)
    except OSError as error:
        raise OSError(errno.EFAULT, "path") from error
    finally:
        os.close(memory)
    text, end, _ = found.partition(b"\0")
    if not end:
        raise OSError(errno.ENAMETOOLONG if len(found) == _PATH_MAX else errno.EFAULT, "path")
    return text


def _open_start(process: int, directory: int) -> int:
    """Return where a relative path begins."""
    if directory == _AT_FDCWD:
        return os.open(b"cwd", _O_PATH | os.O_CLOEXEC, dir_fd=process)
    return _open_descriptor(process, directory)


def _open_descriptor(process: int, number: int) -> int:
    """Return what the caller has open as ``number``."""
    try:
        return os.open(b"fd/%d" % number, _O_PATH | os.O_CLOEXEC, dir_fd=process)
    except FileNotFoundError as error:
        raise OSError(errno.EBADF, "descriptor") from error


def _resolve(process: int, directory: int, name: bytes, flags: int) -> int:
    own = _OWN_DESCRIPTOR.fullmatch(name)
    if not flags and (own or name in _STREAMS):
        return _open_descriptor(process, int(own[1]) if own else _STREAMS[name])
    if name.startswith(b"/"):
        return _open_in_root(process, name, flags)
    start = _open_start(process, directory)
    try:
        return _openat2(start, name, flags, _BENEATH | _NO_MAGIC)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    finally:
        os.close(start)
    # It leads up, or over a link that begins at the root: spelled out from there.
    link = b"cwd" if directory == _AT_FDCWD else b"fd/%d" % directory
    here, root = os.readlink(link, dir_fd=process), os.readlink(b"root", dir_fd=process).rstrip(b"/")
    inside = here[len(root) :] if (here + b"/").startswith(root + b"/") else b"/"
    return _open_in_root(process, inside + b"/" + name, flags)


def _open_in_root(process: int, path: bytes, flags: int) -> int:
    root = os.open(b"root", _O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=process)
    try:
        return _openat2(root, path, flags, _IN_ROOT | _NO_MAGIC)
    finally:
        os.close(root)


def _openat2(directory: int, path: bytes, flags: int, resolve: int) -> int:
    how = (ctypes.c_uint64 * 3)(_O_PATH | os.O_CLOEXEC | flags, 0, resolve)
    number = 0
    for _ in range(_RACES):
        fd = _libc.syscall(_OPENAT2, directory, path, how, ctypes.c_size_t(24))
        if fd >= 0:
            return int(fd)
        number = ctypes.get_errno()
        if number != errno.EAGAIN:  # something was renamed while the kernel went up
            break
    raise OSError(number, os.strerror(number), path)

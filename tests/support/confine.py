"""Confinement of a program, as pods and container runtimes do it. A program: ``confine.py OPTIONS -- COMMAND``.

Standard library only and without imports from here, so that any interpreter can run it from its text (``-c``).
``--kill`` and ``--refuse`` install a system call filter against everything that makes namespaces or mounts: with
--kill an attempt ends the process, with --refuse it gets EPERM, as with Docker's default profile. ``--read-only``
(root) makes all file systems read-only, with a 1 MiB /tmp and, for each ``--volume=DIR``, a tmpfs that can be written;
``--user=UID:GID`` (root) drops to that user without any capability. All of them set no_new_privs.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

_LIBC = ctypes.CDLL(None, use_errno=True)
_SET_SECCOMP, _CAPBSET_DROP, _SET_NO_NEW_PRIVS, _CAP_AMBIENT = 22, 24, 38, 47
_KILL, _EPERM, _ENOSYS, _ALLOW = 0x80000000, 0x50001, 0x50026, 0x7FFF0000
_NEW_NAMESPACES = 0x7E020000
# unshare setns mount umount2 pivot_root
# open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr; clone; clone3
_NUMBERS = {
    "x86_64": ([272, 308, 165, 166, 155, 428, 429, 430, 431, 432, 433, 442], 56, 435),
    "aarch64": ([97, 268, 40, 39, 41, 428, 429, 430, 431, 432, 433, 442], 220, 435),
}
_NEWNS, _RDONLY, _BIND, _REMOUNT, _PRIVATE, _REC = 0x20000, 1, 4096, 32, 1 << 18, 16384
_ATTR_RDONLY, _AT_FDCWD, _AT_RECURSIVE, _MOUNT_SETATTR = 1, -100, 0x8000, 442


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _prctl(option: int, *values: object) -> None:
    padded = [*values, *([ctypes.c_ulong(0)] * (4 - len(values)))]
    _check(_LIBC.prctl(option, *padded), f"prctl {option}")


def install_filter(verdict: int) -> None:
    """Let every system call that makes namespaces or mounts end in ``verdict``."""
    denied, clone, clone3 = _NUMBERS[platform.machine()]
    load, equal, any_bit, answer = 0x20, 0x15, 0x45, 0x06
    program = [struct.pack("<HBBI", load, 0, 0, 0)]
    for number in denied:
        program += [struct.pack("<HBBI", equal, 0, 1, number), struct.pack("<HBBI", answer, 0, 0, verdict)]
    # clone3's flags are in memory, out of a filter's sight: the C library falls back to clone.
    program += [struct.pack("<HBBI", equal, 0, 1, clone3), struct.pack("<HBBI", answer, 0, 0, _ENOSYS)]
    program += [
        struct.pack("<HBBI", equal, 0, 3, clone),
        struct.pack("<HBBI", load, 0, 0, 16),
        struct.pack("<HBBI", any_bit, 0, 1, _NEW_NAMESPACES),
        struct.pack("<HBBI", answer, 0, 0, verdict),
        struct.pack("<HBBI", answer, 0, 0, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(program))
    head = struct.pack("@HP", len(program), ctypes.addressof(code))
    _prctl(_SET_SECCOMP, ctypes.c_ulong(2), ctypes.c_char_p(head))


def _mount(kind: bytes | None, target: str, flags: int, data: bytes | None = None) -> None:
    _check(_LIBC.mount(kind, os.fsencode(target), kind, ctypes.c_ulong(flags), data), f"mount {target}")


def make_read_only(volumes: list[str]) -> None:
    """Enter a mount namespace in which only ``volumes`` and a 1 MiB /tmp can be written to."""
    _check(_LIBC.unshare(_NEWNS), "unshare")
    _mount(None, "/", _PRIVATE | _REC)
    attributes = struct.pack("<QQQQ", _ATTR_RDONLY, 0, 0, 0)
    where = ctypes.c_char_p(b"/")
    call = (_MOUNT_SETATTR, _AT_FDCWD, where, _AT_RECURSIVE, ctypes.c_char_p(attributes), ctypes.c_size_t(32))
    _check(_LIBC.syscall(*call), "mount_setattr")
    for volume in volumes:
        _mount(b"tmpfs", volume, 0, b"size=256m,mode=1777")
    _mount(b"tmpfs", "/tmp", 0, b"size=1m,mode=1777")


def become(uid: int, gid: int) -> None:
    """Be an ordinary user without any capability, for good."""
    for capability in range(64):
        if _LIBC.prctl(_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) < 0:
            break
    _prctl(_CAP_AMBIENT, ctypes.c_ulong(4))
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def main(words: list[str]) -> None:
    """Carry out the options and become the command."""
    end = words.index("--")
    options, command = words[:end], words[end + 1 :]
    if "--read-only" in options:
        make_read_only([word.partition("=")[2] for word in options if word.startswith("--volume=")])
    for word in options:
        if word.startswith("--user="):
            uid, gid = word.partition("=")[2].split(":")
            become(int(uid), int(gid))
    _prctl(_SET_NO_NEW_PRIVS, ctypes.c_ulong(1))
    if "--kill" in options or "--refuse" in options:
        install_filter(_KILL if "--kill" in options else _EPERM)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])

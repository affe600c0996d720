"""The seccomp filters of a RUN as classic BPF, made by hand (run-sandbox.md 3, 4 and 6). Pure: returns bytes.

The denylist is hardening and not a wall of its own: what it denies needs capabilities the command does not have, or
opens large kernel interfaces no build step uses. It is not a copy of Docker's allowlist. The recorder is for a single
uid: it hands changes of owners to ``run.recording``. ``run.init`` loads them.
"""

from __future__ import annotations

import errno
import struct

from builder.values import dataclass

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_NOTIFY = 0x7FC00000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARGUMENT0 = 0, 4, 16
_X32_BIT = 0x40000000

_NAMESPACE_FLAGS = 0x7E020000
"""Every CLONE_NEW* flag clone(2) itself understands."""

_REFUSED_FAMILIES = (38, 40)  # AF_ALG, AF_VSOCK
_PERSONALITIES = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class _Abi:
    audit: int
    column: int
    clone: int
    clone3: int
    socket: int
    personality: int


_X86_64 = _Abi(0xC000003E, 0, 56, 435, 41, 135)
_I386 = _Abi(0x40000003, 1, 120, 435, 359, 136)
_AARCH64 = _Abi(0xC00000B7, 2, 220, 435, 198, 92)
_ARM = _Abi(0x40000028, 3, 120, 435, 281, 136)

# A 64-bit kernel also runs the 32-bit programs of its family, whose calls have other numbers.
_ABIS = {"x86_64": (_X86_64, _I386), "aarch64": (_AARCH64, _ARM)}

# Name: x86_64, i386, aarch64, arm; -1 where the call does not exist.
DENIED = {
    "_sysctl": (156, 149, -1, 149),
    "acct": (163, 51, 89, 51),
    "add_key": (248, 286, 217, 309),
    "bpf": (321, 357, 280, 386),
    "clock_adjtime": (305, 343, 266, 372),
    "clock_adjtime64": (-1, 405, -1, 405),
    "clock_settime": (227, 264, 112, 262),
    "clock_settime64": (-1, 404, -1, 404),
    "create_module": (174, 127, -1, -1),
    "delete_module": (176, 129, 106, 129),
    "fanotify_init": (300, 338, 262, 367),
    "finit_module": (313, 350, 273, 379),
    "fsconfig": (431, 431, 431, 431),
    "fsmount": (432, 432, 432, 432),
    "fsopen": (430, 430, 430, 430),
    "fspick": (433, 433, 433, 433),
    "get_kernel_syms": (177, 130, -1, -1),
    "init_module": (175, 128, 105, 128),
    "io_uring_enter": (426, 426, 426, 426),
    "io_uring_register": (427, 427, 427, 427),
    "io_uring_setup": (425, 425, 425, 425),
    "ioperm": (173, 101, -1, -1),
    "iopl": (172, 110, -1, -1),
    "kcmp": (312, 349, 272, 378),
    "kexec_file_load": (320, -1, 294, 401),
    "kexec_load": (246, 283, 104, 347),
    "keyctl": (250, 288, 219, 311),
    "lookup_dcookie": (212, 253, 18, 249),
    "mount": (165, 21, 40, 21),
    "mount_setattr": (442, 442, 442, 442),
    "move_mount": (429, 429, 429, 429),
    "move_pages": (279, 317, 239, 344),
    "name_to_handle_at": (303, 341, 264, 370),
    "nfsservctl": (180, 169, 42, 169),
    "open_by_handle_at": (304, 342, 265, 371),
    "open_tree": (428, 428, 428, 428),
    "open_tree_attr": (467, 467, 467, 467),
    "perf_event_open": (298, 336, 241, 364),
    "pivot_root": (155, 217, 41, 218),
    "query_module": (178, 167, -1, -1),
    "quotactl": (179, 131, 60, 131),
    "quotactl_fd": (443, 443, 443, 443),
    "reboot": (169, 88, 142, 88),
    "request_key": (249, 287, 218, 310),
    "setns": (308, 346, 268, 375),
    "settimeofday": (164, 79, 170, 79),
    "stime": (-1, 25, -1, -1),
    "swapoff": (168, 115, 225, 115),
    "swapon": (167, 87, 224, 87),
    "sysfs": (139, 135, -1, 135),
    "syslog": (103, 103, 116, 103),
    "umount": (-1, 22, -1, -1),
    "umount2": (166, 52, 39, 52),
    "unshare": (272, 310, 97, 337),
    "uselib": (134, 86, -1, 86),
    "userfaultfd": (323, 374, 282, 388),
    "ustat": (136, 62, -1, 62),
    "vhangup": (153, 111, 58, 111),
    "vm86": (-1, 166, -1, -1),
    "vm86old": (-1, 113, -1, -1),
}

# The same columns. On i386 and arm these are the calls with 32-bit ids, which every libc of this century makes.
RECORDED = {
    "chown": (92, 212, -1, 212),
    "fchown": (93, 207, 55, 207),
    "fchownat": (260, 298, 54, 325),
    "lchown": (94, 198, -1, 198),
}
"""Calls that wait for the answer of ``run.recording``."""

PRETENDED = {
    "capset": (126, 185, 91, 185),
    "setfsgid": (123, 216, 152, 216),
    "setfsuid": (122, 215, 151, 215),
    "setgid": (106, 214, 144, 214),
    "setgroups": (116, 206, 159, 206),
    "setregid": (114, 204, 143, 204),
    "setresgid": (119, 210, 149, 210),
    "setresuid": (117, 208, 147, 208),
    "setreuid": (113, 203, 145, 203),
    "setuid": (105, 213, 146, 213),
}
"""Calls that do nothing and report success: there is no other user to become."""


def denylist(machine: str) -> bytes | None:
    """Return the filter's ``sock_filter`` array for ``machine`` (as in ``os.uname``), None for one we do not know.

    Denied calls give EPERM; clone3, whose flags a filter cannot read, and the x32 ABI give ENOSYS, which makes
    libraries fall back. Calls of an architecture the kernel can run but we have no numbers for give ENOSYS too.
    """
    abis = _ABIS.get(machine)
    if abis is None:
        return None
    program = _Program()
    program.load(_ARCH)
    for abi in abis:
        program.branch(_EQUAL, abi.audit, f"abi {abi.audit}")
    program.result(_ERRNO | errno.ENOSYS)
    for abi in abis:
        program.label(f"abi {abi.audit}")
        _append(program, abi)
    return program.assemble()


def recorder(machine: str) -> bytes | None:
    """Return the filter that hands changes of owners to a listener and pretends changes of user; None as above.

    It stands beside the denylist, which decides about everything else; the kernel takes the stricter answer.
    """
    abis = _ABIS.get(machine)
    if abis is None:
        return None
    program = _Program()
    program.load(_ARCH)
    for abi in abis:
        program.branch(_EQUAL, abi.audit, f"abi {abi.audit}")
    program.result(_ALLOW)
    for abi in abis:
        program.label(f"abi {abi.audit}")
        program.load(_NUMBER)
        for calls, label in ((RECORDED, f"{abi.audit} notify"), (PRETENDED, f"{abi.audit} pretend")):
            for numbers in calls.values():
                if numbers[abi.column] >= 0:
                    program.branch(_EQUAL, numbers[abi.column], label)
        program.result(_ALLOW)
        program.label(f"{abi.audit} notify")
        program.result(_NOTIFY)
        program.label(f"{abi.audit} pretend")
        program.result(_ERRNO)
    return program.assemble()


def recorded_calls(machine: str) -> dict[tuple[int, int], str]:
    """Return the names of the calls a listener hears of, by architecture and number as the kernel gives them."""
    return {
        (abi.audit, numbers[abi.column]): name
        for abi in _ABIS.get(machine, ())
        for name, numbers in RECORDED.items()
        if numbers[abi.column] >= 0
    }


def _append(program: _Program, abi: _Abi) -> None:
    prefix = f"{abi.audit} "
    deny, unknown, clone, socket, personality = (
        prefix + name for name in ("deny", "unknown", "clone", "socket", "personality")
    )
    program.load(_NUMBER)
    if abi is _X86_64:
        program.branch(_AT_LEAST, _X32_BIT, unknown)
    program.branch(_EQUAL, abi.clone, clone)
    program.branch(_EQUAL, abi.socket, socket)
    program.branch(_EQUAL, abi.personality, personality)
    program.branch(_EQUAL, abi.clone3, unknown)
    for numbers in DENIED.values():
        if numbers[abi.column] >= 0:
            program.branch(_EQUAL, numbers[abi.column], deny)
    program.result(_ALLOW)
    program.label(clone)
    program.load(_ARGUMENT0)
    program.branch(_ANY_BIT, _NAMESPACE_FLAGS, deny)
    program.result(_ALLOW)
    program.label(socket)
    program.load(_ARGUMENT0)
    for family in _REFUSED_FAMILIES:
        program.branch(_EQUAL, family, deny)
    program.result(_ALLOW)
    program.label(personality)
    program.load(_ARGUMENT0)
    for value in _PERSONALITIES:
        program.branch(_EQUAL, value, prefix + "allow")
    program.label(deny)
    program.result(_ERRNO | errno.EPERM)
    program.label(unknown)
    program.result(_ERRNO | errno.ENOSYS)
    program.label(prefix + "allow")
    program.result(_ALLOW)


class _Program:
    """Instructions with names for the places jumps go to; jumps only go forward, at most 255 instructions."""

    def __init__(self) -> None:
        self._code: list[tuple[int, str, int]] = []
        self._labels: dict[str, int] = {}

    def load(self, offset: int) -> None:
        """Load the 32-bit word of ``seccomp_data`` at ``offset``."""
        self._code.append((_LOAD, "", offset))

    def branch(self, test: int, value: int, label: str) -> None:
        """Go to ``label`` if the loaded word passes the test."""
        self._code.append((test, label, value))

    def result(self, value: int) -> None:
        """End with ``value``."""
        self._code.append((_RETURN, "", value))

    def label(self, name: str) -> None:
        """Name the next instruction."""
        self._labels[name] = len(self._code)

    def assemble(self) -> bytes:
        """Return the program's bytes."""
        parts = []
        for index, (code, label, value) in enumerate(self._code):
            distance = self._labels[label] - index - 1 if label else 0
            parts.append(struct.pack("=HBBI", code, distance, 0, value))
        return b"".join(parts)

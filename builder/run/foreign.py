"""Programs for other processors: what runs them here, and how a RUN gets it (the parity table, foreign arch).

The kernel decides: a step is started as any other, and only if it cannot be executed here something is done about it.
Handlers in binfmt_misc need nothing from us. A static qemu-user found on PATH is made a handler of the step's user
namespace where there is one; elsewhere it is shown in the step and starts the command, as BuildKit does.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from builder.errors import SandboxError
from builder.run.spec import BindMount, RunSpec
from builder.values import replace

Status = tuple[str, int, int, str]
"""Phase, code, signal and why, as ``run.init`` tells them."""

EMULATOR = "/dev/.buildkit_qemu_emulator"
"""Where a step sees the emulator."""

WAY_OUT = (
    "register a handler with the kernel (Debian: apt-get install qemu-user-static binfmt-support), or put a static "
    "qemu-user on PATH"
)

# By what an ELF file says of itself: e_machine and whether it is 64 bits wide and little-endian.
_MACHINES = {
    (62, 2, 1): "x86_64",
    (3, 1, 1): "i386",
    (183, 2, 1): "aarch64",
    (40, 1, 1): "arm",
    (243, 2, 1): "riscv64",
    (21, 2, 1): "ppc64le",
    (21, 2, 2): "ppc64",
    (22, 2, 2): "s390x",
    (258, 2, 1): "loongarch64",
    (8, 2, 1): "mips64el",
    (8, 1, 1): "mipsel",
}
_HEADER = re.compile(r" \[([0-9a-f]*)\]$")
_BINFMT = Path("/proc/sys/fs/binfmt_misc")


def machine_of(header: bytes) -> str | None:
    """Return the processor a program's first 20 bytes name, as qemu calls it; None if they name none we know."""
    if len(header) < 20 or header[:4] != b"\x7fELF":
        return None
    number = int.from_bytes(header[18:20], "little" if header[5] == 1 else "big")
    return _MACHINES.get((number, header[4], header[5]))


def refused(status: Status) -> bytes | None:
    """Return the first bytes of the program that this machine cannot execute, None for any other end of a step."""
    found = _HEADER.search(status[3]) if status[0] == "exec" else None
    return bytes.fromhex(found[1]) if found else None


def in_words(status: Status) -> Status:
    """Return a status without what only this module understands."""
    return (*status[:3], _HEADER.sub("", status[3]))


def wanted(header: bytes, name: str) -> tuple[str, str] | None:
    """Return the processor a program is for and the path of what runs it here; None if it is not for another one.

    ``name`` is the program's. Raises SandboxError where nothing runs it.
    """
    machine = machine_of(header)
    if machine is None or machine == os.uname().machine:
        return None
    emulator = find(machine)
    if emulator is None:
        raise SandboxError(
            f'exec "{name}" in image: it is for {machine}, this machine is {os.uname().machine}, binfmt_misc has no '
            f"handler for it, and there is no static qemu-{machine}-static on PATH",
            hint=WAY_OUT,
        )
    return machine, emulator


def emulated(spec: RunSpec, emulator: str) -> RunSpec:
    """Return the step that starts its command with ``emulator``, shown where BuildKit shows it.

    Raises SandboxError for a command without a path, which an emulator does not look for.
    """
    if "/" not in spec.args[0]:
        raise SandboxError(
            f'exec "{spec.args[0]}" in image: an emulator from PATH does not search the image for it',
            hint="write the command's whole path, or register a handler with the kernel",
        )
    shown = BindMount(target=EMULATOR, source=Path(emulator))
    return replace(spec, args=(EMULATOR, *spec.args), mounts=(*spec.mounts, shown))


def find(machine: str) -> str | None:
    """Return the path of a static emulator for ``machine``."""
    for name in (f"qemu-{machine}-static", f"qemu-{machine}"):
        path = shutil.which(name)
        if path is not None and is_static(path):
            return os.path.realpath(path)
    return None


def is_static(path: str) -> bool:
    """Whether a program needs nothing but itself: a dynamic one would look for its libraries in the image."""
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    return head[:4] == b"\x7fELF" and b"/ld-linux" not in head and b"/ld-musl" not in head


def rule(machine: str, emulator: str) -> bytes:
    """Return what registers ``emulator`` for programs of ``machine``; it is opened at once, found from any root,
    told its own name for the program, and honours set-id bits.
    """
    number, width, order = next(key for key, name in _MACHINES.items() if name == machine)
    wide: Literal["little", "big"] = "little" if order == 1 else "big"
    magic = b"\x7fELF" + bytes((width, order, 1)) + bytes(9) + (2).to_bytes(2, wide) + number.to_bytes(2, wide)
    # Any ABI, and shared objects (3) as well as executables (2), which position-independent programs are.
    low = (0xFFFE).to_bytes(2, wide)
    mask = b"\xff" * 7 + b"\0" + b"\xff" * 8 + low + b"\xff\xff"
    texts = ("".join(f"\\x{byte:02x}" for byte in part) for part in (magic, mask))
    return f":pybuild-{machine}:M:0:{':'.join(texts)}:{emulator}:POCF".encode()


def handlers(directory: Path = _BINFMT) -> Sequence[str]:
    """Return the enabled handlers the kernel has, as far as they can be seen."""
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return ()
    return [name for name in names if name not in ("register", "status") and _enabled(directory / name)]


def _enabled(path: Path) -> bool:
    try:
        return path.read_text(errors="replace").startswith("enabled")
    except OSError:
        return False


def programs() -> Sequence[str]:
    """Return the static emulators on PATH."""
    machines = [name for name in _MACHINES.values() if name != os.uname().machine]
    found = (find(machine) for machine in machines)
    return [os.path.basename(path) for path in found if path]

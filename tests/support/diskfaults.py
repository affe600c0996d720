"""Disks on bad days: calls that fail, through a small library that is compiled once and loaded before the others."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from tests.support.commands import run
from tests.support.need import machine_cache, need_tool

SOURCE = Path(__file__).with_name("diskfaults.c")

KINDS = {
    "create": (errno.ENOSPC, errno.EROFS, errno.EIO),
    "write": (errno.ENOSPC, errno.EIO, errno.EDQUOT),
    "sync": (errno.EIO, errno.ENOSPC),
    "rename": (errno.EROFS, errno.EIO, errno.ENOSPC),
    "link": (errno.ENOSPC, errno.EROFS, errno.EPERM),
    "mkdir": (errno.ENOSPC, errno.EROFS),
    "read": (errno.EIO,),
    "open": (errno.EIO, errno.EMFILE),
    "unlink": (errno.EROFS, errno.EIO),
}
"""What can fail, and with which errors disks do."""


def library() -> Path:
    """Return the library, or skip where there is no compiler."""
    compiler = need_tool("gcc")
    name = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    made = machine_cache() / f"diskfaults-{name}.so"
    if not made.exists():
        temporary = made.with_suffix(f".{os.getpid()}")
        run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", temporary, SOURCE, "-ldl"])
        temporary.rename(made)
    return made


@dataclass(frozen=True)
class DiskFault:
    """The ``nth`` call of a kind (0: each) fails with ``number``, on files below a directory."""

    kind: str
    number: int
    nth: int

    def __str__(self) -> str:
        return f"{self.kind} {self.nth}: {errno.errorcode[self.number]}"

    def environment(self, root: Path, told: Path) -> dict[str, str]:
        """Return what a process needs to have it; the file ``told`` is there afterwards if it happened."""
        return {
            "LD_PRELOAD": str(library()),
            "DISKFAULT_ROOT": str(root),
            "DISKFAULT": f"{self.kind}:{self.number}:{self.nth}",
            "DISKFAULT_TOLD": str(told),
        }

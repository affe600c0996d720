"""Entering the namespaces the worker lives in, and which ids exist there (run-sandbox.md 3 and 6).

Only a process without threads may enter. Choosing among the ways is ``run.probe``'s business; what happens inside for
one RUN is ``run.init``'s.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Iterable

from builder.values import dataclass

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_REC, MS_SLAVE = 16384, 1 << 19
PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER = 4, 24, 36
_CAP_SYS_CHROOT = 18
_NOT_DROPPED = 255

ENOUGH_IDS = 65536
"""The smallest subordinate range worth having: what images use as users lies below."""

_LEAST_ID = 100000  # below are the machine's own users, as shadow's login.defs has it

_libc = ctypes.CDLL(None, use_errno=True)

Range = tuple[int, int, int]
"""First id inside, first id outside, how many."""


@dataclass(frozen=True, slots=True)
class IdMaps:
    """The uids and gids of a user namespace."""

    uids: tuple[Range, ...]
    gids: tuple[Range, ...]

    @property
    def view(self) -> str:
        """Name who owns what on the disk when these maps wrote it."""
        import hashlib  # here: the worker starts sooner

        return "map-" + hashlib.sha256(repr((self.uids, self.gids)).encode()).hexdigest()[:16]

    @classmethod
    def subordinate(cls, uid: int, gid: int, uids: tuple[int, int], gids: tuple[int, int]) -> IdMaps:
        """Return root as ourselves and everyone else from the subordinate ranges (first, count)."""
        return cls(((0, uid, 1), (1, *uids)), ((0, gid, 1), (1, *gids)))

    @classmethod
    def identity(cls, uid_map: str, gid_map: str) -> IdMaps:
        """Return every id we have ourselves as itself; the arguments are our own /proc/self/{uid,gid}_map."""
        return cls(_identity(uid_map), _identity(gid_map))


def _identity(text: str) -> tuple[Range, ...]:
    fields = (line.split() for line in text.splitlines())
    return tuple((int(inside), int(inside), int(count)) for inside, _, count in fields)


def subordinate_range(text: str, name: str, number: int) -> tuple[int, int] | None:
    """Return (first, count) of the largest range /etc/subuid (or subgid) gives a user, if it is large enough."""
    found = []
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[0] in (name, str(number)) and fields[1].isdigit() and fields[2].isdigit():
            found.append((int(fields[2]), int(fields[1])))
    count, first = max(found, default=(0, 0))
    return (first, count) if count >= ENOUGH_IDS else None


def free_range(*texts: str) -> str:
    """Return ids that nobody has in texts of /etc/subuid and /etc/subgid, as usermod takes them: FIRST-LAST."""
    ends = [_LEAST_ID]
    for line in "\n".join(texts).splitlines():
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[1].isdigit() and fields[2].isdigit():
            ends.append(int(fields[1]) + int(fields[2]))
    return f"{max(ends)}-{max(ends) + ENOUGH_IDS - 1}"


def has_id(maps: Iterable[Range], number: int) -> bool:
    """Whether an id exists inside."""
    return any(inside <= number < inside + count for inside, _, count in maps)


def _check(result: int, what: str) -> None:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def unshare(flags: int, what: str) -> None:
    """Call unshare(2). Raises OSError whose file name is ``what``."""
    _check(_libc.unshare(flags), what)


def mount(source: bytes | None, target: bytes, kind: bytes | None, flags: int, data: bytes | None = None) -> None:
    """Call mount(2). Raises OSError whose file name tells what was to be mounted."""
    _check(_libc.mount(source, target, kind, ctypes.c_ulong(flags), data), f"mount {os.fsdecode(kind or b'')}")


def map_single(uid: int, gid: int) -> None:
    """Make our ids, as they are outside, root's: the only ones in the user namespace just entered."""
    # The kernel wants setgroups given up before an unprivileged gid_map.
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "wb", buffering=0) as file:
            file.write(text.encode())


def become_root() -> None:
    """Take uid and gid 0 of the namespace, and no other groups where that is allowed."""
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    try:
        os.setgroups([])
    except PermissionError:
        pass  # setgroups is denied in a namespace with a single gid


def try_chroot(scratch: bytes) -> None:
    """Do what a step in ``chroot`` mode needs, in a child: a device, chroot(2), giving up rights. Raises OSError."""
    node = scratch + b"/null"
    try:
        os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        os.close(os.open(node, os.O_WRONLY))
    except OSError as error:
        raise OSError(error.errno, error.strerror, "make a device node in the store") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(node)
    child = os.fork()
    if child == 0:
        if _libc.chroot(scratch):
            os._exit(ctypes.get_errno())
        dropped = _libc.prctl(PR_CAPBSET_DROP, *map(ctypes.c_ulong, (_CAP_SYS_CHROOT, 0, 0, 0)))
        os._exit(_NOT_DROPPED if dropped else 0)
    number = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if number == _NOT_DROPPED:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), "give up capabilities (CAP_SETPCAP)")
    if number:
        raise OSError(number, os.strerror(number), "chroot")


def hide_memory() -> None:
    """Let no process without CAP_SYS_PTRACE look into this one."""
    _libc.prctl(PR_SET_DUMPABLE, *map(ctypes.c_ulong, (0, 0, 0, 0)))


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, *map(ctypes.c_ulong, (1, 0, 0, 0)))


def enter_mounts() -> None:
    """Enter a mount namespace that outlives nobody and whose mounts reach nobody."""
    unshare(CLONE_NEWNS, "unshare mount namespace")
    mount(None, b"/", None, MS_REC | MS_SLAVE)


def register_format(point: bytes, rule: bytes) -> bool:
    """Let the kernel run programs of another format in our user namespace; False where it cannot (before Linux 6.7).

    ``point`` is where binfmt_misc's directory is mounted, ``rule`` what is written there.
    """
    try:
        if not os.path.isdir(point):
            os.mkdir(point)
            mount(b"binfmt_misc", point, b"binfmt_misc", 0)
        with open(point + b"/register", "wb", buffering=0) as file:
            file.write(rule)
    except FileExistsError:
        pass  # for an earlier step
    except OSError:
        return False
    return True


def overlay_options(scratch: bytes) -> bytes:
    """Return the mount options, beyond the directories, that an overlay in ``scratch`` accepts, found by mounting one.

    Stays in a mount namespace of its own, so call it in a child that exits. Raises OSError with the kernel's first
    reason. There is no falling back to ``trusted.*`` attributes: layers have one format, which needs Linux 5.11.
    """
    for name in (b"a", b"b", b"u", b"w", b"m"):
        os.makedirs(scratch + b"/" + name, exist_ok=True)
    os.chdir(scratch)
    enter_mounts()
    problem: OSError | None = None
    for options in (b"userxattr,volatile", b"userxattr"):
        try:
            mount(b"overlay", b"m", b"overlay", 0, b"lowerdir=a:b,upperdir=u,workdir=w," + options)
        except OSError as error:
            problem = problem or error
            continue
        # Creating and deleting shows what mounting alone does not: whether whiteouts can be made here.
        os.mkdir(b"m/x")
        os.rmdir(b"m/x")
        return options
    raise problem or OSError(errno.EINVAL, os.strerror(errno.EINVAL), "mount overlay")

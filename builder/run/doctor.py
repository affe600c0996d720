"""What RUN can use on this machine, found out by doing it, and what to change where it cannot (run-sandbox.md 3).

Nothing here is used by builds: they try only what they need. Each probe is as close to the real thing as it gets: the
ways to isolate and the snapshotters start the real worker and stop it again.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from builder.errors import SandboxError
from builder.run import cgroups, foreign, probe, process
from builder.run.namespaces import subordinate_range
from builder.run.probe import Attempt, Facts, Refusal
from builder.values import dataclass

_GET_ACTION_AVAIL = 2
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_ACTIONS = {"errno": 0x00050000, "notify": 0x7FC00000}
_USERNS_HINT = (
    "in Docker add --security-opt seccomp=unconfined (and apparmor=unconfined); in Kubernetes set "
    "securityContext.seccompProfile.type: Unconfined, or hostUsers: false; elsewhere see user.max_user_namespaces, "
    "kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns"
)
_HINTS = {
    "root": "run as root with CAP_SYS_ADMIN (a privileged container); userns does nearly the same without",
    "userns": _USERNS_HINT,
    "single": _USERNS_HINT,
    "chroot": "run as root with CAP_SYS_CHROOT, CAP_MKNOD and CAP_SETPCAP, Docker's default capabilities",
    "overlay": "put the store on ext4, xfs, btrfs or tmpfs of Linux 5.11 or newer: mount a volume, pass --root DIR",
    "fuse": "install fuse-overlayfs and make /dev/fuse accessible to this user; only needed without overlay",
    "copy": "",
}


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing tried. ``error`` is errno's name or empty; ``hint`` says what to change, empty if it works."""

    name: str
    works: bool
    said: str
    error: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All probes, and what a build would use: ``isolation`` is empty where it would refuse."""

    isolation: str
    snapshotter: str
    probes: tuple[Probe, ...]


def diagnose(store: Path, scratch: Callable[[], Path]) -> Diagnosis:
    """Try everything. ``store`` is where layers are kept, ``scratch`` makes an empty directory in it."""
    facts = probe.gather()
    ways = list(_ways(facts))
    found: list[Probe] = []
    usable: dict[str, Attempt] = {}
    for name, way in ways:
        result = way if isinstance(way, Probe) else _start(name, way, store, scratch(), "copy")
        found.append(result)
        if result.works and isinstance(way, Attempt):
            usable[name] = way
    automatic = [one for one in probe.attempts("auto", facts) if one.mode in usable]
    best = automatic[0] if automatic else next(iter(usable.values()), None)
    snapshotters = [_snapshotter(name, best, store, scratch) for name in ("overlay", "fuse", "copy")]
    found += snapshotters
    found += [*_filter(), *_id_programs(facts), _device("/dev/fuse"), _cgroup(), _binary_formats()]
    return Diagnosis(
        automatic[0].mode if automatic else "",
        next((one.name for one in snapshotters if one.works and automatic), ""),
        tuple(found),
    )


def _ways(facts: Facts) -> Iterator[tuple[str, Attempt | Probe]]:
    """Yield each way to isolate as it could be tried here, or why there is no point in trying."""
    for name in ("root", "userns", "single", "chroot"):
        try:
            yield name, probe.attempts(name, facts)[0]
        except SandboxError as error:
            hint = error.hint or _HINTS[name]
            if name == "userns":
                hint = f"Debian: apt-get install uidmap; and {probe.usermod(facts)}"
            yield name, Probe(name, False, error.message, hint=hint)


def _start(name: str, attempt: Attempt, store: Path, scratch: Path, snapshotter: str) -> Probe:
    outcome = process.start(attempt, store, scratch, snapshotter)
    if isinstance(outcome, Refusal):
        number = errno.errorcode.get(outcome.number, "")
        return Probe(name, False, outcome.what, number, _HINTS[name])
    outcome.close()
    return Probe(name, True, _DESCRIPTIONS[name])


_DESCRIPTIONS = {
    "root": "namespaces and mounts as root",
    "userns": "a user namespace with many ids",
    "single": "a user namespace with one id, owners are recorded",
    "chroot": "a changed root directory only",
    "overlay": "the kernel's overlay in the store",
    "fuse": "fuse-overlayfs in the store",
    "copy": "plain trees, compared before and after",
}


def _snapshotter(name: str, best: Attempt | None, store: Path, scratch: Callable[[], Path]) -> Probe:
    if best is None:
        return Probe(name, False, "no way to isolate works, so it was not tried")
    return _start(name, best, store, scratch(), name)


def _filter() -> Iterator[Probe]:
    number = _SECCOMP.get(os.uname().machine)
    for name, action in _ACTIONS.items():
        title, use = f"seccomp {name}", "refusing calls" if name == "errno" else "recording owners in single mode"
        if number is None:
            yield Probe(title, False, f"system calls of {os.uname().machine} are not known here", "ENOSYS")
            continue
        libc = ctypes.CDLL(None, use_errno=True)
        result = libc.syscall(number, _GET_ACTION_AVAIL, 0, ctypes.byref(ctypes.c_uint32(action)))
        problem = errno.errorcode.get(ctypes.get_errno(), "") if result == -1 else ""
        hint = "needs Linux 5.0 with CONFIG_SECCOMP_FILTER, and a container runtime that allows seccomp(2)"
        yield Probe(title, not problem, use, problem, hint if problem else "")


def _id_programs(facts: Facts) -> Iterator[Probe]:
    for name in ("newuidmap", "newgidmap"):
        path = shutil.which(name)
        hint = "" if path else "Debian: apt-get install uidmap; only users other than root need it"
        yield Probe(name, path is not None, path or "not found on PATH", hint=hint)
    for path, text in (("/etc/subuid", facts.subuid), ("/etc/subgid", facts.subgid)):
        found = subordinate_range(text, facts.name, facts.uid)
        said = f"{found[1]} ids from {found[0]}" if found else f'no range of 65536 ids for user "{facts.name}"'
        hint = probe.usermod(facts)
        needless = facts.uid == 0
        if needless and not found:
            said += "; root needs none"
        yield Probe(path, bool(found) or needless, said, hint="" if found or needless else hint)


def _device(path: str) -> Probe:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        hint = "give the container the device, or this user access to it; only needed for fuse-overlayfs"
        return Probe(path, False, error.strerror or "", errno.errorcode.get(error.errno or 0, ""), hint)
    return Probe(path, True, "can be opened")


def _cgroup() -> Probe:
    mounts = Path("/proc/self/mountinfo").read_text(errors="replace")
    found = cgroups.find({"cpu.max": "max"}, mounts, Path("/proc/self/cgroup").read_text(errors="replace"))
    if isinstance(found, Path):
        return Probe("cgroup v2", True, f"groups can be made in {found}")
    hint = "only needed for --memory and --cpus: give us a group (systemd-run --user --scope -p Delegate=yes)"
    return Probe("cgroup v2", False, found, hint=hint)


def _binary_formats() -> Probe:
    handlers: Sequence[str] = foreign.handlers()
    programs = foreign.programs()
    said = [f"handlers: {', '.join(handlers) or 'none'}"]
    said.append(f"on PATH: {', '.join(programs) or 'no qemu-ARCH-static'}")
    hint = "" if handlers or programs else f"only needed for other platforms: {foreign.WAY_OUT}"
    return Probe("binfmt", bool(handlers or programs), "; ".join(said), hint=hint)

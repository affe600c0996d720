"""Which ways of isolating a RUN to try here, in order, and what to say when none works (run-sandbox.md 3). Mostly pure.

A way is only known to work after it was done: ``run.process`` starts a worker for each attempt until one is ready.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from builder.errors import SandboxError
from builder.run.namespaces import IdMaps, free_range, subordinate_range
from builder.values import dataclass

Mode = Literal["root", "userns", "single", "chroot", "oci"]
ISOLATIONS = ("auto", "root", "userns", "single", "chroot", "oci")

_INITIAL_PIDS = 0xEFFFFFFC  # the inode of the process namespace the kernel boots with
_MARKERS = ("/.dockerenv", "/run/.containerenv", "/run/secrets/kubernetes.io", "/var/run/secrets/kubernetes.io")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the system says about the user who runs us."""

    uid: int
    gid: int
    name: str
    subuid: str = ""
    subgid: str = ""
    uid_map: str = ""
    gid_map: str = ""
    newuidmap: str | None = None
    newgidmap: str | None = None
    container: str = ""
    """What shows that this is a container; empty outside of one."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to try. ``maps`` is for ``userns`` only; ``warning`` is for the user if this way is taken."""

    mode: Mode
    maps: IdMaps | None = None
    warning: str = ""

    @property
    def view(self) -> str:
        """Name who owns what in directories this way writes."""
        if self.mode in ("chroot", "oci"):
            return "root"  # the ids are the same
        return self.maps.view if self.maps is not None else self.mode


def gather() -> Facts:
    """Read what the system says."""
    import pwd

    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Facts(
        uid=uid,
        gid=os.getegid(),
        name=name,
        subuid=_text("/etc/subuid"),
        subgid=_text("/etc/subgid"),
        uid_map=_text("/proc/self/uid_map"),
        gid_map=_text("/proc/self/gid_map"),
        newuidmap=shutil.which("newuidmap"),
        newgidmap=shutil.which("newgidmap"),
        container=container_sign(),
    )


def container_sign() -> str:
    """Return what shows that we are in a container: a wall around us that is not ours. Empty if nothing does."""
    try:
        if os.stat("/proc/self/ns/pid").st_ino != _INITIAL_PIDS:
            return "a process namespace of its own"
    except OSError:
        pass  # no /proc: nothing is shown by that
    # Such files stay in images that machines were made from, so they alone do not count.
    if filesystem_type("/", _text("/proc/self/mountinfo")) in ("overlay", "fuse.fuse-overlayfs"):
        return next(filter(os.path.exists, _MARKERS), "")
    return ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def attempts(isolation: str, facts: Facts) -> Sequence[Attempt]:
    """Return what to try for ``--isolation=isolation``, best first. Raises SandboxError for what cannot be meant."""
    if isolation not in ISOLATIONS:
        raise SandboxError(f"isolation {isolation!r} is not one of {', '.join(ISOLATIONS)}")
    if isolation in ("root", "chroot", "oci") and facts.uid != 0:
        raise SandboxError(f"isolation={isolation} needs root", hint="use --isolation=auto, or run as root")
    if isolation == "oci":
        return [_oci()]
    found: list[Attempt] = []
    if isolation in ("auto", "root") and facts.uid == 0:
        found.append(Attempt("root"))
    problem = ""
    if isolation in ("auto", "userns"):
        maps, problem = _maps(facts)
        if maps is not None:
            found.append(Attempt("userns", maps))
        elif isolation == "userns":
            raise SandboxError(problem)
    if isolation == "chroot" or (isolation == "auto" and facts.uid == 0 and facts.container):
        found.append(Attempt("chroot", warning=_chroot_warning(facts)))
    if isolation == "single" or (isolation == "auto" and facts.uid != 0):
        found.append(Attempt("single", warning=_single_warning(facts, problem) if isolation == "auto" else ""))
    return found


def _maps(facts: Facts) -> tuple[IdMaps | None, str]:
    """Return the id maps a user namespace can have here, or why it cannot have more than one id."""
    if facts.uid == 0:
        return IdMaps.identity(facts.uid_map, facts.gid_map), ""
    if facts.newuidmap is None or facts.newgidmap is None:
        return None, "newuidmap and newgidmap are not installed (Debian: apt-get install uidmap)"
    ranges = []
    for path, text, number in (("/etc/subuid", facts.subuid, facts.uid), ("/etc/subgid", facts.subgid, facts.uid)):
        found = subordinate_range(text, facts.name, number)
        if found is None:
            return None, f'newuidmap: no range for user "{facts.name}" in {path}'
        ranges.append(found)
    return IdMaps.subordinate(facts.uid, facts.gid, ranges[0], ranges[1]), ""


def _oci() -> Attempt:
    if runtime() is None:
        raise SandboxError("isolation=oci: neither runc nor crun is installed", hint="install one, or drop --isolation")
    return Attempt("oci")


def runtime() -> str | None:
    """Return the path of the OCI runtime that ``oci`` uses."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    return shutil.which("runc", path=path) or shutil.which("crun", path=path)


def _chroot_warning(facts: Facts) -> str:
    surroundings = "container" if facts.container else "machine"
    return f"isolation=chroot: RUN steps have no /proc, no /sys and are not isolated from this {surroundings}"


def _single_warning(facts: Facts, problem: str) -> str:
    return (
        f"{problem or 'subordinate ids cannot be used'}; continuing with one uid (--isolation=single): file owners "
        "are recorded, but programs cannot switch user and see files as root's. To lift this: " + usermod(facts)
    )


def usermod(facts: Facts) -> str:
    """Return the command that gives the user subordinate ids, with numbers that nobody else has."""
    free = free_range(facts.subuid, facts.subgid)
    return f"usermod --add-subuids {free} --add-subgids {free} {facts.name}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one attempt failed: the call and its errno, or a sentence."""

    mode: str
    what: str
    number: int = 0

    def __str__(self) -> str:
        """Return one line for people."""
        if not self.number:
            return f"{self.mode}: {self.what}"
        return f"{self.mode}: {self.what}: {errno.errorcode.get(self.number, self.number)}"


def refused(refusals: Sequence[Refusal], store: Path, mountinfo: str) -> SandboxError:
    """Return the error for no way having worked, with the way out that fits."""
    tried = "; ".join(map(str, refusals))
    if any("fuse" in refusal.what for refusal in refusals):
        return SandboxError(
            f"fuse-overlayfs cannot be used in the store {store} ({tried})",
            hint="install it, make /dev/fuse accessible to this user, or pass --snapshotter=auto",
        )
    if any("overlay" in refusal.what for refusal in refusals):
        kind = filesystem_type(str(store), mountinfo)
        if kind == "overlay":
            return SandboxError(
                f"the store {store} is on overlayfs, which cannot be an overlay upper ({tried})",
                hint="mount a volume and pass --root DIR",
            )
        return SandboxError(
            f"cannot mount an overlay in the store {store} on {kind} ({tried})",
            hint="put the store on a local ext4, xfs, btrfs or tmpfs of Linux 5.11 or newer with --root DIR",
        )
    if any("user namespace" in refusal.what for refusal in refusals):
        return SandboxError(
            f"cannot create a user namespace ({tried})",
            hint="in Docker add --security-opt seccomp=unconfined (and apparmor=unconfined); in Kubernetes set "
            "securityContext.seccompProfile.type: Unconfined, or hostUsers: false; on Ubuntu see "
            "kernel.apparmor_restrict_unprivileged_userns. Or run as root, in a container with --isolation=chroot",
        )
    return SandboxError(f"RUN cannot be isolated here ({tried})", hint="run as root, or where user namespaces work")


def filesystem_type(path: str, mountinfo: str) -> str:
    """Return the type of the file system ``path`` is on, according to the text of /proc/self/mountinfo."""
    best, kind = "", "an unknown file system"
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        point = fields[4].encode().decode("unicode_escape") if len(fields) > 4 else ""
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if point and inside and len(point) >= len(best):
            best, kind = point, right.split()[0] if right else kind
    return kind

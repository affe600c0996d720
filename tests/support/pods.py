"""Containers as pods have them, made with runc: root with Docker's 14 capabilities, a masked /proc and no privileges.

The container's ``/`` is an overlay of its own, so that a look at the upper directory says whether anybody wrote there.
It has this machine's /usr, a Python with our dependencies, a copy of the package, the host's network and a volume.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import users
from tests.support.commands import run
from tests.support.need import need_root, need_tool, public_directory

CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP"),
        *("NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"),
    )
]
"""What Docker and Kubernetes leave to root."""

_MASKED = (
    *("acpi", "asound", "interrupts", "kcore", "keys", "latency_stats"),
    *("timer_list", "timer_stats", "sched_debug", "scsi"),
)
_READONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_REFUSED = [
    *("unshare", "setns", "mount", "umount", "umount2", "pivot_root"),
    *("open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr"),
]
_NAMESPACE_BITS = (0x80, 0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
_NAMESPACES = ("pid", "ipc", "uts", "mount")
_ENOSYS = 38


@dataclass
class Container:
    """One root filesystem, in which commands run one after the other, each in a container of its own.

    ``folder`` holds ``volume``, which the container sees as /volume, and ``upper``: all that was written to its ``/``.
    """

    folder: Path
    python: Path
    source: Path
    filtered: bool
    capabilities: Sequence[str] = tuple(CAPABILITIES)
    env: Mapping[str, str] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def volume(self) -> Path:
        """The host's name of /volume."""
        return self.folder / "volume"

    @property
    def upper(self) -> Path:
        """What the container's ``/`` has beyond its image."""
        return self.folder / "upper"

    def command(self, *command: str | Path, env: Mapping[str, str] | None = None) -> list[str | Path]:
        """Return what runs ``command`` in the container; each result is good for one run."""
        bundle = self.folder / f"bundle-{next(self._numbers)}"
        bundle.mkdir()
        environment = {
            "PATH": f"{self.python.parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "PYBUILD_ROOT": "/volume/store",
            "PYTHONPATH": str(self.source),
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.env,
            **(env or {}),
        }
        config = self._config([str(word) for word in command], environment)
        (bundle / "config.json").write_text(json.dumps(config))
        name = f"pybuild-test-{os.getpid()}-{self.folder.name}-{bundle.name}"
        return [need_tool("runc"), "--root", self.folder / "runc", "run", "--bundle", bundle, name]

    def run(
        self, *command: str | Path, env: Mapping[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as the container's root."""
        return run(self.command(*command, env=env), check=check)

    def pybuild(
        self, *arguments: str | Path, env: Mapping[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line as the container's root, with the store on the volume."""
        return self.run(self.python, "-m", "builder.cli.main", *arguments, env=env, check=check)

    def written(self) -> dict[str, tuple[int, int, int]]:
        """Return every path in the container's ``/`` beyond its image, with inode, mtime and ctime."""
        found = {}
        for path in sorted(self.upper.rglob("*")):
            seen = path.lstat()
            found[str(path.relative_to(self.upper))] = (seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns)
        return found

    def _config(self, command: Sequence[str], env: Mapping[str, str]) -> dict[str, Any]:
        capabilities = list(self.capabilities)
        readonly = [self.python.parents[1], self.source, Path("/usr")]
        linux: dict[str, Any] = {
            "namespaces": [{"type": kind} for kind in _NAMESPACES],
            "maskedPaths": [f"/proc/{name}" for name in _MASKED] + ["/sys/firmware"],
            "readonlyPaths": [f"/proc/{name}" for name in _READONLY],
            "resources": {"devices": [{"allow": False, "access": "rwm"}, *_device_rules()]},
        }
        if self.filtered:
            linux["seccomp"] = _filter()
        return {
            "ociVersion": "1.0.2",
            "root": {"path": str(self.folder / "root")},
            "hostname": "pod",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": list(command),
                "env": [f"{name}={value}" for name, value in env.items()],
                "cwd": "/",
                "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
            },
            "mounts": [*_mounts(), *(_bind(path, str(path), "ro") for path in readonly), *self._volumes()],
            "linux": linux,
        }

    def _volumes(self) -> list[dict[str, Any]]:
        """Return the volume under both its names, so that a path means the same inside and outside."""
        return [_bind(self.volume, name, "rw") for name in ("/volume", str(self.volume))]


def _device_rules() -> list[dict[str, Any]]:
    """Return what Docker's device cgroup allows: any node may be made, the harmless ones opened."""
    rules: list[dict[str, Any]] = [{"allow": True, "type": kind, "access": "m"} for kind in "cb"]
    for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)):
        rules.append({"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"})
    return [*rules, {"allow": True, "type": "c", "major": 136, "access": "rwm"}]


def _filter() -> dict[str, Any]:
    """Return what of Docker's seccomp profile matters here: no namespaces, no mounts."""
    rules: list[dict[str, Any]] = [{"names": _REFUSED, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]
    rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS})
    for bit in _NAMESPACE_BITS[1:]:
        argument = {"index": 0, "value": bit, "valueTwo": bit, "op": "SCMP_CMP_MASKED_EQ"}
        rules.append({"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": [argument]})
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}


def _mounts() -> list[dict[str, Any]]:
    quiet = ["nosuid", "noexec", "nodev"]
    terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    kernel = (
        ("/proc", "proc", quiet),
        ("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ("/dev/pts", "devpts", terminals),
        ("/dev/shm", "tmpfs", [*quiet, "mode=1777", "size=65536k"]),
        ("/dev/mqueue", "mqueue", quiet),
    )
    made = [{"destination": to, "type": kind, "source": kind, "options": options} for to, kind, options in kernel]
    # sysfs shows a network namespace, and this one is the host's: a bind, as with Docker's --network=host.
    sysfs = {"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "rprivate", *quiet, "ro"]}
    return [*made, sysfs]


def _bind(source: Path, target: str, how: str) -> dict[str, Any]:
    return {"destination": target, "type": "bind", "source": str(source), "options": ["rbind", "rprivate", how]}


@contextmanager
def container(name: str, python: Path, source: Path, *, filtered: bool) -> Iterator[Container]:
    """Make a root filesystem to run commands in; ``filtered`` refuses namespaces and mounts, as Docker does."""
    need_root("needs root: runc")
    need_tool("runc")
    with public_directory(name) as folder:
        for part in ("volume", "upper", "work", "root", "image"):
            (folder / part).mkdir()
        _skeleton(folder / "image", [python.parents[1], source, Path("/usr"), Path("/volume")])
        options = f"lowerdir={folder}/image,upperdir={folder}/upper,workdir={folder}/work"
        run(["mount", "-t", "overlay", "overlay", "-o", options, folder / "root"])
        made = Container(folder, python, source, filtered)
        try:
            made.run("true")  # runc makes what it mounts on: that is not ours
            yield made
        finally:
            run(["umount", folder / "root"])


def _skeleton(image: Path, mounted: Sequence[Path]) -> None:
    """Fill the image: directories, and the users of a Debian; programs come from this machine's /usr."""
    for name in ("etc", "tmp", "var/tmp", "run", "root", "proc", "sys", "dev"):
        (image / name).mkdir(parents=True, exist_ok=True)
    for place in mounted:
        (image / str(place).lstrip("/")).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (image / name).chmod(0o1777)
    for name in ("bin", "sbin", "lib", "lib64", "lib32"):
        if Path("/", name).is_symlink():
            (image / name).symlink_to(os.readlink(f"/{name}"))
    for name in ("passwd", "group", "resolv.conf", "hosts", "ld.so.cache", "ssl", "alternatives"):
        place = Path("/etc", name)
        if place.is_dir():
            shutil.copytree(place, image / "etc" / name, symlinks=True)
        elif place.exists():
            shutil.copy(place, image / "etc" / name)
    (image / ".dockerenv").touch()


@contextmanager
def both_kinds(name: str) -> Iterator[tuple[Container, Container]]:
    """Yield a container without a seccomp filter and one with Docker's refusals."""
    python = users.public_python()
    with (
        users.public_source() as source,
        container(f"{name}-open", python, source, filtered=False) as unconfined,
        container(f"{name}-closed", python, source, filtered=True) as confined,
    ):
        yield unconfined, confined

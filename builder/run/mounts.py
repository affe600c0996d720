"""What is mounted where inside a RUN, as plain operations for ``run.init`` (run-sandbox.md 4, the parity table). Pure.

Order is everything: the kernel's file systems first, then what hides parts of them, then ours, then the user's with
parents before children. Sources are the host's paths; nothing is opened here.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from typing import Any, assert_never

from builder.errors import SandboxError
from builder.run.spec import BindMount, CacheMount, MountSpec, Provision, RunSpec, SecretMount, SshMount, TmpfsMount

Plan = dict[str, Any]

_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8
_ALL = _NOSUID | _NODEV | _NOEXEC

READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)

INSECURE_DEVICES = (
    *(b"kmsg", b"cuse", b"fuse", b"kvm", b"net/tun", b"loop-control"),
    *(b"loop%d" % number for number in range(8)),
)
"""What ``--security=insecure`` has in /dev besides, where the host has it."""

CAPABILITIES = 0xA80425FB
"""Docker's default bounding set (run-sandbox.md 4)."""


def lay_out(spec: RunSpec, *, resolver: bytes, one_uid: bool) -> list[Plan]:
    """Return the operations that furnish the step's root, in order.

    ``resolver`` is the host's resolv.conf; ``one_uid`` says that only uid and gid 0 exist. Raises SandboxError for
    a target that cannot be mounted on.
    """
    operations = _kernel(spec, one_uid)
    if not spec.insecure:
        operations.append(
            {
                "op": "cover",
                "target": b"/proc",
                "readonly": [os.fsencode(path) for path in READONLY],
                "masked": [os.fsencode(path) for path in MASKED],
            }
        )
    resolver = resolver_text(resolver if spec.network == "host" else without_loopback(resolver), spec.provision)
    operations.append(_file("/etc/resolv.conf", resolver, flags=_RDONLY | _ALL))
    operations.append(_file("/etc/hosts", hosts_text(spec.hostname, spec.hosts), flags=_RDONLY | _ALL))
    for name, data in spec.scripts:
        if "/" in name or name in ("", ".", ".."):
            raise SandboxError(f"{name!r} cannot be the name of a script")
        operations.append(_file(f"/dev/pipes/{name}", data, mode=0o755, flags=_RDONLY | _NOSUID | _NODEV))
    # Sorted by components, so that a mount below another one comes after it.
    operations.extend(map(_user, sorted(spec.mounts, key=lambda each: _components(each.target))))
    return _for_one_uid(operations) if one_uid else operations


def _for_one_uid(operations: list[Plan]) -> list[Plan]:
    """Leave the owners out, of whom only root is there, and keep apt from becoming its own user: it checks that."""
    place = "/etc/apt/apt.conf.d"
    apt = _file(f"{place}/zz-pybuild", b'APT::Sandbox::User "root";\n', flags=_RDONLY | _ALL)
    owned = [{**each, "owner": (0, 0)} if "owner" in each else each for each in operations]
    return [*owned, {**apt, "within": os.fsencode(place)}]


def hosts_text(hostname: str, extra: Sequence[tuple[str, str]] = ()) -> bytes:
    """Return /etc/hosts as BuildKit writes it; ``extra`` are (name, address) pairs."""
    lines = [f"127.0.0.1\tlocalhost {hostname}", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{address}\t{name}" for name, address in extra]
    return "".join(line + "\n" for line in lines).encode()


def resolver_text(resolver: bytes, provision: Provision) -> bytes:
    """Return resolv.conf with the name servers and the search list that were asked for instead of the host's."""
    given = {b"nameserver": provision.dns, b"search": provision.search}
    replaced = {key for key, values in given.items() if values} | ({b"domain"} if provision.search else set())
    kept = [line for line in resolver.splitlines() if (line.split() or [b""])[0] not in replaced]
    kept += [b"search " + " ".join(provision.search).encode()] if provision.search else []
    kept += [b"nameserver " + server.encode() for server in provision.dns]
    return b"".join(line + b"\n" for line in kept) if replaced else resolver


def without_loopback(resolver: bytes) -> bytes:
    """Drop the name servers that a network namespace of its own cannot reach."""
    return b"".join(line for line in resolver.splitlines(keepends=True) if not _is_loopback(line.split()))


def _is_loopback(words: list[bytes]) -> bool:
    return len(words) > 1 and words[0] == b"nameserver" and (words[1].startswith(b"127.") or words[1] == b"::1")


def clean(target: str) -> str:
    """Return a target as it is in the operations. Raises SandboxError for "/"."""
    return "/" + "/".join(_components(target))


def _components(target: str) -> list[str]:
    path = posixpath.normpath("/" + target).lstrip("/")
    if not path:
        raise SandboxError(f"cannot mount on {target!r}: the target must be below /")
    return path.split("/")


def _kernel(spec: RunSpec, one_uid: bool) -> list[Plan]:
    terminals = b"newinstance,ptmxmode=0666,mode=0620" + (b"" if one_uid else b",gid=5")
    readonly, nodev = (0, 0) if spec.insecure else (_RDONLY, _NODEV)
    return [
        _filesystem("/proc", "proc", _ALL, fallback="/proc"),
        _filesystem("/dev", "tmpfs", _NOSUID | nodev, b"mode=755,size=65536k"),
        {"op": "devices", "target": b"/dev", "more": INSECURE_DEVICES if spec.insecure else ()},
        _filesystem("/dev/pts", "devpts", _NOSUID | _NOEXEC, terminals),
        _filesystem("/dev/shm", "tmpfs", _ALL, b"mode=1777,size=%d" % spec.shm_size),
        _filesystem("/dev/mqueue", "mqueue", _ALL, optional=True),
        _filesystem("/sys", "sysfs", readonly | _ALL, fallback="/sys"),
        _filesystem("/sys/fs/cgroup", "cgroup2", readonly | _ALL, optional=True),
    ]


def _filesystem(
    target: str, kind: str, flags: int, data: bytes | None = None, *, fallback: str = "", optional: bool = False
) -> Plan:
    return {
        "op": "filesystem",
        "target": os.fsencode(target),
        "source": os.fsencode(kind),
        "type": os.fsencode(kind),
        "flags": flags,
        "data": data,
        "fallback": os.fsencode(fallback),
        "optional": optional,
        "keep_mode": False,
    }


def _file(target: str, data: bytes, *, mode: int = 0o644, owner: tuple[int, int] = (0, 0), flags: int) -> Plan:
    return {"op": "file", "target": os.fsencode(target), "data": data, "mode": mode, "owner": owner, "flags": flags}


def _bind(target: str, source: bytes, subpath: str, flags: int, *, make: str = "") -> Plan:
    return {
        "op": "bind",
        "target": os.fsencode(target),
        "source": source,
        "subpath": os.fsencode(subpath),
        "make": make,
        "owner": (0, 0),
        "flags": flags,
    }


def _user(mount: MountSpec) -> Plan:
    target = clean(mount.target)
    readonly = _RDONLY if isinstance(mount, BindMount | CacheMount) and mount.readonly else 0
    match mount:
        case BindMount():
            source = b"" if mount.source is None else os.fsencode(mount.source)
            if mount.readonly and mount.source is not None:
                return _bind(target, source, mount.subpath, readonly | _NODEV)
            return {**_bind(target, source, mount.subpath, readonly | _NODEV), "op": "overlay"}
        case CacheMount():
            place = _bind(target, os.fsencode(mount.source), mount.subpath, readonly | _NODEV, make="dir")
            return {**place, "owner": (mount.uid, mount.gid), "fresh": mount.mode, "seed": mount.seed}
        case TmpfsMount():
            size = None if mount.size is None else b"size=%d" % mount.size
            # As runc: the mode of the directory that is there; else the kernel's own, 1777, for every user to write.
            return {**_filesystem(target, "tmpfs", _NOSUID | _NODEV, size), "keep_mode": True}
        case SecretMount():
            noexec = 0 if mount.mode & 0o111 else _NOEXEC
            flags = _RDONLY | _NOSUID | _NODEV | noexec
            return {
                **_file(target, mount.data, mode=mount.mode, owner=(mount.uid, mount.gid), flags=flags),
                "secret": True,
            }
        case SshMount():
            place = _bind(target, os.fsencode(mount.source), "", _NOSUID | _NODEV)
            return {**place, "owner": (mount.uid, mount.gid), "mode": mount.mode}
        case _:
            assert_never(mount)

"""What this process may use of the machine: CPUs by affinity and cgroup quota, and the machine's platform."""

from __future__ import annotations

import os
from pathlib import Path

from builder.image.platform import Platform

_CGROUP = Path("/sys/fs/cgroup")


def native_platform() -> Platform:
    """Return the platform of this machine."""
    info = os.uname()
    return Platform.normalised(info.sysname, info.machine)


def available_cpus(cgroup: Path = _CGROUP, self_cgroup: Path = Path("/proc/self/cgroup")) -> int:
    """Return how many CPUs we can really use, at least 1: a container's quota counts, not the node's size."""
    allowed = len(os.sched_getaffinity(0))
    quotas = [quota for path in _groups(cgroup, self_cgroup) if (quota := _quota(path)) is not None]
    return max(1, min([allowed, *(int(-(-quota // 1)) for quota in quotas)]))


def _groups(cgroup: Path, self_cgroup: Path) -> list[Path]:
    """Return our cgroup and those above it, in both versions' places."""
    try:
        lines = self_cgroup.read_text().splitlines()
    except OSError:
        lines = []
    found = {cgroup, cgroup / "cpu"}
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = cgroup / "cpu" if controllers else cgroup
        parts = [part for part in path.split("/") if part and part != ".."]
        found |= {top.joinpath(*parts[:count]) for count in range(len(parts) + 1)}
    return sorted(found)


def _quota(path: Path) -> float | None:
    try:
        if (path / "cpu.max").exists():
            quota, period = (path / "cpu.max").read_text().split()[:2]
        else:
            quota = (path / "cpu.cfs_quota_us").read_text().strip()
            period = (path / "cpu.cfs_period_us").read_text().strip()
        return int(quota) / int(period) if quota not in ("max", "-1") and int(period) > 0 else None
    except (OSError, ValueError):
        return None

"""A control group of version 2 for each step that has a limit of memory or CPUs (run-sandbox.md 4, cgroups).

Made where the kernel lets us, next to or below our own group: by root, or where systemd or a container's engine has
delegated a subtree. Everything is done by doing; where nothing works the caller hears why and goes on without. Version
1 is left alone: its hierarchies cannot be delegated safely.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from builder.errors import SandboxError
from builder.run.spec import Provision

PREFIX = "pybuild-"
_PERIOD = 100_000  # microseconds, the kernel's default
_SWAP = "memory.swap.max"
_NUMBERS = itertools.count()


def settings(provision: Provision) -> dict[str, str]:
    """Return the group's files and what to write into them; empty without a limit."""
    found = {}
    if provision.memory is not None:
        found["memory.max"] = str(provision.memory)
        found[_SWAP] = str(provision.memory)
    if provision.cpus is not None:
        found["cpu.max"] = f"{max(1000, round(provision.cpus * _PERIOD))} {_PERIOD}"
    return found


class Groups:
    """Makes the groups of a build's steps. Thread-safe."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        """``warn`` hears, once, that there can be no groups here."""
        self._warn = warn
        self._mutex = threading.Lock()
        self._parent: Path | None = None
        self._sought = False

    @contextlib.contextmanager
    def group(self, provision: Provision) -> Iterator[Path | None]:
        """Make a group for a step and remove it when its processes are gone; None without limits or groups.

        Raises SandboxError when one could be made before and cannot be made now.
        """
        values = settings(provision)
        parent = self._home(values) if values else None
        if parent is None:
            yield None
            return
        try:
            path = make(parent, values)
        except OSError as error:
            raise SandboxError(f"cannot make a control group: {error.filename}: {error.strerror}") from error
        try:
            yield path
        finally:
            remove(path)

    def _home(self, values: Mapping[str, str]) -> Path | None:
        with self._mutex:
            if not self._sought:
                self._sought = True
                mounts = Path("/proc/self/mountinfo").read_text(errors="replace")
                found = find(values, mounts, Path("/proc/self/cgroup").read_text(errors="replace"))
                if isinstance(found, str):
                    self._warn(f"--memory and --cpus have no effect: no cgroup v2 is ours to use ({found})")
                else:
                    self._parent = found
            return self._parent


def find(values: Mapping[str, str], mounts: str, own: str) -> Path | str:
    """Return the group below which groups with ``values`` can be made, or why there is none.

    ``mounts`` is the text of ``/proc/self/mountinfo``, ``own`` that of ``/proc/self/cgroup``.
    """
    hierarchy = _hierarchy(mounts)
    path = next((line[3:] for line in own.splitlines() if line.startswith("0::")), None)
    if hierarchy is None or path is None:
        return "none is mounted"
    place = Path(os.path.normpath(f"{hierarchy}/{path}"))
    reason = ""
    while place == hierarchy or hierarchy in place.parents:
        _sweep(place)
        try:
            remove(make(place, values))
            return place
        except OSError as error:
            reason = reason or f"{error.filename or place}: {error.strerror}"
        place = place.parent
    return reason or f"{place} is not ours"


def out_of_memory(group: Path) -> bool:
    """Say whether the kernel has killed a process of the group for its memory."""
    try:
        lines = (group / "memory.events").read_text().splitlines()
    except OSError:
        return False
    return any(line.startswith("oom_kill ") and line != "oom_kill 0" for line in lines)


def _hierarchy(mounts: str) -> Path | None:
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        if right.split(" ")[0] == "cgroup2":
            return Path(left.split(" ")[4])
    return None


def make(parent: Path, values: Mapping[str, str]) -> Path:
    """Make a group with ``values``, after giving the parent's groups the controllers it lacks. Raises OSError."""
    path = parent / f"{PREFIX}{os.getpid()}-{next(_NUMBERS)}"
    path.mkdir()
    try:
        for name, value in values.items():
            there = (path / name).exists()
            if name == _SWAP and not there:
                continue  # a kernel without swap
            if not there:
                _write(parent / "cgroup.subtree_control", f"+{name.partition('.')[0]}")
            _write(path / name, value)
    except OSError:
        remove(path)
        raise
    return path


def _write(path: Path, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)  # never O_CREAT: a plain directory is no group
    try:
        os.write(fd, value.encode())
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(fd)


def _sweep(parent: Path) -> None:
    """Remove groups of builds that were killed."""
    with contextlib.suppress(OSError):
        for path in parent.glob(f"{PREFIX}*"):
            number = path.name.removeprefix(PREFIX).partition("-")[0]
            if number.isdigit() and not os.path.exists(f"/proc/{number}"):
                remove(path)


def remove(path: Path) -> None:
    """Remove a group, unless something still ends in it: then the next build does."""
    with contextlib.suppress(OSError):
        path.rmdir()

"""Control groups of steps: where they are made, what is written, and that they go away."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from runbox import Box

from builder.run import cgroups
from builder.run.spec import Provision
from tests.support.need import need_root

MOUNT = "30 20 0:26 {root} {place} rw,relatime - cgroup2 cgroup2 rw\n"


def test_settings() -> None:
    assert cgroups.settings(Provision()) == {}
    assert cgroups.settings(Provision(memory=5 << 20)) == {"memory.max": "5242880", "memory.swap.max": "5242880"}
    assert cgroups.settings(Provision(cpus=1.5)) == {"cpu.max": "150000 100000"}
    assert cgroups.settings(Provision(cpus=0.001)) == {"cpu.max": "1000 100000"}  # the kernel's least


@pytest.mark.parametrize(
    ("mounts", "own", "reason"),
    [
        ("1 1 0:1 / /proc rw - proc proc rw\n", "0::/\n", "none is mounted"),
        (MOUNT.format(root="/", place="/sys/fs/cgroup"), "4:memory:/x\n", "none is mounted"),
        (MOUNT.format(root="/", place="{0}"), "0::/a/b\n", r"a/b/.*: No such file"),
        (MOUNT.format(root="/", place="{0}"), "0::/../../..\n", "is not ours"),
    ],
)
def test_where_there_is_none(tmp_path: Path, mounts: str, own: str, reason: str) -> None:
    found = cgroups.find({"memory.max": "1"}, mounts.format(tmp_path), own)
    assert isinstance(found, str)
    assert re.search(reason, found)


def test_a_plain_directory_is_no_group(tmp_path: Path) -> None:
    found = cgroups.find({"cpu.max": "1 1"}, MOUNT.format(root="/", place=tmp_path), "0::/\n")
    assert isinstance(found, str)
    assert os.listdir(tmp_path) == []


def hierarchy() -> Path:
    """Return the root of the kernel's version 2 hierarchy, if groups can be made in it."""
    need_root()
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    places = [line.split(" ")[4] for line in lines if " - cgroup2 " in line]
    if not places or not os.access(places[0], os.W_OK):
        pytest.skip("needs a writable cgroup v2")  # also in CI: not every machine has one to give
    return Path(places[0])


def test_a_group_is_there_for_a_step_and_swept_after_a_kill(tmp_path: Path) -> None:
    """With settings every group has, whatever controllers there are; those of memory and CPUs are the kernel's."""
    home = hierarchy() / f"test-{os.getpid()}"
    home.mkdir()
    try:
        values = {"cgroup.max.depth": "3"}
        mounts = Path("/proc/self/mountinfo").read_text()
        assert cgroups.find(values, mounts, f"0::/{home.name}\n") == home
        path = cgroups.make(home, values)
        assert (path / "cgroup.max.depth").read_text() == "3\n"
        with subprocess.Popen(["sleep", "1000"]) as process:
            (path / "cgroup.procs").write_text(str(process.pid))
            cgroups.remove(path)
            assert path.exists()  # not while somebody is in it
            process.kill()
        assert not cgroups.out_of_memory(path)
        dead = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout.strip()
        left = home / f"pybuild-{dead}-0"
        left.mkdir()
        cgroups.remove(path)
        assert cgroups.find(values, mounts, f"0::/{home.name}\n") == home
        assert [entry.name for entry in home.iterdir() if entry.is_dir()] == []
    finally:
        for entry in home.iterdir():
            if entry.is_dir():
                entry.rmdir()
        home.rmdir()


SETTINGS = {"memory": ("memory.max", "67108864"), "cpu": ("cpu.max", "50000 100000"), "pids": ("pids.max", "77"),
            "hugetlb": ("hugetlb.2MB.max", "4194304")}  # fmt: skip


def test_controllers_are_asked_for_up_the_tree() -> None:
    root = hierarchy()
    there = (root / "cgroup.controllers").read_text().split()
    chosen = next((SETTINGS[name] for name in SETTINGS if name in there), None)
    if chosen is None:
        pytest.skip("needs a controller of cgroup v2")
    name = chosen[0].partition(".")[0]
    enabled = name in (root / "cgroup.subtree_control").read_text().split()
    home = root / f"test-{os.getpid()}-controllers"
    home.mkdir()
    try:
        found = cgroups.find(dict([chosen]), Path("/proc/self/mountinfo").read_text(), f"0::/{home.name}\n")
        assert found in (home, root)
        assert isinstance(found, Path)
        path = cgroups.make(found, dict([chosen]))
        assert (path / chosen[0]).read_text().strip() == chosen[1]
        cgroups.remove(path)
        assert not path.exists()
    finally:
        home.rmdir()
        if not enabled:
            (root / "cgroup.subtree_control").write_text(f"-{name}")


def test_what_the_kernel_says_of_memory(tmp_path: Path) -> None:
    assert not cgroups.out_of_memory(tmp_path)
    (tmp_path / "memory.events").write_text("low 0\noom 2\noom_kill 0\n")
    assert not cgroups.out_of_memory(tmp_path)
    (tmp_path / "memory.events").write_text("low 0\noom 2\noom_kill 1\n")
    assert cgroups.out_of_memory(tmp_path)


def test_a_step_is_in_its_group_and_sees_nothing_above(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    home = hierarchy()
    monkeypatch.setattr(cgroups, "settings", lambda _: {"cgroup.max.depth": "3"})
    own = Path("/proc/self/cgroup").read_text().partition("0::")[2].strip("/\n")
    before = {entry.name for entry in (home / own).iterdir()}
    ran = box.run("grep 0:: /proc/self/cgroup; cat /sys/fs/cgroup/cgroup.max.depth; sleep 1000 & echo > /x")
    assert ran.out == "0::/\n3\n"
    assert ran.names == ["x"]
    assert {entry.name for entry in (home / own).iterdir()} == before


def test_a_step_that_takes_too_much_memory_is_told_so(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    command = "tail /dev/zero"
    if "memory" not in (hierarchy() / "cgroup.controllers").read_text().split():
        # Version 1 has the controller: all but the kernel's part.
        command = "exit 137"
        monkeypatch.setattr(cgroups, "settings", lambda _: {"cgroup.max.depth": "3"})
        monkeypatch.setattr(cgroups, "out_of_memory", Path.is_dir)
    status = box.run(command, provision=Provision(memory=16 << 20)).status
    assert status.code == 137
    assert "out of memory" in str(status.failure("RUN tail"))

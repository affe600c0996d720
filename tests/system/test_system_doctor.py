"""``pybuild doctor`` in the situations it is for: what it says works, and what to change for the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support import confine, pods
from tests.support.cli import environment, pybuild
from tests.support.commands import run
from tests.support.need import need_root, need_tool
from tests.support.users import User

POD = (
    "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,+net_raw,+sys_chroot,"
    "+mknod,+audit_write,+setfcap"
)
NAMES = [
    *("root", "userns", "single", "chroot", "overlay", "fuse", "copy", "seccomp errno", "seccomp notify"),
    *("newuidmap", "newgidmap", "/etc/subuid", "/etc/subgid", "/dev/fuse", "cgroup v2", "binfmt"),
]


def probes(done: subprocess.CompletedProcess[str]) -> tuple[dict[str, Any], Mapping[str, Mapping[str, Any]]]:
    value = json.loads(done.stdout)
    found = {one["name"]: one for one in value["probes"]}
    assert list(found) == NAMES
    for one in value["probes"]:
        # Plain trees need nothing that could be changed.
        assert one["works"] or one["hint"] or one["name"] in ("overlay", "fuse", "copy"), one
        assert not (one["works"] and (one["errno"] or one["hint"])), one
    return value, found


def working(found: Mapping[str, Mapping[str, Any]]) -> set[str]:
    return {name for name in ("root", "userns", "single", "chroot") if found[name]["works"]}


def test_root(store_root: Path) -> None:
    need_root()
    value, found = probes(pybuild("doctor", "--format=json", root=store_root))
    assert (value["isolation"], value["snapshotter"]) == ("root", "overlay")
    assert value["store"] == str(store_root)
    assert working(found) == {"root", "userns", "single", "chroot"}
    assert found["copy"]["works"]
    assert list((store_root / "tmp").iterdir()) == []


def test_root_of_a_pod(store_root: Path) -> None:
    """Docker's capabilities: no mounts of its own, but a user namespace with every id."""
    need_root()
    drop = [need_tool("setpriv"), "--bounding-set", POD]
    command = [*drop, sys.executable, "-m", "builder.cli.main", "doctor", "--format=json"]
    done = run(command, env=environment(store_root))
    value, found = probes(done)
    assert value["isolation"] == "userns"
    assert working(found) == {"userns", "single", "chroot"}
    assert found["root"]["errno"] == "EPERM"
    assert "CAP_SYS_ADMIN" in found["root"]["hint"]


def test_in_containers() -> None:
    """runc stands in for pods: without a filter, and with Docker's refusals. The store is on the container's own /."""
    with pods.both_kinds("doctor") as (unconfined, confined):
        value, found = probes(unconfined.pybuild("--root", "/root/store", "doctor", "--format=json"))
        assert (value["isolation"], value["snapshotter"]) == ("userns", "copy")
        assert working(found) == {"userns", "single", "chroot"}
        assert found["overlay"]["errno"] == "EINVAL"
        assert "mount a volume" in found["overlay"]["hint"]
        value, found = probes(confined.pybuild("--root", "/root/store", "doctor", "--format=json"))
        assert (value["isolation"], value["snapshotter"]) == ("chroot", "copy")
        assert working(found) == {"chroot"}
        assert found["userns"]["errno"] == "EPERM"
        assert "seccompProfile.type: Unconfined" in found["userns"]["hint"]


def test_a_plain_user(plain_user: User) -> None:
    value, found = probes(plain_user.pybuild("--root", plain_user.home / "doctor", "doctor", "--format=json"))
    assert (value["isolation"], working(found)) == ("single", {"single"})
    assert found["userns"]["said"] == f'newuidmap: no range for user "{plain_user.name}" in /etc/subuid'
    assert "usermod --add-subuids" in found["userns"]["hint"]
    assert "usermod --add-subuids" in found["/etc/subuid"]["hint"]
    assert found["root"]["said"] == "isolation=root needs root"


def test_a_user_with_subordinate_ids(subuid_user: User) -> None:
    value, found = probes(subuid_user.pybuild("--root", subuid_user.home / "doctor", "doctor", "--format=json"))
    assert (value["isolation"], working(found)) == ("userns", {"userns", "single"})
    assert found["/etc/subuid"]["works"]
    assert found["overlay"]["works"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_where_namespaces_are_refused(plain_user: User, form: str) -> None:
    """Nothing works: the status says so, the hints what to change."""
    text = Path(confine.__file__).read_text()
    arguments = ["-m", "builder.cli.main", "--root", plain_user.home / "doctor", "doctor", f"--format={form}"]
    done = plain_user.run(
        plain_user.python, "-c", text, "--refuse", "--", plain_user.python, *arguments, check=False
    )  # fmt: skip
    assert done.returncode == 71
    assert "seccompProfile.type: Unconfined" in done.stdout.replace("\n", " ")
    if form == "json":
        value, found = probes(done)
        assert (value["isolation"], value["snapshotter"]) == (None, None)
        assert working(found) == set()
        assert (found["single"]["errno"], found["single"]["said"]) == ("EPERM", "unshare user namespace")
    else:
        assert done.stdout.startswith("RUN does not work here; Dockerfiles without RUN do.\n")
        assert "no   single" in done.stdout
        assert "[EPERM]" in done.stdout

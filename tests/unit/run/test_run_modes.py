"""Steps of ordinary users: with subordinate ids everything is as for root, with a single uid what can be is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import runbox

from tests.support.need import need, need_root, need_tool
from tests.support.users import User

STEPS: Sequence[Mapping[str, Any]] = [
    {"args": ["mkdir -p /d/sub; echo 1 > /d/sub/f; echo 2 > /d/g; mv /capable /moved; id"], "keep": True},
    {"args": ["rm -r /d; mkdir /d; echo 3 > /d/new; rm /etc/group; cat /etc/hosts | wc -l"], "keep": True},
    {"args": ["find /d; ls -ln /d/new /moved; mknod /n c 1 3; exit 5"]},
    {"args": ["touch /f; chown 33:44 /f"]},
    {"args": ["id -u; id -g; touch /tmp-file; mkdir /home; echo x > /dev/stdout"], "user": "app", "cwd": "/work"},
    {"args": ["true"], "user": "70000:70000"},
    {"args": ["ifconfig | grep -c LOOPBACK"], "network": "none"},
    {"args": ["grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp:)' /proc/self/status | cut -f 2; unshare -U true"]},
    {"args": ["chmod 600 /dev/null; echo 1 > /proc/sys/kernel/domainname; echo 1 > /sys/kernel/mm/ksm/run"]},
]


def perform(user: User, snapshotter: str = "auto") -> tuple[list[dict[str, Any]], Path]:
    found = runbox.busybox()
    need(found, "needs a static busybox (Debian: busybox-static)")
    assert found is not None
    store = user.home / "store"
    shutil.rmtree(store, ignore_errors=True)
    user.run("mkdir", "-m", "700", store)
    program = user.source / "runbox.py"
    shutil.copy(runbox.__file__, program)
    done = user.run(user.python, program, store, found, json.dumps(STEPS), snapshotter)
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results, store


def table(result: Mapping[str, Any]) -> dict[str, tuple[int, int, int]]:
    return {name: (uid, gid, mode) for name, _, uid, gid, mode, _ in result["members"]}


@pytest.mark.parametrize("snapshotter", ["auto", "copy"])
def test_subordinate_ids(subuid_user: User, snapshotter: str) -> None:
    results, store = perform(subuid_user, snapshotter)
    assert {result["mode"] for result in results} == {"userns"}
    first, second, third, owned, other, unmapped, network, rights, walls = results
    assert first["out"].startswith("uid=0(root) gid=0(root)")
    assert list(table(first)) == [".wh.capable", "d", "d/g", "d/sub", "d/sub/f", "moved"]
    # In the tar as the kernel of the image's own machine would show it: version 2, without the id of our user.
    assert first["members"][-1][5]["SCHILY.xattr.security.capability"] == runbox.CAPABILITY
    assert list(table(second)) == ["d", "d/.wh.g", "d/.wh.sub", "d/new", "etc", "etc/.wh.group"]
    assert second["out"].strip() == "2"
    assert third["out"].split("\n")[:2] == ["/d", "/d/new"]
    assert third["code"] == 5
    assert "Operation not permitted" in third["err"]
    assert table(owned) == {"f": (33, 44, 0o644)}
    assert other["out"].split() == ["1000", "1001", "x"]
    assert table(other) == {"work": (1000, 1001, 0o755)}
    assert "do not exist in this user namespace" in unmapped["error"]
    assert network["out"].strip() == "1"
    assert rights["out"].split() == ["00000000a80425fb", "00000000a80425fb", "0", "2"]
    assert "Operation not permitted" in rights["err"]
    assert walls["err"].count("Read-only file system") == 3
    assert list((store / "tmp").iterdir()) == []


@pytest.mark.parametrize("snapshotter", ["auto", "copy"])
def test_single_uid(plain_user: User, snapshotter: str) -> None:
    results, store = perform(plain_user, snapshotter)
    assert {result["mode"] for result in results} == {"single"}
    first, second, third, owned, other, unmapped, network, rights, walls = results
    assert list(table(first)) == [".wh.capable", "d", "d/g", "d/sub", "d/sub/f", "moved"]
    assert list(table(second)) == ["d", "d/.wh.g", "d/.wh.sub", "d/new", "etc", "etc/.wh.group"]
    assert third["code"] == 5
    assert owned["err"] == ""
    assert table(owned) == {"f": (33, 44, 0o644)}
    assert "do not exist in this user namespace" in other["error"]
    assert "do not exist in this user namespace" in unmapped["error"]
    assert network["out"].strip() == "1"
    assert rights["out"].split() == ["00000000a80425fb", "00000000a80425fb", "0", "2"]
    assert walls["err"].count("Read-only file system") == 3
    assert list((store / "tmp").iterdir()) == []


# Docker's default capabilities: what root of a pod has.
POD = (
    "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,+net_raw,+sys_chroot,"
    "+mknod,+audit_write,+setfcap"
)


def test_root_of_a_pod_has_every_id(tmp_path: Path) -> None:
    need_root()
    found = runbox.busybox()
    need(found, "needs a static busybox (Debian: busybox-static)")
    drop = [need_tool("setpriv"), "--bounding-set", POD]
    done = subprocess.run(
        [*drop, sys.executable, runbox.__file__, tmp_path, str(found), json.dumps(STEPS[:5])],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])},
        capture_output=True,
        text=True,
        check=True,
    )
    results = json.loads(done.stdout)
    assert {result["mode"] for result in results} == {"userns"}
    assert results[0]["members"][-1][5]["SCHILY.xattr.security.capability"] == runbox.CAPABILITY
    assert table(results[3]) == {"f": (33, 44, 0o644)}
    assert results[4]["out"].split() == ["1000", "1001", "x"]

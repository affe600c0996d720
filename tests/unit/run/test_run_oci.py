"""Steps that are handed to an OCI runtime: what a command sees and leaves is what it is in mode root."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import runbox
from runbox import Box

from builder.errors import SandboxError
from builder.run import oci, probe
from builder.run.seccomp import DENIED
from builder.run.spec import SecretMount, TmpfsMount
from tests.support.need import need, need_root


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    need_root("needs root: --isolation=oci")
    need(probe.runtime(), "needs runc or crun")
    found = runbox.busybox()
    need(found, "needs a static busybox (Debian: busybox-static)")
    assert found is not None
    with runbox.opened(tmp_path_factory.mktemp("store"), Path(found), "oci") as made:
        yield made


@pytest.mark.parametrize(
    ("script", "spec", "out"),
    [
        ("id -u; id -G; pwd; umask", {"user": "app", "cwd": "/work"}, ["1000", "1001 10", "/work", "0022"]),
        ("hostname; echo $$; env | grep ^PA", {}, ["buildkitsandbox", "1", "PATH=/bin"]),
        ("grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | cut -f 2", {}, ["00000000a80425fb", "0", "2"]),
        ("cat /run/s; echo; stat -c %a /run/s", {"mounts": (SecretMount(target="/run/s", data=b"t"),)}, ["t", "400"]),
        ("ifconfig | grep -c Link.encap", {"network": "none"}, ["1"]),
        ("ls /proc/self/fd | wc -l", {}, ["4"]),
    ],
)
def test_what_a_command_sees(box: Box, script: str, spec: dict[str, Any], out: list[str]) -> None:
    ran = box.run(script, **spec)
    assert ran.out.splitlines() == out


def test_statuses(box: Box) -> None:
    assert box.run("exit 7").status.code == 7
    missing = box.run("/nonexistent", "x").status
    assert (missing.phase, missing.code) == ("exec", 127)
    assert box.run("sleep 100 & sleep 100", timeout=0.5).status.why == "timeout 0.5s"
    cancel = threading.Event()
    threading.Timer(0.3, cancel.set).start()
    assert box.run("sleep 100", cancel=cancel).status.why == "cancelled"


def test_the_layer_is_what_the_command_left(box: Box) -> None:
    ran = box.run("touch /f; chown 33:44 /f; sleep 1000 &", mounts=(TmpfsMount(target="/some/where"),))
    assert [(one.name, one.uid, one.gid) for one in ran.members] == [("f", 33, 44)]
    assert box.run("true").layer is None


def test_all_rights_are_not_to_be_had(box: Box) -> None:
    with pytest.raises(SandboxError, match="isolation=oci has no --security=insecure"):
        box.run("true", insecure=True)


def test_a_user_is_refused() -> None:
    with pytest.raises(SandboxError, match="isolation=oci needs root"):
        probe.attempts("oci", probe.Facts(uid=1000, gid=1000, name="me"))


def test_without_a_runtime_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(SandboxError, match="neither runc nor crun is installed"):
        probe.attempts("oci", probe.Facts(uid=0, gid=0, name="root"))


def test_the_filter_has_every_denied_call() -> None:
    rules = oci.seccomp(list(DENIED))["syscalls"]
    assert set(DENIED) <= {name for rule in rules for name in rule["names"]}
    flags = sum(rule["args"][0]["value"] for rule in rules if rule["names"] == ["clone"])
    assert flags == 0x7E020000


@pytest.mark.parametrize(
    ("log", "ended"),
    [
        ("", None),
        ('level=warning msg="x"\n', None),
        ('time=1 level=error msg="exec: \\"/x\\": stat /x: no such file or directory"\n', ("exec", 127)),
        ('time=1 level=error msg="exec /x: permission denied"\n', ("exec", 126)),
        ('time=1 level=error msg="cannot make a cgroup"\n', ("setup", 71)),
    ],
)
def test_complaints_of_the_runtime(log: str, ended: tuple[str, int] | None) -> None:
    found = oci.complaint(log)
    assert (found and found[:2]) == ended

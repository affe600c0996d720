"""Builds in containers without any added privilege (run-sandbox.md 3, modes D1 and D2; 7, item 18).

runc with Docker's capabilities and masked /proc stands in for a pod: without a seccomp filter, as in Kubernetes by
default, and with one that refuses namespaces and mounts, as in Docker.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import goldens, pods, trees
from tests.support.cli import CHECKOUT, expect, write_context
from tests.support.commands import run
from tests.support.pods import Container
from tests.support.processes import descendants

STEPS = """\
FROM base
RUN mkdir -p /srv/d && echo 1 > /srv/d/f && chown 33:44 /srv/d/f && chmod 4711 /srv/d/f && ln /srv/d/f /srv/g
RUN rm /etc/hostname && mkfifo /srv/p && rm /srv/g && mv /srv/d /srv/e
USER app
RUN id -u > /tmp/me
"""
WARNING = "isolation=chroot: RUN steps have no /proc, no /sys and are not isolated from this container"


@pytest.fixture(scope="module")
def both() -> Iterator[dict[str, Container]]:
    with pods.both_kinds("pods") as (unconfined, confined):
        yield {"unconfined": unconfined, "confined": confined}


@pytest.fixture(params=["unconfined", "confined"])
def pod(request: pytest.FixtureRequest, both: dict[str, Container]) -> Container:
    return both[request.param]


_NUMBERS = itertools.count()


def place(pod: Container) -> Path:
    """Return a new directory that has the same name inside and outside."""
    folder = pod.volume / f"work-{next(_NUMBERS)}"
    folder.mkdir()
    return folder


def layout_in(pod: Container, layout: Path) -> Path:
    """Return a copy of a layout that the container can see."""
    target = pod.volume / "layout"
    if not target.exists():
        shutil.copytree(layout, target)
    return target


def build(pod: Container, layout: Path, dockerfile: str, *arguments: str) -> tuple[trees.Tree, str]:
    """Build in the container; return the image's tree and what was said. The container's / must stay as it was."""
    folder = place(pod)
    context = write_context(folder / "context", dockerfile)
    named = f"--build-context=base=oci-layout://{layout_in(pod, layout)}:latest"
    before = pod.written()
    done = pod.pybuild(named, "-o", f"type=oci,dest={folder}/out.tar", *arguments, context)
    assert pod.written() == before
    expect(done, 0)
    return trees.tree_of(folder / "out.tar"), done.stderr


def test_the_container_is_what_it_claims_to_be(both: dict[str, Container]) -> None:
    script = "grep -E '^(CapBnd|Seccomp):' /proc/self/status; unshare -m true; unshare -U true && echo user"
    unconfined = both["unconfined"].run("sh", "-c", script)
    assert unconfined.stdout.split() == ["CapBnd:", "00000000a80425fb", "Seccomp:", "0", "user"]
    confined = both["confined"].run("sh", "-c", script, check=False)
    assert confined.stdout.split() == ["CapBnd:", "00000000a80425fb", "Seccomp:", "2"]
    assert confined.stderr.count("Operation not permitted") == 2


def test_the_best_mode_is_found_and_the_results_are_the_same(pod: Container, busybox_layout: Path) -> None:
    tree, said = build(pod, busybox_layout, STEPS)
    assert (WARNING in said) == pod.filtered
    assert said.count("isolation") == int(pod.filtered)
    changed = trees.difference(tree, trees.tree_of(busybox_layout))
    assert {line.partition(":")[0] for line in changed} == {
        "etc/hostname",
        "srv",
        "srv/e",
        "srv/e/f",
        "srv/p",
        "tmp/me",
    }
    found = {path: (tree[path].mode, tree[path].uid, tree[path].gid) for path in ("srv/e/f", "srv/p", "tmp/me")}
    assert found == {"srv/e/f": (0o4711, 33, 44), "srv/p": (0o644, 0, 0), "tmp/me": (0o644, 1000, 1000)}


def test_what_is_shown_of_the_pod_cannot_be_written_or_looked_into(
    both: dict[str, Container], busybox_layout: Path
) -> None:
    """The pod's /proc stands in for one that is refused; $$ is 1 all the same."""
    script = (
        "echo $$ $(test -d /proc/1 && echo seen); echo 1 > /proc/1/oom_score_adj; cat /proc/1/environ; ls /proc/1/root/"
        "; echo 1 > /proc/sys/vm/swappiness; echo 1 > /sys/kernel/x; ls /proc/self/fd | wc -l; readlink /proc/self/exe"
    )
    _, said = build(both["unconfined"], busybox_layout, f"FROM base\nRUN {script}\n", "--progress=plain")
    lines = [line.partition(" | ")[2] for line in said.splitlines() if line.startswith("#2 | ")]
    assert [line for line in lines if ":" not in line] == ["1 seen", "4", "/bin/busybox"]
    refused = [line.rpartition(": ")[2].lower() for line in lines if ":" in line]
    assert refused == ["read-only file system", *["permission denied"] * 2, *["read-only file system"] * 2]


def test_the_root_of_the_container_is_untouched_when_the_store_is_there(pod: Container, busybox_layout: Path) -> None:
    """On the container's own overlay no overlay can be mounted: plain trees, and nothing outside of the store."""
    folder = place(pod)
    context = write_context(folder / "context", "FROM base\nRUN echo 1 > /f\nRUN echo 2 >> /f\n")
    named = f"--build-context=base=oci-layout://{layout_in(pod, busybox_layout)}:latest"
    before = pod.written()
    done = pod.pybuild("--root", "/root/store", named, "-o", f"type=oci,dest={folder}/out.tar", context)
    expect(done, 0)
    after = {path for path in pod.written().keys() - before.keys() if not path.startswith("root/store")}
    assert after <= {"root"}
    if not pod.filtered:
        assert "is on overlayfs, which cannot be an overlay upper; using copy (slower)" in done.stderr
    tree = trees.tree_of(folder / "out.tar")
    assert tree["f"].size == 4
    run(["rm", "-rf", pod.folder / "root/root/store"])


def test_a_step_leaves_nobody_behind(pod: Container, busybox_layout: Path) -> None:
    folder = place(pod)
    dockerfile = (
        "FROM base\nRUN (setsid sleep 98764 &); sleep 98764 & echo 1 > /f\nRUN (setsid sleep 98764 &); exit 3\n"
    )
    context = write_context(folder / "context", dockerfile)
    named = f"--build-context=base=oci-layout://{layout_in(pod, busybox_layout)}:latest"
    script = f'"$@"; echo status $?; grep -l 9876[4] /proc/[0-9]*/cmdline; ls {pod.volume}/store/tmp'
    command = [pod.python, "-m", "builder.cli.main", named, context]
    done = pod.run("sh", "-c", script, "sh", *command, check=False)
    assert done.stdout.splitlines() == ["status 3"]


def test_isolation_root_is_refused_with_a_reason(pod: Container, busybox_layout: Path) -> None:
    context = write_context(place(pod) / "context", "FROM base\nRUN true\n")
    named = f"--build-context=base=oci-layout://{layout_in(pod, busybox_layout)}:latest"
    done = pod.pybuild("--isolation=root", named, context, check=False)
    expect(done, 71)
    assert "root: unshare mount namespace: EPERM" in done.stderr


def test_without_what_a_user_namespace_takes_there_is_the_chroot(
    both: dict[str, Container], busybox_layout: Path
) -> None:
    pod = both["unconfined"]
    pod.capabilities = [name for name in pods.CAPABILITIES if name != "CAP_SETFCAP"]
    try:
        tree, said = build(pod, busybox_layout, "FROM base\nRUN chown 3:4 /etc/group\n")
    finally:
        pod.capabilities = pods.CAPABILITIES
    assert WARNING in said
    assert (tree["etc/group"].uid, tree["etc/group"].gid) == (3, 4)


@pytest.mark.parametrize(
    ("missing", "call"),
    [
        ("CAP_SYS_CHROOT", "chroot"),
        ("CAP_MKNOD", "make a device node in the store"),
        ("CAP_SETPCAP", "give up capabilities (CAP_SETPCAP)"),
    ],
)
def test_without_what_a_chroot_needs_the_refusal_has_the_way_out(
    both: dict[str, Container], busybox_layout: Path, missing: str, call: str
) -> None:
    confined = both["confined"]
    context = write_context(place(confined) / "context", "FROM base\nRUN true\n")
    named = f"--build-context=base=oci-layout://{layout_in(confined, busybox_layout)}:latest"
    confined.capabilities = [name for name in pods.CAPABILITIES if name != missing]
    try:
        done = confined.pybuild(named, context, check=False)
    finally:
        confined.capabilities = pods.CAPABILITIES
    expect(done, 71)
    assert f"chroot: {call}: EPERM" in done.stderr
    assert "seccomp=unconfined" in done.stderr


@pytest.mark.parametrize(("user", "refused"), [("root", "1"), ("app", "0")])
def test_root_gains_no_rights_and_users_can(
    both: dict[str, Container], busybox_layout: Path, user: str, refused: str
) -> None:
    """A filter costs the set-id bits where there is no CAP_SYS_ADMIN; users have little to lose to what it refuses."""
    confined = both["confined"]
    marker = f"9876{len(user)}"
    context = write_context(place(confined) / "context", f"FROM base\nUSER {user}\nRUN exec sleep {marker}\n")
    named = f"--build-context=base=oci-layout://{layout_in(confined, busybox_layout)}:latest"
    command = confined.command(confined.python, "-m", "builder.cli.main", named, context)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        pid = 0
        while not pid and process.poll() is None:
            pid = next((pid for pid in descendants(process.pid) if is_sleep(pid, marker)), 0)
        text = Path(f"/proc/{pid}/status").read_text()
        os.kill(pid, signal.SIGKILL)
        process.communicate()
    fields = dict(line.split(":\t") for line in text.splitlines() if ":\t" in line)
    assert fields["NoNewPrivs"] == refused
    assert (fields["CapEff"] == "0" * 16) == (user != "root")


def is_sleep(pid: int, marker: str) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() == f"sleep\0{marker}\0".encode()
    except OSError:
        return False


# The cases whose results differ, and why; with Docker's filter the steps are in a chroot and in plain trees.
DIFFERENT = {
    "unconfined": {
        "run-devices": "nobody makes devices in a user namespace",
        "run-network-none": "a masked /sys cannot be mounted anew: the pod's is shown, with its interfaces",
    },
    "confined": {
        "run-devices": "the step has no CAP_MKNOD: a disk of the host would be a way out",
        "run-network-none": "there is no network namespace to be had",
    },
}
RUNS = [case for case in goldens.find() if case.runs]
SHARE = 1 if os.environ.get("PYBUILD_TEST_FULL") else 3


@pytest.mark.parametrize("case", RUNS[::SHARE], ids=lambda case: case.name)
def test_golden(case: goldens.Case, pod: Container, busybox_layout: Path) -> None:
    if case.name in DIFFERENT["confined" if pod.filtered else "unconfined"]:
        with pytest.raises(AssertionError):
            check_golden(case, pod, busybox_layout)
    else:
        check_golden(case, pod, busybox_layout)


def check_golden(case: goldens.Case, pod: Container, busybox_layout: Path) -> None:
    """Build the case in the container, and compare."""
    bases = goldens.make_bases(busybox_layout, pod.volume)
    before = pod.written()

    def command_line(*arguments: str | Path, root: Path, check: bool) -> object:
        return pod.pybuild(*arguments, env={"PYBUILD_ROOT": str(root)}, check=check)

    result, expected = goldens.build(case, bases, place(pod), pod.volume / "store", command_line), case.expected
    assert pod.written() == before
    if "error" in expected:
        assert expected.pop("error") in result.pop("error")
    assert json.dumps(result, indent=2) == json.dumps(expected, indent=2)


def test_the_demo_runs(pod: Container) -> None:
    checkout = pod.volume / "checkout"
    for name in ("builder", "scripts", "testdata/dockerfiles/quickstart"):
        shutil.copytree(CHECKOUT / name, checkout / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(CHECKOUT / name, checkout)
    environment = installed(pod, checkout)
    before = pod.written()
    done = pod.run("bash", checkout / "scripts/demo", env=environment)
    assert pod.written() == before
    assert (checkout / "demo-output/quickstart.tar").exists()
    assert "left out" not in done.stdout


def installed(pod: Container, checkout: Path) -> dict[str, str]:
    """Make what scripts/venv.sh takes for an environment with ``checkout`` installed; return what activates it."""
    venv = pod.volume / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to(pod.python)
    (venv / "bin/pybuild").write_text(
        f'#!/bin/sh\nPYTHONPATH="{checkout}" exec "{pod.python}" -m builder.cli.main "$@"\n'
    )
    (venv / "bin/pybuild").chmod(0o755)
    checksum = hashlib.sha256((checkout / "pyproject.toml").read_bytes()).hexdigest()
    (venv / ".pybuild-installed").write_text(f"dev {checkout} {checksum}  -\n")
    return {"VIRTUAL_ENV": str(venv), "PATH": f"{venv}/bin:{os.defpath}"}

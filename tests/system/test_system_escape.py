"""Getting out of a RUN: what ``tests/support/attempts.py`` tries in every mode, and images and files that mean harm.

The attempts are one build a mode, with the host's network and with none, when the first test asks for the answers.
That each would succeed without its wall is shown at the end, where they are let loose with nothing to hold them.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import pty
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from builder.image.digest import DiffID, Digest, chain_id
from builder.run.sandbox import Sandbox
from builder.run.seccomp import DENIED
from builder.run.spec import CacheMount, LayerSource, PackTarget, RunSpec
from tests.support import attempts
from tests.support.cli import pybuild
from tests.support.images import tar_directory, write_layout
from tests.support.interpreter import python_layer
from tests.support.need import need_root, need_tool, public_directory
from tests.support.users import User

NAMESPACES = ("root", "userns", "single", "oci")
MODES = (*NAMESPACES, "chroot")
MODULES = "__future__,collections.abc,contextlib,ctypes,errno,fcntl,json,os,select,signal,socket,stat,typing"
WORD = "correct-horse-battery-staple"
DOCKERFILE = """\
FROM base AS host
RUN --mount=type=bind,target=/attack --mount=type=cache,target=/cache --mount=type=tmpfs,target=/tmpfs \\
    --mount=type=bind,rw,source=facts,target=/bound \\
    python3 -I -S /attack/attempts.py /attack/facts/facts.json >/host.json
FROM base AS none
RUN --network=none --mount=type=bind,target=/attack --mount=type=cache,target=/cache \\
    --mount=type=tmpfs,target=/tmpfs --mount=type=bind,rw,source=facts,target=/bound \\
    python3 -I -S /attack/attempts.py /attack/facts/facts.json >/none.json
FROM scratch AS one
COPY --from=host /host.json /
FROM one
COPY --from=none /none.json /
"""


class Range:
    """What the attempts aim at, outside of every step: a file, processes, sockets; and the images they run in."""

    def __init__(self, folder: Path, layout: Path, layers: list[bytes]) -> None:
        self.folder = folder
        self.layout = layout
        self.layers = layers
        self.facts: dict[str, Any] = {}
        self.found: dict[str, dict[str, dict[str, str]]] = {}
        self.victims: list[subprocess.Popen[bytes]] = []

    def context(self, name: str, victim: int) -> Path:
        """Write a context for one mode."""
        made = self.folder / f"context-{name}"
        (made / "facts").mkdir(parents=True)
        shutil.copy(attempts.__file__, made / "attempts.py")
        (made / "facts/facts.json").write_text(json.dumps({**self.facts, "victim": victim}))
        (made / "Dockerfile").write_text(DOCKERFILE)
        subprocess.run(["chmod", "-R", "go+rX", made], check=True)
        return made

    def victim(self, user: User | None) -> int:
        """Start a process outside, of the user who builds."""
        drop = [need_tool("setpriv"), "--reuid", user.name, "--clear-groups"] if user else []
        self.victims.append(subprocess.Popen([*drop, "sleep", "600"]))
        return self.victims[-1].pid


def block_devices() -> list[tuple[int, int]]:
    """Return the numbers of the disks of this machine, mounted or not."""
    names = os.listdir("/sys/class/block") if os.path.isdir("/sys/class/block") else []
    texts = [(Path("/sys/class/block") / name / "dev").read_text().strip() for name in sorted(names)]
    return [(int(major), int(minor)) for major, _, minor in (text.partition(":") for text in texts)][:3]


@contextlib.contextmanager
def listening() -> Iterator[dict[str, object]]:
    """Accept connections on an abstract socket and on a port of loopback."""
    name = f"pybuild-escape-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as unix, socket.create_server(("127.0.0.1", 0)) as server:
        unix.bind("\0" + name)
        unix.listen(64)
        yield {"socket": name, "port": server.getsockname()[1]}


@pytest.fixture(scope="module")
def targets(busybox_rootfs: Path) -> Iterator[Range]:
    need_root("needs root: modes of other users")
    layers = [tar_directory(busybox_rootfs), python_layer(MODULES)]
    machine = {"x86_64": 0, "aarch64": 2}[os.uname().machine]
    with public_directory("escape") as folder, listening() as addresses:
        write_layout(folder / "base", layers)
        (folder / "canary").write_text(WORD)
        made = Range(folder, folder / "base", layers)
        made.facts = {
            **addresses,
            "calls": {name: numbers[machine] for name, numbers in DENIED.items() if numbers[machine] >= 0},
            "canary": str(folder / "canary"),
            "word": WORD,
            "disks": block_devices(),
        }
        yield made
        for victim in made.victims:
            victim.kill()
            victim.wait()


def attack(targets: Range, mode: str, request: pytest.FixtureRequest) -> dict[str, dict[str, str]]:
    """Return what came of each attempt in ``mode``, by network; the first call does it."""
    if mode not in targets.found:
        user = {"userns": "subuid_user", "single": "plain_user"}.get(mode)
        who: User | None = request.getfixturevalue(user) if user else None
        context = targets.context(mode, targets.victim(who))
        result = (who.home if who else targets.folder) / f"result-{mode}"
        arguments = ["--isolation", mode, "--build-context", f"base=oci-layout://{targets.layout}:latest"]
        # A chroot has the network that is there.
        arguments += [*(["--target=one"] if mode == "chroot" else []), "-o", f"type=local,dest={result}", str(context)]
        env = {"PYBUILD_TEST_WORD": WORD}
        if who is None:
            pybuild(*arguments, root=targets.folder / f"store-{mode}", env=env)
        else:
            who.pybuild("--root", who.home / "store-escape", *arguments, env=env)
        found = {path.stem: json.loads(path.read_text()) for path in result.glob("*.json")}
        targets.found[mode] = {"none": found["host"], **found}
    return targets.found[mode]


@pytest.fixture
def came_of(request: pytest.FixtureRequest, targets: Range) -> dict[str, dict[str, str]]:
    return attack(targets, request.param, request)


every_mode = pytest.mark.parametrize("came_of", MODES, indirect=True)
with_namespaces = pytest.mark.parametrize("came_of", NAMESPACES, indirect=True)
REFUSED = {"EPERM", "EACCES", "EROFS", "ENOSYS"}


@every_mode
def test_calls_of_the_denylist(came_of: dict[str, dict[str, str]], targets: Range) -> None:
    for network in ("host", "none"):
        calls = {name: answer for name, answer in came_of[network].items() if name.startswith("call ")}
        assert len(calls) > 45
        # A runtime leaves out calls that its library does not know; this one needs rights a step has not.
        unknown = {"call open_tree_attr"} if came_of is targets.found.get("oci") else set()
        assert {name for name, answer in calls.items() if answer != "EPERM"} <= unknown


@every_mode
@pytest.mark.parametrize(
    "name",
    ["unshare_user", "unshare_mount", "unshare_network", "clone_user", "clone3", "setns_own", "mount_tmpfs",
     "mount_tmpfs_new_api", "bind_root", "remount_proc_sys_writable", "unmount_masks", "pivot_root"],
)  # fmt: skip
def test_namespaces_and_mounts(came_of: dict[str, dict[str, str]], name: str) -> None:
    refused = {"EPERM", "ENOSYS", "ENOENT"}  # a namespace is a file in /proc, which a chroot has not
    assert came_of["host"][name] in refused
    assert came_of["none"][name] in refused


@every_mode
@pytest.mark.parametrize(
    "name",
    ["keyring", "add_key", "bpf_map", "perf_event", "userfaultfd", "io_uring", "kernel_log", "set_time", "accounting",
     "kexec_nothing", "file_handle", "watch_all_files", "crypto_socket", "no_randomisation"],
)  # fmt: skip
def test_interfaces_of_the_kernel(came_of: dict[str, dict[str, str]], name: str) -> None:
    assert came_of["host"][name] == "EPERM"


@every_mode
@pytest.mark.parametrize(
    "name",
    ["write_sysrq", "write_core_pattern", "write_domainname", "write_interrupts", "write_sysfs",
     "write_uevent_helper", "write_cgroup"],
)  # fmt: skip
def test_kernel_files_cannot_be_written(came_of: dict[str, dict[str, str]], name: str) -> None:
    assert came_of["host"][name] in {"EROFS", "EACCES", "ENOENT"}
    assert came_of["none"][name] in {"EROFS", "EACCES", "ENOENT"}


@every_mode
@pytest.mark.parametrize("name", ["read_memory_image", "read_keys", "read_timers"])
def test_masked_files_are_empty(came_of: dict[str, dict[str, str]], name: str) -> None:
    assert came_of["host"][name] in {"empty", "ENOENT"}


@every_mode
@pytest.mark.parametrize("name", ["open_disk", "open_kernel_messages", "open_fuse"])
def test_devices_that_a_step_makes_cannot_be_opened(came_of: dict[str, dict[str, str]], name: str) -> None:
    assert set(came_of["host"][name].split()) <= REFUSED | {"ENOENT"}


@pytest.mark.parametrize("came_of", ["userns", "single"], indirect=True)
def test_devices_of_the_host_cannot_be_changed(came_of: dict[str, dict[str, str]]) -> None:
    assert came_of["host"]["change_null"] in {"EPERM", "EROFS"}


@with_namespaces
@pytest.mark.parametrize("name", ["fill_shared_memory", "fill_dev"])
def test_memory_file_systems_are_bounded(came_of: dict[str, dict[str, str]], name: str) -> None:
    assert came_of["host"][name] == "ENOSPC"


@every_mode
@pytest.mark.parametrize("name", ["read_file_of_host", "read_through_dots", "read_through_proc", "leave_chroot"])
def test_files_of_the_host(came_of: dict[str, dict[str, str]], name: str) -> None:
    assert came_of["host"][name] in {"ENOENT", "EACCES", "EPERM", "nowhere"}


@every_mode
def test_no_descriptor_is_left_open(came_of: dict[str, dict[str, str]]) -> None:
    assert came_of["host"]["leftover_descriptors"] == "none"


@with_namespaces
@pytest.mark.parametrize("name", ["signal_victim", "kill_victim"])
def test_signals_to_processes_outside(came_of: dict[str, dict[str, str]], name: str) -> None:
    assert came_of["host"][name] == "ESRCH"


@pytest.mark.parametrize("came_of", ["chroot"], indirect=True)
def test_processes_of_the_same_root_can_be_signalled_from_a_chroot(came_of: dict[str, dict[str, str]]) -> None:
    """What docs/security.md says."""
    assert came_of["host"]["signal_victim"] == "ok"


@every_mode
@pytest.mark.parametrize("name", ["trace_victim", "read_memory_of_victim"])
def test_memory_of_processes_outside(came_of: dict[str, dict[str, str]], name: str) -> None:
    assert came_of["host"][name] in {"ESRCH", "EPERM"}


@every_mode
def test_the_environment_of_the_builder(came_of: dict[str, dict[str, str]]) -> None:
    assert came_of["host"]["environment_of_others"] == "nowhere"


@every_mode
def test_command_lines_of_the_builder(came_of: dict[str, dict[str, str]]) -> None:
    assert came_of["host"]["command_lines_of_others"] == "nowhere"


@with_namespaces
def test_the_network_is_the_hosts_unless_it_is_none(came_of: dict[str, dict[str, str]]) -> None:
    """What docs/security.md says host networking exposes, and that none takes it away."""
    assert [came_of["host"][name] for name in ("abstract_socket", "port_of_host")] == ["ok", "ok"]
    assert [came_of["none"][name] for name in ("abstract_socket", "port_of_host")] == ["ECONNREFUSED"] * 2
    assert came_of["none"]["interfaces"] == "lo"


@every_mode
def test_packets_of_the_host_are_read_by_root_only(came_of: dict[str, dict[str, str]], targets: Range) -> None:
    root = came_of in [targets.found.get(mode) for mode in ("root", "chroot", "oci")]
    assert came_of["host"]["sniff"] == ("ok" if root else "EPERM")


# --- the same without walls

# What --security=insecure lets through: these walls are the filter, the capabilities and the restricted mounts.
INSECURE = [
    "accounting",
    "add_key",
    "bind_root",
    "bpf_map",
    "change_null",
    "clone_user",
    "clone3",
    "crypto_socket",
    "file_handle",
    "io_uring",
    "kernel_log",
    "keyring",
    "mount_tmpfs",
    "mount_tmpfs_new_api",
    "no_randomisation",
    "open_disk",
    "open_kernel_messages",
    "perf_event",
    "set_time",
    "setns_own",
    "unshare_mount",
    "unshare_network",
    "unshare_user",
    "userfaultfd",
    "watch_all_files",
    "write_core_pattern",
    "write_domainname",
    "write_sysfs",
    "write_sysrq",
]
# What a process of the same user gets outside of a step: these walls are the root directory and the namespaces.
OUTSIDE = [
    "abstract_socket",
    "environment_of_others",
    "leave_chroot",
    "port_of_host",
    "read_file_of_host",
    "read_memory_of_victim",
    "read_through_dots",
    "read_through_proc",
    "signal_victim",
    "sniff",
    "trace_victim",
    "type_into_terminal",
]


@pytest.fixture(scope="module")
def insecure(targets: Range) -> dict[str, str]:
    """Let the attempts loose in a step that only has its own root directory and namespaces."""
    context = targets.context("insecure", targets.victim(None))
    store = targets.folder / "store-insecure"
    store.mkdir()
    stack = []
    for number, data in enumerate(targets.layers):
        blob = store / f"blob-{number}"
        blob.write_bytes(gzip.compress(data, 1))
        diff_ids = [*(one.diff_id for one in stack), DiffID(Digest.of(data))]
        chain = chain_id(diff_ids)
        stack.append(LayerSource(diff_id=diff_ids[-1], chain_id=chain, path=lambda blob=blob: blob, stands_alone=False))
    output = bytearray()
    sandbox = Sandbox(store, scratch=lambda: _made(store / "scratch"), isolation="root")
    try:
        sandbox.run(
            RunSpec(
                args=("/usr/bin/python3", "-I", "-S", "/attack/attempts.py", "/attack/facts/facts.json"),
                mounts=(CacheMount(target="/attack", source=context),),
                insecure=True,
            ),
            stack,
            on_output=lambda _, data: output.extend(data),
            cancel=threading.Event(),
            pack_to=PackTarget(store / "layer", store / "toc"),
        )
    finally:
        sandbox.close()
    found: dict[str, str] = json.loads(output)
    return found


def _made(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("name", INSECURE)
def test_attempts_that_the_filter_and_the_mounts_stop_are_real(insecure: dict[str, str], name: str) -> None:
    if insecure[name] in ("EAFNOSUPPORT", "ENOENT"):
        pytest.skip(f"this machine's kernel has no such thing: {name}")
    assert insecure[name] == "ok"


def test_nothing_else_refuses_the_calls_of_the_denylist(insecure: dict[str, str]) -> None:
    assert [name for name, answer in insecure.items() if name.startswith("call ") and answer == "EPERM"] == []


@pytest.fixture(scope="module")
def outside(targets: Range) -> dict[str, str]:
    """Let attempts loose outside of any step, in a terminal."""
    context = targets.context("outside", targets.victim(None))
    command = [sys.executable, "-I", context / "attempts.py", context / "facts/facts.json", *OUTSIDE]
    done = in_terminal(command, {**os.environ, "PYBUILD_TEST_WORD": WORD})
    found: dict[str, str] = json.loads(done[done.index("{") : done.rindex("}") + 1])
    return found


def in_terminal(command: Sequence[str | Path], env: Mapping[str, str]) -> str:
    """Run a program that has a terminal, and return what it said."""
    master, terminal = pty.openpty()
    ready = "import fcntl, os, sys; fcntl.ioctl(0, 0x540E, 0); os.execv(sys.argv[1], sys.argv[1:])"  # TIOCSCTTY
    child = subprocess.Popen(
        [sys.executable, "-c", ready, *command],
        stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True, env=env,
    )  # fmt: skip
    os.close(terminal)
    said = b""
    with contextlib.suppress(OSError), open(master, "rb", buffering=0) as stream:
        while part := stream.read(65536):
            said += part
    child.wait()
    return said.decode(errors="replace")


@pytest.mark.parametrize("name", OUTSIDE)
def test_attempts_that_namespaces_stop_are_real(outside: dict[str, str], name: str) -> None:
    assert outside[name] == "ok"

"""However a build ends: everything its steps started is gone at once, and nothing stays mounted (run-sandbox.md 2)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.cli import environment, write_context
from tests.support.fake_registry import Fault, serve
from tests.support.need import need_root
from tests.support.processes import GONE_SECONDS, await_end, descendants, helper_of, mounts, nursery_of, watch

AT_ONCE = 0.1  # seconds, on a machine that does little else: with --full
NOT_WAITED = 1.0  # seconds, on any machine: shorter than every time for which something of ours waits
ATTEMPTS = 5  # one of them has to be that quick

# Processes that ignore what can be ignored, that left their session, that ended and were not waited for.
STUBBORN = (
    "trap '' TERM INT HUP; setsid sleep 98765 & (sleep 0.01 & exec sleep 98766) & sleep 0.1; echo u''p; sleep 98767"
)


class Running:
    """A build in the middle of a step: itself, and below it the worker, the step's helper and its command."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.below = descendants(process.pid)[1:]
        self.worker = self.below[0]
        self.helper = helper_of(self.worker)
        self.step = descendants(self.helper)
        self.first = self.step[1]


def interrupt(build: Running) -> None:
    """Do what Ctrl-C at a terminal does."""
    os.killpg(build.process.pid, signal.SIGINT)


def terminate(build: Running) -> None:
    build.process.send_signal(signal.SIGTERM)


def kill_everything_of_ours(build: Running) -> None:
    build.process.kill()


def kill_worker(build: Running) -> None:
    os.kill(build.worker, signal.SIGKILL)


def kill_helper(build: Running) -> None:
    os.kill(build.helper, signal.SIGKILL)


def kill_first(build: Running) -> None:
    os.kill(build.first, signal.SIGKILL)


def until_up(process: subprocess.Popen[bytes]) -> Running:
    assert process.stderr is not None
    for line in process.stderr:
        if line.rstrip().endswith(b" up"):
            return Running(process)
    raise AssertionError("the step did not start")


def start(context: Path, layout: Path, store: Path, *options: str) -> subprocess.Popen[bytes]:
    named = f"--build-context=base=oci-layout://{layout}:latest"
    command = [sys.executable, "-m", "builder.cli.main", "--progress=plain", named, *options, str(context)]
    return subprocess.Popen(
        command, env=environment(store), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    )


ENDS: dict[str, tuple[Callable[[Running], None], int]] = {
    "interrupt": (interrupt, 130),
    "terminate": (terminate, 130),
    "kill-main": (kill_everything_of_ours, -signal.SIGKILL),
    "kill-worker": (kill_worker, 71),
    "kill-helper": (kill_helper, 71),
    "kill-first": (kill_first, 137),
}


@pytest.mark.parametrize("isolation", ["root", "userns", "chroot"])
@pytest.mark.parametrize("end", ENDS)
def test_nothing_outlives_a_build(end: str, isolation: str, busybox_layout: Path, tmp_path: Path, full: bool) -> None:
    need_root("needs root: RUN")
    act, status = ENDS[end]
    limit = AT_ONCE if full else NOT_WAITED
    context = write_context(tmp_path / "context", f"FROM base\nRUN {STUBBORN}\n")
    took: list[float] = []
    while len(took) < ATTEMPTS and not any(one < limit for one in took):
        with start(context, busybox_layout, tmp_path / "store", f"--isolation={isolation}") as process:
            try:
                build = until_up(process)
                assert len(build.step) >= 4, "helper, shell, two sleeps"
                ours_stay = end in ("kill-helper", "kill-first")  # and end by themselves
                pidfds = watch(build.step if ours_stay else build.below)
                act(build)
                took.append(await_end(pidfds))
                said = process.communicate(timeout=30)[1]
            finally:
                process.kill()
        assert process.returncode == status, said
        assert b"Traceback" not in said
        assert mounts(tmp_path) == []
    assert min(took) < limit, f"seconds until everything was gone: {took}"


def test_a_timeout_ends_all_of_the_step(busybox_layout: Path, tmp_path: Path) -> None:
    need_root("needs root: RUN")
    context = write_context(tmp_path / "context", f"FROM base\nRUN {STUBBORN}\n")
    with start(context, busybox_layout, tmp_path / "store", "--timeout=1") as process:
        build = until_up(process)
        pidfds = watch(build.below)
        said = process.communicate(timeout=30)[1]
    assert await_end(pidfds) < GONE_SECONDS
    assert process.returncode == 137, said
    assert b"timeout 1s" in said
    assert mounts(tmp_path) == []
    assert list((tmp_path / "store/tmp").iterdir()) == []


def test_a_registry_that_refuses_ends_the_step_that_is_running(busybox_layout: Path, tmp_path: Path) -> None:
    """Nobody waits for its answer before the first step, and nobody finishes the step after it."""
    need_root("needs root: RUN")
    context = write_context(tmp_path / "context", f"FROM base\nRUN {STUBBORN}\n")
    step_is_up = threading.Event()

    def refuse_then(_: object) -> Fault:
        assert step_is_up.wait(60)
        return Fault(status=403)

    with serve() as registry:
        registry.plan = refuse_then
        push = ("--push", f"--tag={registry.host}/app:1", "--insecure-registry=127.0.0.1")
        with start(context, busybox_layout, tmp_path / "store", *push) as process:
            build = until_up(process)
            pidfds = watch(build.below)
            step_is_up.set()
            said = process.communicate(timeout=30)[1]
        assert await_end(pidfds) < GONE_SECONDS
        assert {one.method for one in registry.seen} == {"POST"}
    assert process.returncode == 77, said
    assert b"cannot push to" in said
    assert b"Traceback" not in said
    assert mounts(tmp_path) == []


def test_what_a_finished_step_left_running_is_gone_in_the_next(busybox_layout: Path, tmp_path: Path) -> None:
    need_root("needs root: RUN")
    left = "setsid sleep 98765 & (sleep 0.01 & exec sleep 98766) & sleep 0.1; exit 0"
    context = write_context(tmp_path / "context", f"FROM base\nRUN {left}\nRUN echo u''p; exec sleep 98767\n")
    with start(context, busybox_layout, tmp_path / "store") as process:
        try:
            build = until_up(process)
            nursery_of(
                build.worker
            )  # waits for the helper of the first step, which may still be dismantling its mounts
            found = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in descendants(build.worker)}
            # Besides worker and nursery the second step's helper and command: no zombie, and no helper of the first.
            assert len(found) == 4, found
            assert not [text for text in found.values() if b"98765" in text or b"98766" in text]
        finally:
            process.kill()

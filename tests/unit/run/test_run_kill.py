"""Whatever process is killed, all a step started is gone and no mount is left (run-sandbox.md 7, items 2 and 3)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import runbox
from runbox import Box

from builder.errors import SandboxError
from tests.support.need import need, need_root
from tests.support.processes import await_end, descendants, helper_of, nursery_of, watch

# A shell that ignores what can be ignored, and a child that has left its session.
STUBBORN = "trap '' TERM INT HUP; setsid sleep 98765 & echo up; sleep 98765"

ENGINE = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[4:]
import runbox
box = runbox.Box(Path(sys.argv[1]), Path(sys.argv[2]))
print(box.sandbox.worker, flush=True)
import threading, os
from builder.run.spec import RunSpec, PackTarget
box.sandbox.run(
    RunSpec(args=("/bin/sh", "-c", sys.argv[3]), env=(("PATH", "/bin"),)), [box.base],
    on_output=lambda stream, data: os.write(1, data), cancel=threading.Event(),
    pack_to=PackTarget(box.root / "o", box.root / "t"))
"""


def engine_victim(pids: list[int]) -> int:
    return pids[0]


def worker_victim(pids: list[int]) -> int:
    return pids[1]


def helper_victim(pids: list[int]) -> int:
    return helper_of(pids[1])


@pytest.mark.parametrize("victim", [engine_victim, worker_victim, helper_victim])
def test_killed_processes_take_the_step_along(tmp_path: Path, victim: Callable[[list[int]], int]) -> None:
    need_root("running steps in root mode needs root")
    busybox = runbox.busybox()
    need(busybox, "needs a static busybox")
    paths = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[3])]
    command = [sys.executable, "-c", ENGINE, tmp_path, str(busybox), STUBBORN, *paths]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as engine:
        try:
            assert engine.stdout is not None
            worker = int(engine.stdout.readline())
            assert engine.stdout.readline() == b"up\n"
            below = descendants(worker)
            assert len(below) >= 5  # worker, nursery, helper, the shell and its child
            survivors = {below[0], nursery_of(below[0])} if victim is helper_victim else set()
            pidfds = watch(pid for pid in below if pid not in survivors)
            os.kill(victim([engine.pid, *below]), signal.SIGKILL)
            await_end(pidfds)
        finally:
            engine.kill()
    assert tmp_path.name not in Path("/proc/mounts").read_text()


def test_the_next_start_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    need_root("running steps in root mode needs root")
    busybox = runbox.busybox()
    need(busybox, "needs a static busybox")
    assert busybox is not None
    left = tmp_path / "tmp" / "1-dead.run" / "step-0" / "w" / "work"
    left.mkdir(parents=True)
    left.chmod(0)
    with runbox.opened(tmp_path, Path(busybox)) as box:
        box.sandbox.sweep()
        assert not (tmp_path / "tmp" / "1-dead.run").exists()


def test_a_dead_worker_is_an_error_and_the_sandbox_can_be_closed(fresh_box: Box) -> None:
    os.kill(fresh_box.sandbox.worker, signal.SIGKILL)
    with pytest.raises(SandboxError, match="ended unexpectedly"):
        fresh_box.run("true")
    fresh_box.close()


def test_steps_need_no_nursery(fresh_box: Box) -> None:
    assert fresh_box.run("true").status.ok
    os.kill(nursery_of(fresh_box.sandbox.worker), signal.SIGKILL)
    assert fresh_box.run("echo all the same").out == "all the same\n"
    fresh_box.close()


def test_a_step_survives_the_thread_that_started_the_worker(fresh_box: Box) -> None:
    thread = threading.Thread(target=lambda: fresh_box.run("true"))
    thread.start()
    thread.join()
    assert fresh_box.run("sleep 0.3; echo still here").out == "still here\n"


def test_an_error_in_the_reader_ends_the_step(fresh_box: Box) -> None:
    from builder.run.spec import PackTarget, RunSpec

    def broken(stream: str, data: bytes) -> None:
        raise KeyError("reporter")

    spec = RunSpec(args=("/bin/sh", "-c", STUBBORN), env=(("PATH", "/bin"),))
    target = PackTarget(fresh_box.root / "o", fresh_box.root / "t")
    worker = fresh_box.sandbox.worker
    with pytest.raises(KeyError):
        fresh_box.sandbox.run(spec, [fresh_box.base], on_output=broken, cancel=threading.Event(), pack_to=target)
    fresh_box.close()
    assert descendants(worker) == [worker]

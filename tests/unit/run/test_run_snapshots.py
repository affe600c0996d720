"""Steps in plain trees and on fuse-overlayfs: as on an overlay, and nothing is left (run-sandbox.md 3; 7, test 21).

The tests of steps that have to do with their tree are collected again here, with another snapshotter.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import runbox
from runbox import Box
from test_run_sandbox import (  # noqa: F401 -- tests, collected with the fixtures of this module
    test_a_stub_that_is_used_stays,
    test_a_tree_of_any_depth_is_removed,
    test_an_image_as_a_mount,
    test_background_processes_do_not_outlive_the_step,
    test_cancel,
    test_epoch_is_the_newest_time,
    test_identity,
    test_many_threads,
    test_mount_points_leave_no_trace,
    test_nothing_changed,
    test_nothing_is_left,
    test_read_only_mounts,
    test_scratch,
    test_secrets_reach_neither_layer_nor_store,
)

from builder.errors import SandboxError
from tests.support.fuse import need_fuse
from tests.support.need import need, need_root, need_tool
from tests.support.processes import await_end, descendants, helper_of, watch

SNAPSHOTTERS = ("copy", "fuse")


def make(root: Path, snapshotter: str) -> Iterator[Box]:
    need_root("running steps in root mode needs root")
    if snapshotter == "fuse":
        need_fuse()
    with runbox.opened(root, busybox(), snapshotter=snapshotter) as box:
        yield box


def busybox() -> Path:
    found = runbox.busybox()
    need(found, "needs a static busybox (Debian: busybox-static)")
    return Path(str(found))


@pytest.fixture(scope="module", params=SNAPSHOTTERS)
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    yield from make(tmp_path_factory.mktemp("store"), request.param)


@pytest.fixture(params=SNAPSHOTTERS)
def fresh_box(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Box]:
    root = tmp_path / "a,b\\c d"
    root.mkdir()
    yield from make(root, request.param)


def test_it_is_the_one_asked_for(box: Box) -> None:
    kind = box.run("while read -r a b c d; do [ $b = / ] && echo $c; done < /proc/mounts").out
    expected = {"fuse": "fuse.fuse-overlayfs"}.get(box.sandbox.snapshotter)
    assert expected is None or kind.split() == [expected]


def test_steps_go_on_from_each_other(fresh_box: Box) -> None:
    """What a step leaves is there for the next, on this stack and on others, and a failing step leaves nothing."""
    scripts = [
        "mkdir -p /d/e; cd /d; echo 1 > f; echo 2 > g; ln f linked; ln -s f link; mkfifo fifo; chown 7:8 g",
        "rm /d/f; mv /d/e /e; rm -r /etc; mkdir /etc; echo 3 >> /d/linked; chmod 4755 /d/g; echo x > /d/h",
        "rm -r /d; mkdir /d; echo 4 > /d/f; touch /etc/passwd",
    ]
    look = "cd /; find d e etc ! -type p | sort | xargs stat -c '%n %a %u %g %F'; [ ! -e /d/bad ]"
    (fresh_box.root / "other").mkdir()
    stack = [fresh_box.base]
    with runbox.opened(fresh_box.root / "other", busybox(), snapshotter="overlay") as overlay:
        for script in scripts:
            ran, ours = overlay.run(script, stack=stack), fresh_box.run(script, stack=stack)
            assert fresh_box.run("echo bad > /d/bad; rm -rf /e; false", stack=stack).status.code == 1
            assert ours.source is not None
            assert ran.names == ours.names
            stack.append(ours.source)
            assert fresh_box.run(look, stack=stack).out == overlay.run(look, stack=stack).out
    assert "f" in fresh_box.run("ls /d", stack=stack[:2]).out.split()


def test_what_is_written_through_a_linked_name_is_that_names(fresh_box: Box) -> None:
    """As on the kernel's overlay, whatever the program between makes of several names."""
    stack = [fresh_box.base]
    scripts = [
        "mkdir -m 711 /a /b; echo x > /a/1; ln /a/1 /b/2; ln /a/1 /b/3",
        "echo y >> /b/2; ls -R / > /dev/null; echo z >> /b/2; chmod 600 /b/3",
        "echo w >> /a/1; rm /a/1",
    ]
    names = [["a", "a/1", "b", "b/2", "b/3"], ["b", "b/2", "b/3"], ["a", "a/.wh.1"]]
    for script, expected in zip(scripts, names, strict=True):
        ran = fresh_box.run(script, stack=stack)
        assert ran.source is not None
        assert ran.names == expected
        stack.append(ran.source)
    look = "cat /b/2 /b/3; stat -c %a /b/2 /b/3"
    assert fresh_box.run(look, stack=stack).out.split() == ["x", "y", "z", "x", "644", "600"]


def test_directories_keep_the_time_a_step_gave_them(fresh_box: Box) -> None:
    made = fresh_box.run("mkdir -p /d/e /kept; touch /d/f /kept/f; touch -d @9 /d/e /d /kept")
    assert made.source is not None
    assert {member.mtime for member in made.members if member.isdir()} == {9}
    script = "rm /kept/f; rm -r /d; mkdir /d; touch -d @8 /d /kept"
    assert {one.name: one.mtime for one in fresh_box.run(script, stack=[fresh_box.base, made.source]).members} == {
        "d": 8,
        "d/.wh.e": 0,
        "d/.wh.f": 0,
        "kept": 8,
        "kept/.wh.f": 0,
    }


def test_directories_on_the_way_to_a_change_keep_their_time(fresh_box: Box) -> None:
    """As the kernel's overlay has it, which puts back what copying up has moved."""
    below = fresh_box.run("mkdir -p /d/e /d/g /h; echo 1 | tee /d/e/f > /d/g/f; touch -d @9 /d/e /d/g /d /h").source
    assert below is not None
    script = "echo 2 >> /d/e/f; chmod 600 /d/g/f; touch /d/g/new; touch -d @5 /h; chmod 700 /h"
    ran = fresh_box.run(script, stack=[fresh_box.base, below])
    times = {member.name: member.mtime for member in ran.members if member.isdir()}
    assert times.pop("d/g") > 1_000_000_000
    assert times == {"d": 9, "d/e": 9, "h": 5}


def test_two_steps_at_once_do_not_meet(box: Box) -> None:
    found: dict[int, str] = {}

    def work(number: int) -> None:
        ran = box.run(f"echo {number} > /mine; sleep 0.2; cat /mine; ls / | grep -c mine")
        found[number] = ran.out

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: f"{number}\n1\n" for number in range(4)}


@pytest.mark.parametrize("victim", ["worker", "helper"])
def test_a_killed_process_takes_everything_along(fresh_box: Box, victim: str) -> None:
    worker = fresh_box.sandbox.worker
    errors: list[BaseException] = []
    started = threading.Event()

    def work() -> None:
        spec = runbox.RunSpec(
            args=("/bin/sh", "-c", "setsid sleep 98765 & echo up; sleep 98765"), env=(("PATH", "/bin"),)
        )
        target = runbox.PackTarget(fresh_box.root / "o", fresh_box.root / "t")
        try:
            fresh_box.sandbox.run(
                spec,
                [fresh_box.base],
                on_output=lambda _stream, _data: started.set(),
                cancel=threading.Event(),
                pack_to=target,
            )
        except SandboxError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert started.wait(20)
    below = descendants(worker)
    helper = helper_of(worker)
    pidfds = watch(descendants(helper) if victim == "helper" else below)
    os.kill(worker if victim == "worker" else helper, signal.SIGKILL)
    await_end(pidfds)
    thread.join()
    assert errors
    fresh_box.close()
    assert fresh_box.root.parent.name not in Path("/proc/mounts").read_text()


@pytest.mark.parametrize("snapshotter", ["overlay", "fuse"])
def test_without_namespaces_there_are_only_copies(tmp_path: Path, snapshotter: str) -> None:
    need_root("needs root: a chroot")
    box = Box(tmp_path, busybox(), "chroot", snapshotter)
    with pytest.raises(SandboxError, match="nothing can be mounted, so --snapshotter=copy"):
        box.run("true")


PROGRAM = """
import json, sys
from pathlib import Path
sys.path[:0] = sys.argv[4:]
import runbox
from builder.errors import BuilderError
told = []
class Listener:
    def emit(self, event):
        told.append(event.message)
try:
    box = runbox.Box(Path(sys.argv[1]), Path(sys.argv[2]), snapshotter=sys.argv[3])
    box.sandbox._reporter = Listener()
    one = box.run("echo 1 > /etc/new; rm /etc/group")
    two = box.run("ls /etc", stack=[box.base, one.source])
    json.dump([box.sandbox.snapshotter, told, one.names, two.out], sys.stdout)
    box.close()
except BuilderError as error:
    json.dump([str(error), error.hint], sys.stdout)
"""


def on_overlayfs(tmp_path: Path, snapshotter: str) -> list[object]:
    """Run steps with the store on an overlay, in a mount namespace of its own."""
    need_root("needs root: overlay mounts")
    need_tool("unshare")
    for name in ("l", "u", "w", "m"):
        (tmp_path / name).mkdir()
    script = 'mount -t overlay x -o lowerdir=l,upperdir=u,workdir=w m; exec "$@"'
    paths = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[3])]
    command = ["unshare", "-m", "sh", "-ec", script, "sh", sys.executable, "-c", PROGRAM]
    command += [str(tmp_path / "m"), str(busybox()), snapshotter, *paths]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    result: list[object] = json.loads(done.stdout)
    return result


def test_a_store_on_overlayfs_falls_back_to_copies_and_says_so(tmp_path: Path) -> None:
    name, told, names, listing = on_overlayfs(tmp_path, "auto")
    assert (name, told) == (
        "copy",
        [
            f"the store {tmp_path}/m is on overlayfs, which cannot be an overlay upper; using copy (slower). "
            "Mount a volume and pass --root DIR."
        ],
    )
    assert names == ["etc", "etc/.wh.group", "etc/new"]
    assert {"new", "passwd"} <= set(str(listing).split())
    assert "group" not in str(listing).split()


@pytest.mark.parametrize(
    ("snapshotter", "text"),
    [("overlay", "is on overlayfs, which cannot be an overlay upper"), ("fuse", "fuse-overlayfs cannot be used")],
)
def test_what_is_asked_for_is_not_replaced(tmp_path: Path, snapshotter: str, text: str) -> None:
    message, hint = on_overlayfs(tmp_path, snapshotter)
    assert text in str(message)
    assert hint

"""Steps without namespaces and mounts: what is lent comes back, what is started ends, and nothing leads out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import runbox
from runbox import Box, directory, link, regular, tar_of

from builder.errors import SandboxError
from builder.run import chroot
from builder.run.spec import BindMount, CacheMount, SecretMount, SshMount, TmpfsMount
from tests.support.need import need
from tests.support.processes import await_end, descendants, watch

STUBBORN = "trap '' TERM INT HUP; (setsid sleep 98765 &); setsid sleep 98765 & echo up; sleep 98765"
ENGINE = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[4:]
import runbox
box = runbox.Box(Path(sys.argv[1]), Path(sys.argv[2]), isolation="chroot")
print(box.sandbox.worker, flush=True)
import threading, os
from builder.run.spec import RunSpec, PackTarget
box.sandbox.run(
    RunSpec(args=("/bin/sh", "-c", sys.argv[3]), env=(("PATH", "/bin"),)), [box.base],
    on_output=lambda stream, data: os.write(1, data), cancel=threading.Event(),
    pack_to=PackTarget(box.root / "o", box.root / "t"))
"""


def program() -> Path:
    need(os.geteuid() == 0, "chroot needs root")
    found = runbox.busybox()
    need(found, "needs a static busybox (Debian: busybox-static)")
    assert found is not None
    return Path(found)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with runbox.opened(tmp_path_factory.mktemp("store"), program(), isolation="chroot") as opened:
        yield opened


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Box]:
    with runbox.opened(tmp_path, program(), isolation="chroot") as opened:
        yield opened


def holds(root: Path, text: bytes) -> list[Path]:
    """Return the files below ``root`` that hold ``text``."""
    return [path for path in root.rglob("*") if path.is_file() and not path.is_symlink() and text in path.read_bytes()]


# --- what the command sees and may do


def test_codes_streams_and_users(box: Box) -> None:
    assert box.sandbox.mode == "chroot"
    assert box.sandbox.view == "root"
    assert [box.run(script).status.code for script in ("true", "exit 7", "kill -9 $$", "nowhere")] == [0, 7, 137, 127]
    assert box.run("/nowhere", "x").status.code == 127
    ran = box.run("id; pwd; umask; echo out > /dev/stdout; echo err > /dev/stderr", user="app", cwd="/work")
    assert ran.out.split("\n")[:3] == ["uid=1000(app) gid=1001(app) groups=10(wheel),1001(app)", "/work", "0022"]
    assert (ran.out.split("\n")[3], ran.err) == ("out", "err\n")
    assert [(each.name, each.uid) for each in ran.members] == [("work", 1000)]


def test_the_devices_are_there_and_leave_no_trace(box: Box) -> None:
    ran = box.run("ls /dev; echo x > /dev/null; head -c 3 /dev/zero | wc -c; echo y > /dev/full; touch /dev/shm/z")
    names = "full null random shm stderr stdout tty urandom zero"
    assert ran.out.split() == [*names.split(), "3"]
    assert "No space left" in ran.err
    assert ran.layer is None


def test_a_dev_of_the_image_comes_back(box: Box) -> None:
    below = box.layer(tar_of([directory("dev"), regular("dev/own", b"1"), link("etc", "/elsewhere")]), [box.base])
    ran = box.run("rm -r /dev/*; mkdir /dev/more; ls /dev; echo 2 > /new", stack=[box.base, below])
    assert ran.out == "more\n"
    assert ran.names == ["new"]


@pytest.mark.parametrize(
    "attempt",
    [
        "mknod /n c 1 3",
        "chroot / true",
        "unshare -U true",
        "unshare -m true",
        "mount -t tmpfs none /mnt",
        "ls /proc/self",
        "kill -0 1 && ls /proc/1/root/",
    ],
)
def test_ways_out_are_closed(box: Box, attempt: str) -> None:
    if attempt.startswith("chroot") and "chroot" not in runbox.APPLETS:
        attempt = "/bin/busybox " + attempt
    assert box.run(attempt).status.code != 0


def test_the_capabilities_that_lead_out_are_gone(box: Box) -> None:
    fields = status_of(box)
    forbidden = sum(1 << number for number in chroot.FORBIDDEN)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(fields[name], 16) & forbidden == 0, name
    assert int(fields["CapEff"], 16) & ~0xA80425FB == 0
    assert fields["Seccomp"] == "2"


def status_of(box: Box, **spec: Any) -> dict[str, str]:
    """Return what the kernel says of a command while it runs, read from outside: it has no /proc itself."""
    reads: list[str] = []

    def look() -> None:
        wait_for(box, b"98761")
        (pid,) = (pid for pid in descendants(box.sandbox.worker) if b"98761" in cmdline(pid))
        reads.append(Path(f"/proc/{pid}/status").read_text())
        cancel.set()

    cancel = threading.Event()
    looking = threading.Thread(target=look)
    looking.start()
    box.run("exec sleep 98761", cancel=cancel, **spec)
    looking.join()
    return dict(line.split(":\t") for line in reads[0].splitlines() if ":\t" in line)


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def sleepers(box: Box) -> list[int]:
    """Return the processes of steps below the worker; the step's own one ends after the answer."""
    return [pid for pid in descendants(box.sandbox.worker) if b"98765" in cmdline(pid)]


def wait_for(box: Box, text: bytes) -> None:
    while not any(text in cmdline(pid) for pid in descendants(box.sandbox.worker)):
        pass


def test_our_processes_cannot_be_looked_into(box: Box) -> None:
    box.run("true")
    for pid in (os.getpid(), box.sandbox.worker):
        assert os.stat(f"/proc/{pid}/mem").st_uid == 0
        done = subprocess.run(["setpriv", "--bounding-set=-all", "cat", f"/proc/{pid}/environ"], capture_output=True)
        assert done.returncode != 0


def test_devices_of_an_image_are_not_there(box: Box) -> None:
    """They could be a disk of the machine's, and no mount forbids to use them."""
    disk, data = regular("srv/disk", b"", 0o666)
    disk.type, disk.devmajor, disk.devminor = tarfile.BLKTYPE, 7, 0
    below = box.layer(tar_of([directory("srv"), (disk, data)]), [box.base])
    ran = box.run("ls /srv; touch /srv/new", stack=[box.base, below])
    assert (ran.out, ran.names) == ("", ["srv", "srv/new"])


# --- what is lent


def test_every_kind_of_mount_leaves_nothing(box: Box, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "shown").mkdir()
    (tmp_path / "shown/file").write_text("shown\n")
    source = box.layer(tar_of([directory("s"), regular("s/f", b"stage\n"), link("s/out", "/etc/passwd")]))
    mounts = (
        BindMount(target="/new/b", source=tmp_path / "shown"),
        BindMount(target="/new/w", stack=(source,), subpath="s", readonly=False),
        CacheMount(target="/new/deep/cache", source=tmp_path / "cache"),
        TmpfsMount(target="/bin/t"),
        SecretMount(target="/run/secrets/s", data=b"hush\n"),
    )
    script = "cat /new/b/file /new/w/f /run/secrets/s; touch /new/b/x /new/w/x /bin/t/x; echo 1 >> /new/deep/cache/n"
    for count in (1, 2):
        ran = box.run(script, mounts=mounts)
        assert (ran.out, ran.err, ran.layer) == ("shown\nstage\nhush\n", "", None)
        assert (tmp_path / "cache/n").read_text() == "1\n" * count
    assert os.listdir(tmp_path / "shown") == ["file"]


def test_whoever_runs_may_write_to_temporary_files_where_nothing_was(box: Box) -> None:
    below = box.layer(tar_of([directory("kept", 0o750)]), [box.base])
    mounts = (TmpfsMount(target="/new/t"), TmpfsMount(target="/kept"))
    ran = box.run("stat -c %a /new/t /kept", stack=[box.base, below], mounts=mounts)
    assert ran.out == "1777\n750\n"


def test_what_was_in_the_place_comes_back(box: Box, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("other")
    old = [directory("etc"), regular("etc/resolv.conf", b"image's"), directory("d"), regular("d/f", b"1")]
    below = box.layer(tar_of(old), [box.base])
    mounts = (BindMount(target="/d/f", source=tmp_path / "f"), TmpfsMount(target="/bin/sub"))
    script = "cat /d/f; rm /d/f /etc/resolv.conf; mkdir /d/f; rm /etc/hosts; echo x > /etc/hosts; rm -r /bin/sub"
    ran = box.run(script, stack=[box.base, below], mounts=mounts)
    assert (ran.out, ran.layer) == ("other", None)
    ran = box.run("cat /etc/resolv.conf; mv /etc /moved", stack=[box.base, below])
    assert "moved/resolv.conf" in ran.names
    assert "moved/hosts" not in ran.names


def test_a_target_that_leads_to_the_root_is_refused(box: Box) -> None:
    below = box.layer(tar_of([link("round", "/")]), [box.base])
    with pytest.raises(SandboxError, match="root directory"):
        box.run("true", stack=[box.base, below], mounts=(TmpfsMount(target="/round"),))


def test_links_lead_nowhere_outside(box: Box, tmp_path: Path) -> None:
    below = box.layer(tar_of([link("abs", str(tmp_path)), link("up", "../../../../../../tmp")]), [box.base])
    mounts = (SecretMount(target="/abs/s", data=b"a"), SecretMount(target="/up/s", data=b"b"))
    ran = box.run(f"cat {tmp_path}/s /tmp/s", stack=[box.base, below], mounts=mounts)
    assert (ran.out, ran.layer) == ("ab", None)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "theft", ["ln /run/secrets/s /stolen", "mv /run/secrets/s /stolen", "mv /run/secrets/s /home; exit 3"]
)
def test_a_secret_that_is_linked_fails_the_step_and_is_wiped(fresh: Box, theft: str) -> None:
    secret = SecretMount(target="/run/secrets/s", data=b"very secret")
    with pytest.raises(SandboxError, match="a link to the secret s"):
        fresh.run(f"mkdir /home; {theft}", mounts=(secret,))
    fresh.close()
    assert holds(fresh.root, b"very secret") == []


def test_a_secret_is_gone_from_the_disk(fresh: Box) -> None:
    secret = SecretMount(target="/k", data=b"very secret", uid=1000, gid=1001, mode=0o440)
    ran = fresh.run("cat /k; ls -ln /k", user="app", mounts=(secret,))
    assert ran.out.startswith("very secret-r--r-----    1 1000     1001")
    assert fresh.run("rm /k; mkdir /k", mounts=(secret,)).layer is None
    fresh.close()
    assert holds(fresh.root, b"very secret") == []


def test_a_socket_is_there_by_another_name(box: Box, tmp_path: Path) -> None:
    import socket

    place = box.root / f"agent-{box.next()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()
        mounts = (SshMount(target="/run/agent", source=place),)
        ran = box.run("ls -l /run/agent | cut -c 1-10", mounts=mounts)
    assert (ran.out, ran.layer) == ("srw-------\n", None)
    assert place.is_socket()


def test_a_cache_is_in_one_place_only(box: Box, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    mounts = tuple(CacheMount(target=f"/{name}", source=tmp_path / "c") for name in "ab")
    with pytest.raises(SandboxError, match="a cache can be in one place"):
        box.run("true", mounts=mounts)
    assert (tmp_path / "c").is_dir()


def test_a_cache_on_another_file_system_is_copied(box: Box) -> None:
    import tempfile

    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        cache = Path(name, "cache")
        cache.mkdir()
        (cache / "old").write_text("1")
        mounts = (CacheMount(target="/c", source=cache),)
        ran = box.run("cat /c/old; rm /c/old; mkdir /c/d; echo 2 > /c/d/new; chown 5:6 /c/d/new", mounts=mounts)
        assert (ran.out, ran.layer) == ("1", None)
        assert sorted(path.name for path in cache.rglob("*")) == ["d", "new"]
        assert (cache / "d/new").stat().st_uid == 5
        assert os.listdir(name) == ["cache"]


def test_no_network_is_not_to_be_had(box: Box) -> None:
    with pytest.raises(SandboxError, match="cannot take the network"):
        box.run("true", network="none")


# --- ends


def test_background_processes_end_with_the_step(box: Box) -> None:
    ran = box.run("(setsid sleep 98765 &); sleep 98765 & (sleep 98765 & sleep 98765) & echo done")
    assert (ran.out, ran.status.code) == ("done\n", 0)
    assert sleepers(box) == []


def test_a_timeout_and_a_cancelled_step_leave_nobody(box: Box) -> None:
    ran = box.run(STUBBORN, timeout=0.3)
    assert (ran.status.code, ran.status.why) == (137, "timeout 0.3s")
    cancel = threading.Event()
    timer = threading.Timer(0.3, cancel.set)
    timer.start()
    assert box.run(STUBBORN, cancel=cancel).status.why == "cancelled"
    assert sleepers(box) == []


@pytest.mark.parametrize("victim", ["engine", "worker", "helper"])
def test_killed_processes_take_the_step_along(tmp_path: Path, victim: str) -> None:
    paths = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[3])]
    command = [sys.executable, "-c", ENGINE, tmp_path, program(), STUBBORN, *paths]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as engine:
        try:
            assert engine.stdout is not None
            worker = int(engine.stdout.readline())
            assert engine.stdout.readline() == b"up\n"
            below = descendants(worker)
            assert len(below) >= 5  # worker, helper, the shell and its children
            pidfds = watch(below)
            os.kill({"engine": engine.pid, "worker": below[0], "helper": below[1]}[victim], signal.SIGKILL)
            await_end(pidfds[1:] if victim == "helper" else pidfds)
        finally:
            engine.kill()


def test_steps_at_the_same_time(box: Box) -> None:
    found: dict[int, str] = {}

    def work(number: int) -> None:
        found[number] = box.run(f"echo {number} > /f; sleep 0.1; cat /f; ls /dev/null; (sleep 98765 &)").out

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: f"{number}\n/dev/null\n" for number in range(6)}
    assert sleepers(box) == []

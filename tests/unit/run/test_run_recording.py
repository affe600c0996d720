"""Changes of owners that are recorded: every call for real, made by a process that waits for our answers."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import random
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import runbox

from builder.rootfs.whiteout import OWNER, decode_owner
from builder.run import init, seccomp
from builder.run.recording import Recorder
from builder.run.spec import CacheMount, SecretMount
from tests.support.need import need, need_root, need_user_namespaces

MACHINE = os.uname().machine
NEVER_OPEN = 1 << 20
COLUMN = {"x86_64": 0, "aarch64": 2}.get(MACHINE, -1)
KEEP, CWD, NOFOLLOW, EMPTY = 0xFFFFFFFF, -100, 0x100, 0x1000

# Needs no right: no_new_privs is set first. Reads calls as JSON, a line each: number, arguments (a text is a pointer to
# it), and prints what each returned, errors as negative numbers.
CALLER = """
import ctypes, json, os, signal, sys
sys.path.insert(0, sys.argv[2])
from builder.run import init
from builder.run.seccomp import recorder
assert init.libc.prctl(38, *[ctypes.c_ulong(value) for value in (1, 0, 0, 0)]) == 0
if sys.argv[1] != "-1":
    init.pass_on(int(sys.argv[1]), ("recorder",), init.listener(recorder(os.uname().machine)))
signal.signal(signal.SIGALRM, lambda *_: None)
signal.siginterrupt(signal.SIGALRM, False)
for line in sys.stdin:
    number, *arguments = json.loads(line)
    if number == "open":
        print(os.open(arguments[0], os.O_RDONLY), flush=True)
    elif number == "chroot":
        os.chroot(arguments[0])
        print(0, flush=True)
    elif number == "timer":
        signal.setitimer(signal.ITIMER_REAL, arguments[0], arguments[0])
        print(0, flush=True)
    else:
        given = [one.encode() if isinstance(one, str) else ctypes.c_long(one) for one in arguments]
        result = init.libc.syscall(number, *given)
        print(-ctypes.get_errno() if result == -1 else result, flush=True)
"""


class Caller:
    """A process whose changes of owners we answer."""

    def __init__(self, directory: Path, *, record: bool = True) -> None:
        need(COLUMN >= 0, "no filter for this machine")
        self.warnings: list[str] = []
        self.recorder: Recorder | None = None
        ours, theirs = socket.socketpair()
        checkout = Path(__file__).resolve().parents[3]
        self.process = subprocess.Popen(
            [sys.executable, "-c", CALLER, str(theirs.fileno()) if record else "-1", checkout],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[theirs.fileno()],
            cwd=directory,
        )
        theirs.close()
        if not record:
            ours.close()
            return
        with ours:
            head, fds, _, _ = socket.recv_fds(ours, 4, 1)
            assert init.receive(ours.fileno(), head) == ("recorder",)
        self.recorder = Recorder(fds[0], self.warnings.append)

    def __call__(self, name: str, *arguments: int | str) -> int:
        numbers = {**seccomp.RECORDED, **seccomp.PRETENDED}
        return self.ask(numbers[name][COLUMN], *arguments)

    def ask(self, *words: int | float | str) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate()
        if self.recorder is not None:
            self.recorder.close()


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    made = Caller(tmp_path)
    yield made
    made.close()


def owner(path: Path) -> tuple[int, int] | None:
    try:
        return decode_owner(os.getxattr(path, OWNER))
    except OSError:
        return None


def chown(caller: Caller, path: str, uid: int, gid: int) -> int:
    """Call fchownat, which every machine has."""
    return caller("fchownat", CWD, path, uid, gid, 0)


def test_owners_are_kept_and_changed_by_halves(caller: Caller, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.touch()
    before = file.stat()
    for (uid, gid), recorded in [
        ((33, 44), (33, 44)),
        ((KEEP, 5), (33, 5)),
        ((6, KEEP), (6, 5)),
        ((KEEP, KEEP), (6, 5)),
        ((KEEP - 1, 70000), (KEEP - 1, 70000)),
        ((0, 0), None),
        ((0, 0), None),
        ((KEEP, 7), (0, 7)),
    ]:
        assert chown(caller, "f", uid, gid) == 0
        assert owner(file) == recorded
    after = file.stat()
    assert (after.st_uid, after.st_gid, after.st_mtime_ns) == (before.st_uid, before.st_gid, before.st_mtime_ns)
    assert after.st_ctime_ns > before.st_ctime_ns


def test_every_way_to_name_a_file(caller: Caller, tmp_path: Path) -> None:
    (tmp_path / "d/e").mkdir(parents=True)
    for name in ("f", "d/f", "d/e/f"):
        (tmp_path / name).touch()
    (tmp_path / "up").symlink_to("d/../d/f")
    (tmp_path / "d/out").symlink_to(tmp_path / "f")
    directory, file = caller.ask("open", "d"), caller.ask("open", "d/e/f")
    asked: list[tuple[str, Sequence[int | str], str]] = [
        ("fchownat", (CWD, "f", 1, 1, 0), "f"),
        ("fchownat", (CWD, str(tmp_path / "f"), 2, 2, 0), "f"),
        ("fchownat", (directory, str(tmp_path / "d/f"), 3, 3, NOFOLLOW), "d/f"),
        ("fchownat", (directory, "f", 4, 4, 0), "d/f"),
        ("fchownat", (directory, "e/../../f", 5, 5, 0), "f"),
        ("fchownat", (directory, "out", 6, 6, 0), "f"),
        ("fchownat", (CWD, "up", 7, 7, 0), "d/f"),
        ("fchownat", (CWD, "d/", 8, 8, 0), "d"),
        ("fchownat", (file, "", 9, 9, EMPTY), "d/e/f"),
        ("fchownat", (directory, "", 10, 10, EMPTY), "d"),
        ("fchownat", (file, 0, 11, 11, EMPTY), "d/e/f"),
        ("fchownat", (CWD, "", 12, 12, EMPTY), ""),
        ("fchownat", (CWD, "d/e", 13, 13, EMPTY | NOFOLLOW), "d/e"),
        ("fchownat", (CWD, f"/dev/fd/{file}", 14, 14, 0), "d/e/f"),
        ("fchownat", (CWD, f"/proc/self/fd/{directory}", 15, 15, 0), "d"),
        ("fchown", (file, 16, 16), "d/e/f"),
    ]
    if COLUMN == 0:
        asked += [
            ("chown", ("d/../f", 17, 17), "f"),
            ("chown", ("d/out", 18, 18), "f"),
            ("lchown", ("d/f", 19, 19), "d/f"),
        ]
    for name, arguments, file_name in asked:
        assert caller(name, *arguments) == 0, arguments
        number = 17 if name == "chown" else arguments[-2 if name == "fchown" else 2]
        number = arguments[1] if name in ("chown", "lchown", "fchown") else number
        assert owner(tmp_path / file_name) == (number, number), arguments


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((CWD, "missing", 1, 1, 0), errno.ENOENT),
        ((CWD, "", 1, 1, 0), errno.ENOENT),
        ((CWD, "f/below", 1, 1, 0), errno.ENOTDIR),
        ((CWD, "f/", 1, 1, 0), errno.ENOTDIR),
        ((CWD, "loop", 1, 1, 0), errno.ELOOP),
        ((CWD, "dangling", 1, 1, 0), errno.ENOENT),
        ((NEVER_OPEN, "f", 1, 1, 0), errno.EBADF),
        ((NEVER_OPEN, "", 1, 1, EMPTY), errno.EBADF),
        ((-1, "f", 1, 1, 0), errno.EBADF),
        ((CWD, "f", 1, 1, 0x400), errno.EINVAL),
        ((CWD, 8, 1, 1, 0), errno.EFAULT),
        ((CWD, 0, 1, 1, 0), errno.EFAULT),
        ((CWD, -8, 1, 1, 0), errno.EFAULT),
        ((CWD, "x" * 256, 1, 1, 0), errno.ENAMETOOLONG),
        ((CWD, "./" * 2048 + "f", 1, 1, 0), errno.ENAMETOOLONG),
    ],
)
def test_mistakes_are_answered_as_the_kernel_does(
    caller: Caller, tmp_path: Path, arguments: tuple[int | str, ...], problem: int
) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("gone")
    assert caller("fchownat", *arguments) == -problem
    # The kernel's own answer, of a process without the filter.
    libc = ctypes.CDLL(None, use_errno=True)
    given = [one.encode() if isinstance(one, str) else ctypes.c_long(one) for one in arguments]
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        result = libc.syscall(seccomp.RECORDED["fchownat"][COLUMN], *given)
        assert (result, ctypes.get_errno()) == (-1, problem)
    finally:
        os.chdir(here)
    assert owner(tmp_path / "f") is None


def test_files_lose_what_a_chown_takes(caller: Caller, tmp_path: Path) -> None:
    for name, mode in (("suid", 0o4755), ("sgid", 0o2755), ("locking", 0o2644), ("both", 0o6711)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    (tmp_path / "d").mkdir()
    (tmp_path / "d").chmod(0o3755)
    for name in ("suid", "sgid", "locking", "both", "d"):
        assert chown(caller, name, 3, KEEP) == 0
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    if os.geteuid() == 0:
        assert modes.pop("locking") == 0o2644
    modes.pop("locking", None)
    assert modes == {"suid": 0o755, "sgid": 0o755, "both": 0o711, "d": 0o3755}


def test_capabilities_go_with_the_owner(caller: Caller, tmp_path: Path) -> None:
    need_root("needs root: capabilities of files")
    file = tmp_path / "ping"
    file.touch()
    os.setxattr(file, "security.capability", runbox.CAPABILITY.encode("latin-1"))
    assert chown(caller, "ping", 0, 0) == 0
    assert os.listxattr(file) == []


def test_what_cannot_carry_an_owner(caller: Caller, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "link").symlink_to("f")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo", "link"):
        assert caller("fchownat", CWD, name, 0, 0, NOFOLLOW) == 0
    assert caller.warnings == []
    for name in ("link", "fifo", "link"):
        assert caller("fchownat", CWD, name, 5, 6, NOFOLLOW) == 0
    (warning,) = caller.warnings
    assert warning.startswith("link: with one uid")
    assert "not to 5:6" in warning
    assert owner(tmp_path / "f") is None
    for place in ("/dev/stdout", "/dev/stdin"):  # pipes
        assert caller("fchownat", CWD, place, 5, 6, 0) == 0


def test_nothing_outside_of_the_callers_root(caller: Caller, tmp_path: Path) -> None:
    need_root("needs root: chroot")
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "tmp").mkdir(parents=True)
    for directory in (tmp_path, root, root / "tmp"):
        (directory / "outside").touch()
    for number, target in enumerate((outside, "../../../outside", f"/..{outside}", "/proc/self/root/outside")):
        (root / f"link{number}").symlink_to(target)
    assert caller.ask("chroot", "root") == 0
    answers = [chown(caller, f"/link{number}", 1 + number, 0) for number in range(4)]
    assert answers == [-errno.ENOENT, 0, -errno.ENOENT, -errno.ENOENT]
    assert (owner(root / "outside"), owner(outside)) == ((2, 0), None)
    assert chown(caller, "/../../outside", 9, 9) == 0
    # Its working directory stayed outside, as the kernel lets it, and it reaches what it always could.
    assert chown(caller, "outside", 7, 7) == 0
    assert (owner(root / "outside"), owner(outside)) == ((9, 9), (7, 7))


def rights_of(pid: int) -> list[str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return [line for line in lines if line.startswith(("Uid:", "Gid:", "Groups:", "Cap"))]


def test_becoming_somebody_else_is_pretended(caller: Caller) -> None:
    before = rights_of(caller.process.pid)
    for name, numbers in seccomp.PRETENDED.items():
        if numbers[COLUMN] >= 0:
            assert caller(name, 12345, 12345, 12345) == 0, name
    assert rights_of(caller.process.pid) == before


def test_signals_do_not_disturb(caller: Caller, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    assert caller.ask("timer", 0.0005) == 0
    assert {chown(caller, "f", number, number) for number in range(1, 300)} == {0}
    assert caller.ask("timer", 0) == 0
    assert owner(tmp_path / "f") == (299, 299)


def test_a_caller_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    caller = Caller(tmp_path)
    assert caller.process.stdin is not None
    call = [seccomp.RECORDED["fchownat"][COLUMN], CWD, "f", 1, 1, 0]
    caller.process.stdin.write((json.dumps(call) + "\n") * 2000)
    caller.process.kill()
    caller.close()


def test_closing_ends_a_recorder_whose_caller_lives(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    caller = Caller(tmp_path)
    assert caller.recorder is not None
    caller.recorder.close()
    assert chown(caller, "f", 1, 1) == -errno.ENOSYS
    caller.process.communicate()


PIECES = ("a", "b", "..", ".", "", "f", "g", "out", "round", "in", "missing", "top")


def plant(root: Path) -> None:
    """Make a tree with links of every direction; ``top`` leads to its top from wherever it is."""
    for place in ("", "a", "a/b", "b", "b/a"):
        (root / place).mkdir(exist_ok=True)
        for name in ("f", "g"):
            (root / place / name).touch()
            (root / place / name).chmod(0o6755)
        (root / place / "out").symlink_to("../b/f")
        (root / place / "in").symlink_to("a/../b")
        (root / place / "round").symlink_to("round")
        (root / place / "top").symlink_to("/")


def state(root: Path, recorded: bool) -> dict[str, tuple[int, int, int]]:
    found = {}
    for path in sorted(root.rglob("*")):
        if not path.is_symlink():
            status = path.stat()
            uid, gid = (owner(path) or (0, 0)) if recorded else (status.st_uid, status.st_gid)
            found[str(path.relative_to(root))] = (uid, gid, status.st_mode)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_random_calls_do_what_the_kernel_does(seed: int, tmp_path: Path) -> None:
    """The same calls of two processes in roots of their own: one is answered by us, the other by the kernel."""
    need_root("needs root: chroot, and owners to compare with")
    chance = random.Random(seed)
    ours, kernels = tmp_path / "ours", tmp_path / "kernels"
    for root in (ours, kernels):
        root.mkdir()
        plant(root)
    answered, plain = Caller(ours), Caller(kernels, record=False)
    for one in (answered, plain):
        assert one.ask("chroot", ".") == 0
        assert [one.ask("open", place) for place in ("a", "b/a", "f")] != []
    first = 3  # descriptors of the caller: both opened the same ones in the same order
    for _ in range(400):
        path = "/".join(chance.choices(PIECES, k=chance.randrange(1, 6)))
        directory = chance.choice([CWD, CWD, first, first + 1, first + 2, first + 9])
        flags = chance.choice([0, 0, NOFOLLOW, EMPTY, EMPTY | NOFOLLOW, 1])
        owners = [chance.choice([0, 1, 33, 70000, KEEP]) for _ in range(2)]
        words = ["fchownat", directory, path, *owners, flags]
        if chance.random() < 0.2:
            words = ["fchown", directory, *owners]
        results = [one(*words) for one in (answered, plain)]  # type: ignore[arg-type]  # the first word is a name
        assert results[0] == results[1], words
        assert state(ours, recorded=True) == state(kernels, recorded=False), words
    answered.close()
    plain.close()


def test_only_one_can_listen() -> None:
    """As in containers whose engine answers calls itself."""
    need(COLUMN >= 0, "no filter for this machine")
    twice = CALLER.partition("init.pass_on")[0].rstrip().removesuffix('if sys.argv[1] != "-1":') + (
        "first = init.listener(recorder(os.uname().machine))\n"
        "try:\n    init.listener(recorder(os.uname().machine))\n"
        "except init.Failure as failure:\n    print(*failure.report)\n"
    )
    checkout = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", twice, "-", checkout], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("setup 71 with one uid owners are recorded, which the system refuses")
    assert "resource busy" in done.stdout


# --- in steps


@pytest.fixture(scope="module", params=["overlay", "copy"])
def single(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[runbox.Box]:
    need_user_namespaces()
    busybox = runbox.busybox()
    need(busybox, "needs a static busybox (Debian: busybox-static)")
    assert busybox is not None
    with runbox.opened(tmp_path_factory.mktemp("store"), Path(busybox), "single", request.param) as box:
        yield box


def owners(ran: runbox.Ran) -> dict[str, tuple[int, int]]:
    assert (ran.status.code, ran.err) == (0, "")
    return {member.name: (member.uid, member.gid) for member in ran.members}


@pytest.fixture(scope="module")
def owned(single: runbox.Box) -> list[Any]:
    """Layers as a COPY --chown makes them, on the base."""
    tar = runbox.tar_of(
        [
            (runbox.directory("srv", 0o2755)[0], b""),
            runbox.regular("srv/a", b"aaa", owner=33),
            runbox.regular("srv/b", b"bbb", owner=33),
            runbox.directory("etc"),
            runbox.directory("etc/apt"),
            runbox.directory("etc/apt/apt.conf.d"),
        ]
    )
    return [single.base, single.layer(tar, [single.base])]


def test_owners_of_layers_below_stay(single: runbox.Box, owned: list[Any]) -> None:
    first = single.run("chmod 600 /srv/a; mv /srv/b /srv/c; ln /srv/c /srv/d; mkdir /e; chown 7:8 /e", stack=owned)
    expected = {"e": (7, 8), "srv": (0, 0), "srv/a": (33, 33), "srv/c": (33, 33), "srv/d": (33, 33)}
    assert owners(first) == {**expected, "srv/.wh.b": (0, 0)}
    assert all("rootlesscontainers" not in name for one in first.members for name in one.pax_headers)
    again = single.run("touch /e/f; echo x >> /srv/a", stack=[*owned, first.source])
    assert owners(again) == {"e": (7, 8), "e/f": (0, 0), "srv": (0, 0), "srv/a": (33, 33)}


def test_the_same_owner_is_no_change(single: runbox.Box, owned: list[Any]) -> None:
    assert single.run("chown 33:33 /srv/a; chown 0:0 /srv /etc/passwd", stack=owned).layer is None
    assert owners(single.run("chown 33:34 /srv/a", stack=owned)) == {"srv": (0, 0), "srv/a": (33, 34)}


def test_the_root_directory_and_recursion(single: runbox.Box, owned: list[Any]) -> None:
    ran = single.run(
        "mkdir -p /t/u; touch /t/u/f; ln -s /srv/a /t/u/s; chown -R 3:4 /t; chown -R 0:0 /srv", stack=owned
    )
    expected = {"t": (3, 4), "t/u": (3, 4), "t/u/f": (3, 4), "t/u/s": (0, 0)}
    assert owners(ran) == {**expected, "srv": (0, 0), "srv/a": (0, 0), "srv/b": (0, 0)}


def test_apt_stays_root(single: runbox.Box, owned: list[Any]) -> None:
    ran = single.run("cat /etc/apt/apt.conf.d/zz-pybuild; ls -a /etc/apt/apt.conf.d; touch /new", stack=owned)
    assert ran.out.splitlines() == ['APT::Sandbox::User "root";', ".", "..", "zz-pybuild"]
    assert owners(ran) == {"new": (0, 0)}
    assert single.run("ls /etc/apt").status.code == 1  # not made where there is no apt


def test_mounts_belong_to_root(single: runbox.Box, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    mounts = (
        SecretMount(target="/secret", data=b"x", uid=1000, gid=1000),
        CacheMount(target="/cache", source=tmp_path / "cache", uid=1000, gid=1000, mode=0o700),
    )
    ran = single.run("cat /secret; stat -c ' %u:%g %a' /secret /cache; chown 5:6 /cache", mounts=mounts)
    assert ran.out.split() == ["x", "0:0", "400", "0:0", "700"]
    assert owners(ran) == {}


def test_other_users_are_refused_or_ignored(single: runbox.Box) -> None:
    with pytest.raises(Exception, match=r"USER app: uid 1000 gid 1001 do not exist.*") as caught:
        single.run("true", user="app")
    assert "--ignore-user" in str(getattr(caught.value, "hint", ""))
    assert single.run("su app -c 'id -u'").out == "0\n"


def test_rights_are_the_usual_ones(single: runbox.Box) -> None:
    ran = single.run("grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs)' /proc/self/status | cut -f 2")
    mask = "00000000a80425fb"
    assert ran.out.split() == ["0" * 16, mask, mask, mask, "0" * 16, "0"]


def test_other_modes_record_nothing(box: runbox.Box, single: runbox.Box) -> None:
    count = "grep Seccomp_filters /proc/self/status | cut -f 2"
    assert int(single.run(count).out) == int(box.run(count).out) + 1
    assert owners(box.run("touch /f; chown 33:44 /f; ls -ln /f | grep -q ' 33 *44 '")) == {"f": (33, 44)}

"""Locks, leases and cache mounts between threads and processes."""

import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from builder.cache import locks
from builder.cache.store import Store
from builder.errors import InterruptedBuildError

REPO = Path(__file__).parents[3]

# Does what it is told, says so, and waits for its standard input to end.
HOLDER = """
import sys
from contextlib import ExitStack
from pathlib import Path
from builder.cache.store import Store
store = Store.open(Path(sys.argv[1]))
stack = ExitStack()
for order in sys.argv[2:]:
    match order.split(":"):
        case ["lock", name]: stack.enter_context(store.lock(name))
        case ["mount", name, sharing]: stack.enter_context(store.acquire_mount(name, sharing))
        case ["file"]: store.temporary(".blob").write_bytes(b"half")
        case ["scratch"]: (store.scratch() / "f").write_bytes(b"x")
        case ["run"]: (store.scratch(run=True) / "f").write_bytes(b"x")
        case ["lease"]: store.hold_lease()
print("ready", flush=True)
sys.stdin.read()
stack.close()
store.close()
"""


class Holder:
    """Another process with a store open."""

    def __init__(self, root: Path, *orders: str) -> None:
        arguments = [sys.executable, "-c", HOLDER, str(root), *orders]
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPO)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.communicate()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def finish(self):
        self.process.communicate()
        assert self.process.returncode == 0


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(root):
    with Store.open(root) as store:
        yield store


def free(store: Store, name: str) -> bool:
    """Whether nobody holds a lock."""
    cancel = threading.Event()
    cancel.set()
    try:
        with store.lock(name, cancel=cancel):
            return True
    except InterruptedBuildError:
        return False


def tmp(store: Store) -> list[str]:
    try:
        return sorted(name.partition(".")[2].rpartition(".")[2] for name in os.listdir(store.root / "tmp"))
    except FileNotFoundError:
        return []


# Locks


def test_a_lock_keeps_other_processes_out_and_leaves_no_file(store, root):
    with Holder(root, "lock:a") as holder:
        assert not free(store, "a")
        assert free(store, "b")
        holder.finish()
        assert free(store, "a")
    assert os.listdir(root / "locks") == []


def test_a_waiter_takes_over_from_a_killed_owner(store, root):
    with Holder(root, "lock:a") as holder:
        seen = []

        def waiting() -> None:  # the lock is not free at this moment, and the owner dies
            seen.append(not free(store, "a"))
            holder.kill()

        with store.lock("a", waiting=waiting):
            assert not free(store, "a")
        assert seen == [True]
    assert os.listdir(root / "locks") == []


def test_a_lock_keeps_threads_out_and_they_take_turns(store):
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(20):
            with store.lock("a"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 120
    assert set(most) == {1}
    assert os.listdir(store.root / "locks") == []


def test_a_wait_can_be_called_off(store, root):
    cancel = threading.Event()
    with Holder(root, "lock:a"):
        with pytest.raises(InterruptedBuildError), store.lock("a", cancel=cancel, waiting=cancel.set):
            pytest.fail("got the lock of another process")
        assert not free(store, "a")


def test_shared_locks_are_shared(tmp_path):
    path = tmp_path / "l"
    with locks.hold(path, shared=True), locks.hold(path, shared=True):
        assert locks.try_lock(path) is None
    fd = locks.try_lock(path)
    assert fd is not None
    os.close(fd)


def test_descriptors_do_not_reach_other_programs(tmp_path):
    fd = locks.try_lock(tmp_path / "l")
    assert fd is not None
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_a_lock_that_cannot_be_had_is_a_warning(tmp_path):
    warned: list[str] = []
    with locks.hold(Path("/dev/null/lock"), warn=warned.append):
        pass
    assert "/dev/null/lock" in warned[0]


def test_the_lock_files_of_the_dead_are_removed_and_those_of_the_living_kept(root):
    with Holder(root, "lock:dead") as dead, Holder(root, "lock:alive"):
        dead.kill()
        with Store.open(root) as store:
            assert len(os.listdir(root / "locks")) == 1
            assert not free(store, "alive")


# Temporary files and leases


def test_temporary_files_of_the_dead_are_removed_at_the_next_start(root):
    with Holder(root, "file", "scratch", "run") as dead, Holder(root, "file", "scratch") as alive:
        with Store.open(root) as store:
            assert len(tmp(store)) == 5
            assert store.stale_scratch() == []
            assert len(store.leases()) == 2
        dead.kill()
        with Store.open(root) as store:
            assert len(tmp(store)) == 3
            (stale,) = store.stale_scratch()
            assert stale.name.endswith(".run")
            assert (stale / "f").exists()
            assert len(store.leases()) == 1
        alive.finish()
        with Store.open(root) as store:
            assert tmp(store) == ["run"]
            assert os.listdir(root / "leases") == []


def test_closing_removes_our_own_and_the_store_can_be_used_again(store, root):
    store.temporary(".x").write_bytes(b"")
    (store.scratch() / "deep").mkdir()
    store.close()
    assert tmp(store) == []
    assert os.listdir(root / "leases") == []
    assert store.scratch().is_dir()
    assert len(store.leases()) == 1


def test_two_stores_in_one_process_do_not_sweep_each_other(root):
    with Store.open(root) as first:
        directory = first.scratch()
        with Store.open(root) as second:
            assert len(second.leases()) == 1
            second.hold_lease()
            assert len(first.leases()) == 2
        assert directory.is_dir()


def test_directories_that_cannot_be_written_to_are_removed_too(root):
    with Holder(root, "scratch") as holder:
        holder.kill()
    (scratch,) = (root / "tmp").iterdir()
    (scratch / "a/b").mkdir(parents=True)
    (scratch / "a/b/f").write_text("x")
    (scratch / "a/link").symlink_to("/")
    for path in (scratch / "a/b", scratch / "a", scratch):
        path.chmod(0o555)
    with Store.open(root) as store:
        assert tmp(store) == []


def test_a_sweep_does_not_follow_links(root, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("x")
    with Store.open(root) as store:
        store.hold_lease()
        dead = f"1-{'d' * 16}.{'e' * 16}"
        (root / f"tmp/{dead}.link").symlink_to(tmp_path / "precious")
        (root / f"tmp/{dead}.tree").mkdir()
        (root / f"tmp/{dead}.tree/link").symlink_to(tmp_path / "precious")
    with Store.open(root) as store:
        assert tmp(store) == []
    assert (tmp_path / "precious/file").exists()


def test_files_of_libraries_are_removed_when_they_are_old(root):
    with Store.open(root) as store:
        for name in ("tmpnew1234", "tmpold1234", ".hidden"):
            (store.directory("tmp") / name).write_text("x")
        for name in ("tmpold1234", ".hidden"):
            os.utime(root / "tmp" / name, (1, 1))
    with Store.open(root):
        assert os.listdir(root / "tmp") == ["tmpnew1234"]


# Cache mounts


def test_a_shared_mount_is_one_directory_for_all(store, root):
    with Holder(root, "mount:go:shared"), store.acquire_mount("go") as first, store.acquire_mount("go") as second:
        assert first == second
        assert first.is_dir()
        assert first.is_relative_to(root / "mounts")


def test_private_mounts_are_separate_and_reused(store, root):
    with ExitStack() as stack:
        first = stack.enter_context(store.acquire_mount("go", "private"))
        second = stack.enter_context(store.acquire_mount("go", "private"))
        stack.enter_context(Holder(root, "mount:go:private"))
        third = stack.enter_context(store.acquire_mount("go", "private"))
        assert len({first, second, third}) == 3
        assert third.name == "3"
        (first / "kept").write_text("x")
    with store.acquire_mount("go", "private") as again:
        assert (again / "kept").exists()


def test_a_locked_mount_is_waited_for(store, root):
    with Holder(root, "mount:go:locked") as holder:
        with store.acquire_mount("other", "locked"):
            pass
        with store.acquire_mount("go", "locked", waiting=holder.kill) as path:
            cancel = threading.Event()
            with (
                pytest.raises(InterruptedBuildError),
                store.acquire_mount("go", "shared", cancel=cancel, waiting=cancel.set),
            ):
                pytest.fail("shared a locked mount")
        assert path.is_dir()


def test_an_id_is_no_path(store, root):
    with store.acquire_mount("../../../etc") as path:
        assert path.parent.parent == root / "mounts"


def test_locks_of_layers_that_were_never_unpacked_are_swept(root):
    Store.open(root).close()
    home = root / "layers" / "root"
    (home / ".locks").mkdir(parents=True)
    for name in ("unpacked", "orphan", "busy", ".boot"):
        (home / ".locks" / name).touch()
    (home / "unpacked").mkdir()
    (home / ".boot").touch()
    with locks.hold(home / ".locks" / "busy"), Store.open(root):
        assert sorted(os.listdir(home / ".locks")) == [".boot", "busy", "unpacked"]
    Store.open(root).close()
    assert sorted(os.listdir(home / ".locks")) == [".boot", "unpacked"]

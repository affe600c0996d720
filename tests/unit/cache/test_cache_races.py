"""Many processes on one store, and processes killed at every instant."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

from builder.cache.keys import key
from builder.cache.selectors import Selector
from builder.cache.store import Store
from builder.image.digest import DiffID, Digest

REPO = Path(__file__).parents[3]
KEYS = [key("race", 1, number) for number in range(40)]


def record_all(root, number, start, results):
    """Record every key with a result of our own; report the winners."""
    warnings: list[str] = []
    with Store.open(root, warn=warnings.append) as store:
        start.wait()
        mine = Selector(DiffID(Digest.of(b"%d" % number)), number)
        store.blobs.put(b"%d" % number)
        store.blobs.put(b"common" * 10_000)
        winners = [store.selectors.record(each, mine) for each in KEYS]
    results.put((winners, warnings))


def race(root: Path, processes: int = 6) -> list[tuple[list[Selector], list[str]]]:
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(processes), context.Queue()
    workers = [context.Process(target=record_all, args=(root, n, start, results)) for n in range(processes)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    results.close()
    results.join_thread()
    return found


def check_race(root: Path, found: list[tuple[list[Selector], list[str]]]) -> None:
    with Store.open(root) as store:
        for index, each in enumerate(KEYS):
            (winner,) = {winners[index] for winners, _ in found}
            assert store.selectors.find(each) == winner
        assert store.blobs.read(Digest.of(b"common" * 10_000)) is not None
        assert all(store.blobs.verify(Digest.of(b"%d" % n)) for n in range(len(found)))
    for name in ("tmp", "leases", "locks"):
        assert not (root / name).is_dir() or os.listdir(root / name) == []


def test_all_who_race_agree_on_one_winner(tmp_path):
    root = tmp_path / "store"
    found = race(root)
    assert all(warnings == [] for _, warnings in found)
    check_race(root, found)


def test_all_who_race_to_replace_damaged_selectors_agree_on_one_winner(tmp_path):
    root = tmp_path / "store"
    with Store.open(root) as store:
        for each in KEYS:
            store.selectors.record(each, Selector(None, 99))
            (root / "selectors" / each[:2] / each).write_bytes(b"damaged")
    found = race(root)
    assert any(warnings for _, warnings in found)
    check_race(root, found)


# Runs the same work again and again, each time in a fresh store, killed one system call later than the time before.
# The audit hook sees every open, rename, link, unlink, mkdir, lock and fsync that Python makes.
KILLED = r"""
import os, signal, sys
from pathlib import Path
from builder.cache.keys import key
from builder.cache.refs import RefRecord
from builder.cache.selectors import Selector
from builder.cache.store import Store
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID, Digest
import errno, json, shutil

KEY = key("killed", 1, "a")
DIFF_ID = DiffID(Digest.of(b"layer"))
SELECTOR = Selector(DIFF_ID, 5)
BLOB = b"blob" * 100_000
DESCRIPTOR = Descriptor(media_type="m", digest=Digest.of(BLOB), size=len(BLOB))
REF = RefRecord("localhost/a:1", DESCRIPTOR, 1, True)
EVENTS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.chmod", "os.listdir", "fcntl.flock", "os.fsync"}
after_killing = sys.argv[2] == "damaged"

def work(root):
    with Store.open(root) as store:
        with store.lock(KEY):
            store.blobs.put(BLOB)
            toc = store.temporary()
            toc.write_bytes(b"toc")
            store.publish_toc(toc, DIFF_ID)
            store.variants.put(DIFF_ID, "gzip", DESCRIPTOR)
            (store.scratch() / "file").write_bytes(b"x")
            assert store.selectors.record(KEY, SELECTOR) == SELECTOR
        store.parsed.put(KEY, b"parsed")
        store.refs.put(REF)
        with store.acquire_mount("id", "private"):
            pass

def damage(root):
    # As a killed machine might leave it: every small file emptied.
    work(root)
    for kind in ("selectors", "variants", "parsed", "refs"):
        for path in (root / kind).rglob("*"):
            if path.is_file():
                os.truncate(path, 0)

def check(root, warned):
    with Store.open(root, warn=warned.append) as store:
        assert store.blobs.read(DESCRIPTOR.digest) in (None, BLOB)
        path = store.toc_path(DIFF_ID)
        assert not path.exists() or path.read_bytes() == b"toc"
        for found, wanted in (
            (store.selectors.find(KEY), SELECTOR),
            (store.variants.get(DIFF_ID, "gzip"), DESCRIPTOR),
            (store.parsed.get(KEY), b"parsed"),
            (store.refs.get(REF.reference), REF),
        ):
            assert found is None or found == wanted, found
        if store.selectors.find(KEY) is not None and not after_killing:
            # What is recorded last points to what is there.
            assert store.blobs.verify(DESCRIPTOR.digest)
    for name in ("tmp", "leases", "locks"):
        left = os.listdir(root / name) if (root / name).is_dir() else []
        assert left == [], (name, left)

def complete(root):
    work(root)
    with Store.open(root, warn=complain) as store:
        assert store.blobs.verify(DESCRIPTOR.digest)
        assert store.selectors.find(KEY) == SELECTOR
        assert store.refs.get(REF.reference) == REF

def complain(text):
    raise AssertionError(text)

def killed(root, number):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    left = number
    def hook(event, _):
        nonlocal left
        if event in EVENTS:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    try:
        work(root)
        os._exit(0)
    except BaseException:
        import traceback
        traceback.print_exc()
    os._exit(1)

number = 0
while True:
    root = Path(sys.argv[1]) / str(number)
    if after_killing:
        damage(root)
    alive = not killed(root, number)
    warned = []
    check(root, warned)
    if not after_killing:
        assert warned == [], warned
    complete(root)
    if alive:
        break
    shutil.rmtree(root)
    number += 1
print(number)
"""


def kill_at_every_instant(tmp_path: Path, mode: str) -> int:
    arguments = [sys.executable, "-c", KILLED, str(tmp_path), mode]
    result = subprocess.run(arguments, capture_output=True, text=True, cwd=REPO, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    return int(result.stdout)


def test_a_process_killed_at_any_instant_leaves_a_store_that_works(tmp_path):
    assert kill_at_every_instant(tmp_path, "fresh") > 50


def test_a_process_killed_while_it_repairs_leaves_a_store_that_works(tmp_path):
    assert kill_at_every_instant(tmp_path, "damaged") > 40

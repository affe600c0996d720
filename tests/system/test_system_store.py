"""Stores that are only read, builds without a network, and pruning while builds go on."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.cli import digest_of, environment, pybuild, write_context
from tests.support.commands import run
from tests.support.need import need_root
from tests.support.registry import TestRegistry

DOCKERFILE = "FROM {base}\nWORKDIR /srv\nCOPY a /srv/a\nRUN cat a > b\n"
COPIES = "FROM {base}\nWORKDIR /srv\nCOPY a /srv/a\n"
AT = {"SOURCE_DATE_EPOCH": "1700000000"}

AUDIT = """
import os, sys
def refuse(event, arguments):
    if event.startswith("socket.") and event != "socket.__new__":
        os.write(2, f"SOCKET {event} {arguments!r}\\n".encode())
    if event == "socket.__new__" and arguments[1] != 1:
        os.write(2, f"SOCKET family {arguments[1]}\\n".encode())
sys.addaudithook(refuse)
from builder.cli.main import main
sys.exit(main())
"""


def snapshot(root: Path) -> dict[str, tuple[int, int, int]]:
    return {
        str(path.relative_to(root)): (info.st_mtime_ns, info.st_size, info.st_ctime_ns)
        for path in sorted(root.rglob("*"))
        if (info := path.lstat()) is not None
    }


@pytest.fixture
def warm(busybox_image: str, tmp_path: Path) -> Path:
    """A store that pybuild warm made, two hours ago."""
    root = tmp_path / "warm"
    pybuild("warm", "--store", root, busybox_image, root=tmp_path / "unused")
    for path in root.rglob("*"):
        os.utime(path, (path.lstat().st_mtime - 7200,) * 2)
    return root


def test_warm_says_what_it_has(busybox_image: str, tmp_path: Path) -> None:
    done = pybuild("warm", "--json", "--store", tmp_path / "warm", busybox_image, root=tmp_path / "unused")
    (one,) = json.loads(done.stdout)
    assert one["layers"] == 1
    assert len(list((tmp_path / "warm" / "toc").iterdir())) == 1
    assert not (tmp_path / "unused").exists()


def test_a_build_finds_its_base_in_a_store_it_only_reads(
    warm: Path, registry: TestRegistry, busybox_image: str, tmp_path: Path
) -> None:
    need_root("needs root: RUN")
    context = write_context(tmp_path / "context", DOCKERFILE.format(base=busybox_image), {"a": b"x"})
    expected = digest_of(pybuild(context, root=tmp_path / "plain", env=AT))
    before, mark = snapshot(warm), registry.mark()
    done = pybuild("--store-ro", warm, "--pull=missing", "-t", "app", context, root=tmp_path / "own", env=AT)
    assert digest_of(done) == expected
    assert registry.requests(since=mark) == []
    assert snapshot(warm) == before
    # What has a name is whole without the other store, but for the base's layers, which the registry has.
    pybuild("save", "-o", tmp_path / "app.tar", "app", root=tmp_path / "own")


def test_results_of_a_store_that_is_only_read_are_hits(busybox_image: str, tmp_path: Path) -> None:
    context = write_context(tmp_path / "context", COPIES.format(base=busybox_image), {"a": b"x"})
    expected = digest_of(pybuild(context, root=tmp_path / "first", env=AT))
    before = snapshot(tmp_path / "first")
    env = {**AT, "PYBUILD_STORE_RO": str(tmp_path / "first")}
    for name in ("app:1", "app:2"):
        done = pybuild("--offline", "-t", name, context, root=tmp_path / "own", env=env)
        assert digest_of(done) == expected
        assert done.stderr.count("CACHED") == 3
    assert snapshot(tmp_path / "first") == before
    # The image's own layers were copied.
    pybuild("save", "-o", tmp_path / "app.tar", "app:1", root=tmp_path / "own")


def test_damage_in_a_store_that_is_only_read_is_found_and_remembered(
    warm: Path, busybox_image: str, tmp_path: Path
) -> None:
    need_root("needs root: RUN")
    context = write_context(tmp_path / "context", DOCKERFILE.format(base=busybox_image), {"a": b"x"})
    expected = digest_of(pybuild(context, root=tmp_path / "plain", env=AT))
    blob = max((warm / "blobs").rglob("*/*"), key=lambda path: path.lstat().st_size if path.is_file() else 0)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    build = ("--store-ro", warm, context)
    first = pybuild(*build, root=tmp_path / "own", env=AT)
    assert f"{blob} is damaged and is not used any more" in first.stderr
    assert digest_of(first) == expected  # a pod has no second try
    assert digest_of(pybuild(*build, root=tmp_path / "own", env=AT)) == expected
    assert blob.read_bytes() == data


def test_no_store_to_read(tmp_path: Path) -> None:
    context = write_context(tmp_path / "context", "FROM scratch\nCOPY a /\n", {"a": b"x"})
    (tmp_path / "other").mkdir()
    assert "is not a store" in pybuild("--store-ro", tmp_path / "other", context, root=tmp_path, status=64).stderr
    (tmp_path / "other" / "VERSION").write_text("pybuild store 99\n")
    done = pybuild("--store-ro", tmp_path / "other", context, root=tmp_path / "own", status=64)
    assert "a store of another format" in done.stderr


def test_damage_that_a_command_finds_is_removed_and_made_again(tmp_path: Path) -> None:
    root = tmp_path / "own"
    context = write_context(tmp_path / "context", "FROM scratch\nCOPY a /\n", {"a": b"x" * 5000})
    expected = digest_of(pybuild("-t", "app", context, root=root, env=AT))
    (blob,) = [one for one in (root / "blobs").rglob("*/*") if one.is_file() and one.read_bytes()[:2] == b"\x1f\x8b"]
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    save = ("save", "-o", tmp_path / "app.tar", "app")
    first = pybuild(*save, root=root, status=67)
    assert first.stderr.count(f"{blob} is damaged and was removed") == 1
    assert "built, loaded or pulled again" in first.stderr
    assert "built, loaded or pulled again" in pybuild(*save, root=root, status=73).stderr
    assert digest_of(pybuild("-t", "app", context, root=root, env=AT)) == expected
    pybuild(*save, root=root)


# Offline


def test_offline_no_socket_is_opened(warm: Path, busybox_image: str, tmp_path: Path) -> None:
    context = write_context(tmp_path / "context", COPIES.format(base=busybox_image), {"a": b"x"})
    words = ["--offline", "--store-ro", str(warm), "-t", "localhost/app", str(context)]
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", AUDIT, *words],
            env=environment(tmp_path / "own", AT),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "SOCKET" not in done.stderr
    told = subprocess.run(
        [sys.executable, "-c", AUDIT, *words[1:], "--pull=always"],
        env=environment(tmp_path / "own", AT),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "SOCKET" in told.stderr  # the hook sees them


@pytest.mark.parametrize(
    ("dockerfile", "words", "status", "said"),
    [
        ("FROM localhost:1/absent\n", [], 69, "--offline: a registry would have to be asked"),
        ("FROM scratch\nADD http://localhost:1/file /\n", [], 66, "--offline: http://localhost:1/file would have to"),
        ("FROM scratch\nADD https://localhost:1/a.git /\n", [], 66, "--offline: a git repository would have to"),
        ("FROM scratch\n", ["--push", "-t", "localhost:1/a"], 64, "--offline forbids it"),
        ("FROM scratch\n", ["--pull=always"], 64, "--offline forbids it"),
        ("FROM scratch\n", ["--cache-to", "type=registry,ref=localhost:1/a"], 64, "--offline forbids it"),
    ],
)
def test_offline_says_what_is_missing(
    tmp_path: Path, dockerfile: str, words: list[str], status: int, said: str
) -> None:
    context = write_context(tmp_path / "context", dockerfile)
    assert said in pybuild("--offline", *words, context, root=tmp_path / "own", status=status).stderr


def test_offline_no_context_is_fetched(tmp_path: Path) -> None:
    done = pybuild("--offline", "http://localhost:1/context.tar", root=tmp_path / "own", status=66)
    assert "--offline: the build context would have to be fetched" in done.stderr


# Pruning


def test_builds_and_prunes_at_the_same_time(busybox_layout: Path, tmp_path: Path, full: bool) -> None:
    """Prunes remove all they may, some of them are killed; every build ends with the right digest."""
    need_root("needs root: RUN")
    chance = random.Random(7)
    contexts, expected = [], []
    named = f"--build-context=base=oci-layout://{busybox_layout}:latest"
    lines = "FROM base\nCOPY a /a\nRUN --mount=type=cache,target=/c cp /a /c/x && cp /c/x /b\nWORKDIR /w\nCOPY a /w/\n"
    for number in range(2):
        context = write_context(tmp_path / f"context-{number}", lines, {"a": chance.randbytes(200_000)})
        contexts.append(context)
        expected.append(digest_of(pybuild(named, context, root=tmp_path / f"alone-{number}", env=AT)))
    root, over, failures = tmp_path / "store", threading.Event(), []

    def prune() -> None:
        while not over.is_set():
            with subprocess.Popen(
                [sys.executable, "-m", "builder.cli.main", "cache", "prune", "--all"],
                env=environment(root),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            ) as process:
                try:
                    said = process.communicate(timeout=chance.choice((0.3, 0.5, 20)))[1]
                    if process.returncode:
                        failures.append(said)
                except subprocess.TimeoutExpired:
                    process.kill()

    pruning = threading.Thread(target=prune)
    pruning.start()
    try:
        for number in range(40 if full else 6):
            which = number % 2
            done = pybuild(named, "-t", f"x:{which}", contexts[which], root=root, env=AT)
            assert digest_of(done) == expected[which]
            assert "is damaged" not in done.stderr
    finally:
        over.set()
        pruning.join()
    assert failures == []
    pybuild("cache", "prune", "--all", root=root)
    assert json.loads(pybuild("cache", "du", "--json", root=root).stdout)["total"] == 0
    assert list(root.rglob("*.gone-*")) == []
    assert os.listdir(root / "leases") == []


@pytest.mark.parametrize("kind", ["subuid_user", "plain_user"])
def test_prune_removes_files_of_subordinate_users(
    request: pytest.FixtureRequest, kind: str, busybox_layout: Path, tmp_path: Path
) -> None:
    user = request.getfixturevalue(kind)
    root = user.home / "pruned"
    lines = (
        "FROM base\nRUN mkdir -m 700 /d && echo x >/d/f && chown -R 1000:1000 /d\n"
        "RUN --mount=type=cache,target=/c,uid=1000,mode=0700"
        " mkdir -m 700 /c/d && dd if=/dev/zero of=/c/d/f bs=64k count=8 && chown -R 1000:1000 /c/d\n"
    )
    context = write_context(user.home / "pruning", lines)
    shutil.copytree(busybox_layout, user.home / "layout", dirs_exist_ok=True)
    run(["chown", "-R", f"{user.uid}:{user.gid}", context, user.home / "layout"])
    named = f"--build-context=base=oci-layout://{user.home}/layout:latest"
    user.pybuild("--root", root, "--ignore-user", named, context)
    usage = json.loads(user.pybuild("cache", "du", "--json", "--root", root).stdout)
    sizes = {one["type"]: one["size"] for one in usage["types"]}
    assert sizes["mount"] > 512 << 10
    assert sizes["unpacked"] > 512 << 10
    user.pybuild("cache", "prune", "--all", "--root", root)
    assert json.loads(user.pybuild("cache", "du", "--json", "--root", root).stdout)["total"] == 0
    assert list(root.rglob("f")) == []

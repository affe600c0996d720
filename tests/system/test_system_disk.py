"""Disks that are full, fail, refuse or forget, under the store: never a wrong image, and the file is named."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cli import pybuild, write_context
from tests.support.commands import run
from tests.support.diskfaults import KINDS, DiskFault
from tests.support.need import need_root

DOCKERFILE = """\
FROM base AS one
COPY a /a
RUN --mount=type=cache,target=/c cp /a /c/x && cp /c/x /b
FROM base
WORKDIR /w
COPY --from=one /b /w/b
ADD b.tar /t/
"""
COPIES = "FROM base\nCOPY a /a\nWORKDIR /w\nADD b.tar /t/\n"
AT = {"SOURCE_DATE_EPOCH": "1700000000"}
FAILURES = (67, 71, 73)
"""The statuses with which a build may end: damaged layers, a RUN that could not be set up, the store."""


class Project:
    """A context, what it gives, and how to build it."""

    def __init__(self, place: Path, layout: Path, dockerfile: str) -> None:
        self._named = f"--build-context=base=oci-layout://{layout}:latest"
        chance = random.Random(3)
        (place / "t").mkdir(parents=True)
        (place / "t" / "file").write_bytes(chance.randbytes(50_000))
        run(["tar", "-cf", place / "b.tar", "--mtime=@1700000000", "-C", place, "t"])
        files: dict[str, str | bytes] = {"a": chance.randbytes(300_000), "b.tar": (place / "b.tar").read_bytes()}
        self._context = write_context(place / "context", dockerfile, files)
        self._out = place / "out.tar"
        self.expected = self.built(place / "clean")

    def build(
        self, root: Path, status: int | tuple[int, ...] = 0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        self._out.unlink(missing_ok=True)
        words = [
            self._named,
            "-t",
            "x:1",
            f"--output=type=oci,dest={self._out}",
            "--jobs=1",
            f"--iidfile={self._out}.id",
        ]
        return pybuild(*words, self._context, root=root, status=status, env={**AT, **(env or {})})

    def built(self, root: Path) -> str:
        """Build, check every byte of the image, and return its digest."""
        self.build(root)
        pybuild("validate", f"oci-archive:{self._out}", root=root.with_name("looking"))
        return Path(f"{self._out}.id").read_text()

    def is_right(self, root: Path) -> None:
        """Check what was built, then that the store is good for a build from now on."""
        assert self.built(root) == self.expected

    def check_output(self) -> None:
        """Check the image that the last build wrote."""
        assert Path(f"{self._out}.id").read_text() == self.expected
        pybuild("validate", f"oci-archive:{self._out}", root=self._out.with_name("looking"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, busybox_layout: Path) -> Project:
    need_root("needs root: RUN")
    return Project(tmp_path_factory.mktemp("project"), busybox_layout, DOCKERFILE)


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory, busybox_layout: Path) -> Project:
    return Project(tmp_path_factory.mktemp("copies"), busybox_layout, COPIES)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of which a test may change the size."""
    need_root("needs root: mount")
    place = tmp_path / "small"
    place.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=16k,nr_inodes=100000,mode=700", "small", place])
    try:
        yield place
    finally:
        run(["umount", "-l", place])


@pytest.mark.parametrize("what", ["size", "nr_inodes"])
def test_a_full_disk(project: Project, small: Path, what: str, full: bool) -> None:
    sizes = {"size": ("60k", "200k", "700k", "1500k", "3m"), "nr_inodes": ("8", "20", "40", "70", "110")}[what]
    told, hints = 0, 0
    for size in sizes if full else sizes[::2]:
        run(["mount", "-o", f"remount,size=64m,nr_inodes=100000,{what}={size}", small])
        done = project.build(small / "store", status=(0, 1, *FAILURES))
        if done.returncode == 0:
            project.check_output()
        else:
            told += str(small) in done.stderr or "No space left" in done.stderr
            hints += "hint: free some space" in done.stderr
        run(["mount", "-o", "remount,size=64m,nr_inodes=100000", small])
        project.is_right(small / "store")
        shutil.rmtree(small / "store")
    assert told
    assert hints or not full


def fill(path: Path) -> None:
    with open(path, "wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))


def test_a_build_that_finds_everything_works_on_a_full_disk(copies: Project, small: Path) -> None:
    run(["mount", "-o", "remount,size=64m", small])
    copies.is_right(small / "store")
    with pytest.raises(OSError, match="No space left"):
        fill(small / "filler")
    done = copies.build(small / "store")
    assert "are free on the file system of the store" in done.stderr
    assert f"cannot write {small}/store/refs/" in done.stderr
    copies.check_output()
    (small / "filler").unlink()
    copies.is_right(small / "store")


def test_layers_that_cannot_fit_are_not_fetched(busybox_image: str, small: Path, tmp_path: Path) -> None:
    run(["mount", "-o", "remount,size=300k", small])
    done = pybuild("pull", busybox_image, root=small / "store", status=73)
    assert f"the store {small}/store has room for" in done.stderr
    assert "pybuild cache prune" in done.stderr


def test_a_store_on_a_read_only_file_system(copies: Project, tmp_path: Path) -> None:
    need_root("needs root: mount")
    root = tmp_path / "store"
    copies.is_right(root)
    run(["mount", "--bind", root, root])
    try:
        run(["mount", "-o", "remount,ro,bind", root])
        for words in (["--root", root, tmp_path], ["cache", "prune", "--root", root]):
            assert str(root) in pybuild(*words, root=root, status=73).stderr
        # Looking at it needs no more than reading.
        usage = json.loads(pybuild("cache", "du", "--json", root=root).stdout)
        assert usage["root"] == str(root)
        assert {one["type"] for one in usage["types"]} >= {"layer", "image", "result", "toc"}
        assert "layer" in pybuild("cache", "ls", root=root).stdout
        assert "would free" in pybuild("cache", "prune", "--dry-run", "--root", root, root=tmp_path / "x").stdout
        env = {"PYBUILD_STORE_RO": str(root)}
        done = copies.build(tmp_path / "own", env=env)
        assert done.stderr.count("CACHED") == 4
        copies.check_output()
    finally:
        run(["umount", "-l", root])


# Single calls that fail


def copy(store: Path, to: Path) -> None:
    """Copy a store as it is: its unpacked layers have links that lead anywhere."""
    run(["cp", "-a", "--", store, to])


def faults(which: str, seed: int) -> list[DiskFault]:
    """Return all faults of a kind, or one of each of five kinds."""
    chance = random.Random(seed)
    every = [
        DiskFault(kind, number, nth)
        for kind, numbers in KINDS.items()
        for number in numbers
        for nth in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89)
    ]
    if which in KINDS:
        return [one for one in every if one.kind == which]
    return [chance.choice([one for one in every if one.kind == kind]) for kind in chance.sample(sorted(KINDS), 5)]


@pytest.mark.parametrize("which", KINDS if os.environ.get("PYBUILD_TEST_FULL") else ["some"])
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_a_call_that_fails(project: Project, tmp_path: Path, warm: bool, which: str) -> None:
    happened, good = 0, tmp_path / "good"
    if warm:
        project.is_right(good)
    beyond: set[int] = set()
    for number, fault in enumerate(faults(which, seed=warm)):
        if fault.number in beyond and which in KINDS:
            continue
        root, told = tmp_path / f"store-{number}", tmp_path / f"told-{number}"
        if warm:
            copy(good, root)
        done = project.build(root, status=(0, 1, *FAILURES), env=fault.environment(root, told))
        happened += told.exists()
        if not told.exists():  # there are not as many calls
            beyond.add(fault.number)
        if done.returncode == 0:
            project.check_output()
        else:
            assert told.exists(), f"{fault}: failed without a reason\n{done.stderr}"
            assert str(root) in done.stderr, f"{fault}: does not name the file\n{done.stderr}"
        project.is_right(root)
        assert os.listdir(root / "leases") == [], fault
        assert os.listdir(root / "tmp") == [], fault
        shutil.rmtree(root)
    # A build that finds everything has nothing to sync or to link.
    assert bool(happened) is not (warm and which in ("sync", "link"))


@pytest.mark.parametrize("more", ["", "FROM base\nCOPY --from=0 /a /b\n"], ids=["output", "copy"])
def test_a_layer_that_the_disk_does_not_give_back(busybox_layout: Path, tmp_path: Path, more: str) -> None:
    need_root("needs root: RUN")
    root, named = tmp_path / "store", f"--build-context=base=oci-layout://{busybox_layout}:latest"
    # What is made the second time is another file, and lies elsewhere on the disk.
    text = "FROM base\nRUN head -c 64 /dev/urandom >/a\n"
    pybuild(named, write_context(tmp_path / "context", text), root=root)
    (blob,) = [one for one in (root / "blobs").rglob("*/*") if one.is_file() and is_small_layer(one)]
    context = write_context(tmp_path / "context", text + more)
    fault = DiskFault("read", errno.EIO, 0).environment(blob, tmp_path / "told")
    out = tmp_path / "out"
    done = pybuild(named, f"--output=type=local,dest={out}", context, root=root, env=fault)
    assert (tmp_path / "told").exists()
    assert f"cannot read {blob}: Input/output error" in done.stderr
    assert done.stderr.count(f"{blob} is damaged and was removed") == 1
    assert (out / ("b" if more else "a")).stat().st_size == 64
    assert not blob.exists()


def is_small_layer(path: Path) -> bool:
    return path.stat().st_size < 10_000 and path.read_bytes().startswith(b"\x1f\x8b")


# Files that are not what they were


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


NAMED = {"blobs", "selectors", "variants", "parsed"}
"""Whose damage a build tells that needs them; that of others costs time, or is told when somebody asks for them."""


@pytest.mark.parametrize("damage", [flip, truncate, empty])
def test_damage_to_any_file(copies: Project, tmp_path: Path, damage: Callable[[Path], None], full: bool) -> None:
    whole = tmp_path / "whole"
    copies.is_right(whole)
    files = [path.relative_to(whole) for path in sorted(whole.rglob("*")) if path.is_file()]
    files = [
        path
        for path in files
        if path.parts[0] not in ("VERSION", "locks", "layers", "trimmed") and path.name != "VERSION"
    ]
    kinds = {path.parts[0] for path in files}
    assert kinds >= {"blobs", "selectors", "variants", "refs", "toc", "parsed", "stat", "records"}
    for kind in sorted(kinds if full or damage is flip else kinds & NAMED):
        # All files of the kind at once: whatever is looked at is damaged.
        root = tmp_path / kind
        copy(whole, root)
        for path in files:
            if path.parts[0] == kind and (root / path).stat().st_size:
                damage(root / path)
        said = copies.build(root).stderr
        copies.check_output()
        copies.is_right(root)
        if kind in NAMED:
            assert f"{root}/{kind}" in said, f"{kind}: not told\n{said}"
        pybuild("cache", "ls", root=root)
        pybuild("explain", "--build-context=base=scratch", tmp_path, root=root, status=(0, 64, 65, 66, 67))


def test_a_damaged_version_is_refused(copies: Project, tmp_path: Path) -> None:
    copies.is_right(tmp_path / "store")
    (tmp_path / "store" / "VERSION").write_bytes(b"pybuild stor")
    assert (
        "a store of another format" in pybuild("images", "--root", tmp_path / "store", root=tmp_path, status=73).stderr
    )

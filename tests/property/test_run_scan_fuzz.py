"""Random programs in a plain tree: two scans find all they changed, and the layer is an overlay's (run-sandbox.md 5).

After every layer the tree must look like an overlay mount of the layers, like what the tars give to code that knows
neither, and like a tree made of the layers from scratch, times included.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from test_rootfs_diff_fuzz import (
    LAYERS,
    VISIBLE,
    check_links,
    check_shape,
    run_program,
    to_tar,
    visible,
    without_root,
)

from builder.rootfs.diff import diff
from builder.rootfs.entry import Kind
from builder.run import flat
from builder.run import scan as scanning
from builder.run.flat import Copier, apply
from builder.run.layers import Layers
from builder.run.scan import Changes, Key, Table, scan, settle
from tests.support.need import need_root
from tests.support.overlay import mounted
from tests.support.trees import Tree, difference, tree_of_directory, tree_of_layers

SEEDS = 150 if os.environ.get("PYBUILD_TEST_FULL") else 15
COPIER = Copier(single=False)


@dataclass
class Stage:
    """A tree with what is known of it, and the layers it came from."""

    home: Path
    layers: Layers
    table: Table = field(default_factory=dict)
    lowers: list[Path] = field(default_factory=list)
    tars: list[bytes] = field(default_factory=list)
    below: Tree = field(default_factory=dict)

    @property
    def tree(self) -> Path:
        return self.home / "tree"

    def step(self, program: Callable[[], None]) -> None:
        """Let a program run, cut the layer, and compare."""
        settle(self.table)
        program()
        number = len(self.lowers)
        upper = self.home / f"upper-{number}"
        upper.mkdir()
        changes = Changes(self.table, scan(str(self.tree)))
        changes.stage(str(self.tree), upper, self.lowers, COPIER)
        items = list(diff(upper, self.lowers))
        check_shape(items, self.below)
        check_links(upper, items)
        self.tars.append(to_tar(items))
        seen = visible(self.tree)
        assert difference(without_root(tree_of_layers(self.tars)), seen, fields=VISIBLE) == []
        emitted = {i.entry.path: None if i.entry.kind is Kind.WHITEOUT else i.entry.mtime for i in items}
        changes.tidy(str(self.tree), emitted, COPIER)
        self.table = changes.refreshed(str(self.tree), emitted)
        assert self.table == scan(str(self.tree))
        self.layers.adopt(upper, str(number), emitted)
        self.lowers.append(self.layers.path(str(number)))
        self.compare(number, seen)

    def compare(self, number: int, seen: Tree) -> None:
        with mounted(self.home / f"mount-{number}", self.lowers) as root:
            assert difference(visible(root), seen, fields=VISIBLE) == []
        fresh = self.home / "fresh"
        fresh.mkdir()
        fd = os.open(fresh, os.O_RDONLY)
        for layer in self.lowers:
            apply(str(layer), fd, COPIER)
        os.close(fd)
        times = (*VISIBLE, "mtime")
        kept = without_root(tree_of_directory(self.tree))
        assert difference(without_root(tree_of_directory(fresh)), kept, fields=times) == []
        shutil.rmtree(fresh)
        self.below = seen


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    need_root("needs root: overlay mounts")
    (tmp_path / "tree").mkdir()
    (tmp_path / "scratch").mkdir()
    return Stage(tmp_path, Layers(tmp_path, "view", tmp_path / "scratch", single=False))


def programs(stage: Stage, seed: int) -> None:
    source = random.Random(seed)
    for number in range(LAYERS):
        steps = source.choice([3, 12, 40]) if number else 60
        stage.step(lambda steps=steps: run_program(stage.tree, source.randrange(1 << 30), steps))  # type: ignore[misc]  # called at once


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_scan_finds_what_a_program_changed(seed: int, stage: Stage) -> None:
    programs(stage, seed)


@pytest.mark.parametrize("seed", range(10))
def test_a_forged_time_is_found(seed: int, stage: Stage) -> None:
    """The same size, the same mtime, at once after the scan."""
    names = [f"f{number}" for number in range(20)]

    def make() -> None:
        for name in names:
            (stage.tree / name).write_bytes(b"a" * 9)
            os.utime(stage.tree / name, ns=(10**9, 10**9))

    def forge() -> None:
        for name in random.Random(seed).sample(names, 10):
            (stage.tree / name).write_bytes(os.urandom(9))
            os.utime(stage.tree / name, ns=(10**9, 10**9))

    stage.step(make)
    stage.step(forge)
    assert len([one for one in stage.lowers[-1].iterdir() if one.is_file()]) == 10


def test_a_directory_that_only_got_a_new_time_keeps_the_old_one(stage: Stage) -> None:
    directory = stage.tree / "d"

    def make() -> None:
        directory.mkdir()
        os.utime(directory, ns=(10**9, 10**9))

    def visit() -> None:
        (directory / "x").touch()
        (directory / "x").unlink()

    stage.step(make)
    stage.step(visit)
    assert stage.tars[-1] == to_tar([])
    assert directory.stat().st_mtime == 1


def blind_to_ctime(status: os.stat_result) -> Key:
    return (status.st_mode, status.st_uid, status.st_gid, status.st_size, status.st_mtime_ns, 0, 0, 1, status.st_rdev)


def without_whiteouts(self: object, path: str) -> None:
    del self, path


BUGS = {
    "a key without ctime and inode": (scanning, "key", blind_to_ctime),
    "deleted names are forgotten": (scanning._Staging, "delete", without_whiteouts),
    "deletions of layers are not applied": (flat, "is_whiteout", lambda _status: False),
    "attributes of directories stay": (flat._Application, "_forget_xattrs", lambda _self, _fd: None),
}


def caught(home: Path, seed: int) -> bool:
    for name in ("tree", "scratch"):
        (home / name).mkdir(parents=True)
    try:
        programs(Stage(home, Layers(home, "view", home / "scratch", single=False)), seed)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_caught(bug: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    need_root("needs root: overlay mounts")
    monkeypatch.setattr(*BUGS[bug])
    assert any(caught(tmp_path / str(seed), seed) for seed in range(20))


def test_nothing_leads_out_of_the_tree(tmp_path: Path) -> None:
    """A step has left links where a later layer has directories, and names where it has others."""
    need_root("needs root: whiteouts")
    outside, tree, layer = (tmp_path / name for name in ("outside", "tree", "layer"))
    for path in (outside, tree, layer / "d", layer / "e"):
        path.mkdir(parents=True)
    (outside / "kept").write_text("kept")
    (tree / "d").symlink_to(outside)
    (tree / "e").symlink_to(outside / "kept")
    (tree / "f").symlink_to(outside / "kept")
    (layer / "d" / "kept").write_text("other")
    os.mknod(layer / "d" / "gone", stat.S_IFCHR)
    (layer / "f").write_text("other")
    os.mknod(layer / "e" / "kept", stat.S_IFCHR)
    fd = os.open(tree, os.O_RDONLY)
    apply(str(layer), fd, COPIER)
    os.close(fd)
    assert (outside / "kept").read_text() == "kept"
    assert sorted(os.listdir(outside)) == ["kept"]
    assert (tree / "d" / "kept").read_text() == (tree / "f").read_text() == "other"
    assert os.listdir(tree / "e") == []

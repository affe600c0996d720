"""What is left of a workload is still the work: a layer of all the files, uploaded, and the command on an overlay."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
from pathlib import Path

import pytest

from benchmarks import floors
from benchmarks.support.workloads import ROWS, Context, halves
from tests.support.commands import run
from tests.support.fake_registry import serve
from tests.support.need import need_root


def filled(folder: Path) -> dict[str, bytes]:
    """Fill a folder with files of many sizes, one larger than a chunk; return what a layer has of them."""
    folder.mkdir()
    found = {}
    for number, size in enumerate((0, 1, 511, 512, 513, 70_000, floors.CHUNK + 5)):
        path = folder / ("deep/er" if number % 2 else ".") / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(halves(size, random.Random(number))))
        found[f"src/{path.relative_to(folder)}"] = path.read_bytes()
    return found


def test_the_least_layer_has_all_files_and_is_uploaded(tmp_path: Path) -> None:
    expected, blob = filled(tmp_path / "context"), tmp_path / "blob"
    digest = floors.layer(str(tmp_path / "context"), str(blob))
    data = blob.read_bytes()
    assert digest == hashlib.sha256(data).hexdigest()
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as archive:
        members = archive.getmembers()
        found = {one.name: stream.read() for one in members if (stream := archive.extractfile(one))}
    assert found == expected
    assert {(one.mode, one.uid, one.gid) for one in members} == {(0o644, 0, 0)}
    with serve() as registry:
        floors.put(str(blob), digest, registry.host)
        assert registry.blobs["floor"] == {f"sha256:{digest}": data}
        with pytest.raises(SystemExit, match="PUT ended with 400"):
            floors.put(str(blob), "0" * 64, registry.host)


def test_the_command_is_the_first_run_of_the_workload(tmp_path: Path) -> None:
    context = Context("W4", tmp_path / "context", "base:1", 0.001)
    command = floors.command_of(context.dockerfile)
    assert "\\" not in command
    assert command in context.dockerfile.read_text().replace("\\\n", " ")


def test_the_command_runs_on_an_overlay(busybox_rootfs: Path, tmp_path: Path) -> None:
    need_root("needs root: mount")
    run(floors.alone("echo it\\'s > /made && rm /bin/sh", busybox_rootfs, tmp_path / "upper"))
    assert (tmp_path / "upper/upper/made").read_text() == "it's\n"
    assert (busybox_rootfs / "bin/sh").exists()
    assert list((tmp_path / "upper/root").iterdir()) == []


def test_the_goals_are_those_of_the_comparison() -> None:
    goals = {row.name: row.goal for row in ROWS if row.kind != "warm"}
    assert {name: goals[name] for name in floors.GOALS} == floors.GOALS

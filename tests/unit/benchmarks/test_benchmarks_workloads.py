from __future__ import annotations

import random
import zlib
from pathlib import Path

import pytest

from benchmarks.support.contents import contents
from benchmarks.support.workloads import ROWS, TITLES, WORKLOADS, Context, halves
from tests.support import images
from tests.support.registry import TestRegistry


@pytest.mark.parametrize("size", [1, 2048, 4097, 3_000_001])
def test_data_has_its_size_and_is_the_same_each_time(size: int) -> None:
    once, again = (b"".join(halves(size, random.Random(1))) for _ in range(2))
    assert len(once) == size
    assert once == again


def test_data_compresses_by_half() -> None:
    data = b"".join(halves(1 << 20, random.Random(1)))
    assert 0.45 < len(zlib.compress(data, 6)) / len(data) < 0.65


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_a_fresh_context_has_other_bytes_of_the_same_size(name: str, tmp_path: Path) -> None:
    context = Context(name, tmp_path / "context", "base:1", 0.001)

    def seen() -> tuple[str, dict[str, bytes]]:
        files = {
            str(one.relative_to(context.path)): one.read_bytes() for one in context.path.rglob("*") if one.is_file()
        }
        return context.dockerfile.read_text(), files

    path, (text, files) = context.path, seen()
    context.fresh()
    new_text, new_files = seen()
    assert context.path != path
    assert {one: len(data) for one, data in files.items()} == {one: len(data) for one, data in new_files.items()}
    assert all(files[one] != new_files[one] for one in files)
    assert files or text != new_text


def test_every_row_has_a_workload_and_a_title() -> None:
    assert {row.workload for row in ROWS} == WORKLOADS.keys()
    assert {row.name for row in ROWS} == TITLES.keys()


def test_contents_are_what_the_layers_leave(registry: TestRegistry, tmp_path: Path) -> None:
    lower = images.layer(
        images.file("a", "12"), images.file("d/x", "1"), images.file("d/y", "1"), images.file("e/z", "1"),
        images.file("etc/hosts", "of a sandbox"),
    )  # fmt: skip
    upper = images.layer(
        images.file(".wh.a"), images.file("d/.wh..wh..opq"), images.file("d/new", "123"), images.file(".wh.e"),
        images.hardlink("d/link", "d/new"), images.symlink("s", "d"),
    )  # fmt: skip
    images.write_layout(tmp_path / "layout", [lower, upper])
    registry.push(tmp_path / "layout", "benchmarks-contents:1")
    found = contents(registry, "benchmarks-contents", "1")
    assert found.files == {"d/new": 3, "d/link": 3}
    assert str(found) == "2 files, 0.0 MB"

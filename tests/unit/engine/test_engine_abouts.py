"""What others built is compared with, too: records travel with shared results, and are never a reason to fail."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from builder.cache.exchange import ABOUT_TYPE
from tests.support.cli import pybuild, write_context

TEXT = "FROM scratch\nCOPY src /src\nWORKDIR /work\n"


class Machines:
    """A builder that shares what it makes, and another one with a store and a checkout of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.shared = folder / "shared"
        write_context(folder / "one" / "context", TEXT, {"src/a": "a", "src/b": "b"})
        write_context(folder / "two" / "elsewhere", TEXT, {"src/a": "a", "src/b": "changed"})

    def share(self) -> None:
        target = f"type=local,dest={self.shared},mode=max"
        pybuild("build", "--cache-to", target, self._folder / "one" / "context", root=self._folder / "one" / "store")

    def there(self, *words: str) -> tuple[list[dict[str, Any]], str]:
        """Return what the other machine explains, and its warnings."""
        source = ["--cache-from", f"type=local,src={self.shared}"]
        done = pybuild("explain", "--json", *source, *words, self._folder / "two" / "elsewhere", root=self.store)
        return json.loads(done.stdout)["steps"], done.stderr

    @property
    def store(self) -> Path:
        return self._folder / "two" / "store"

    def blobs_of_records(self) -> Sequence[Path]:
        blobs = [path for path in self.shared.rglob("*") if path.is_file() and len(path.name) == 64]
        named = "".join(path.read_text(errors="replace") for path in blobs)
        assert ABOUT_TYPE in named
        return [path for path in blobs if path.read_bytes()[72:74] == b"\x78\x01"]  # zlib, fastest, after a key


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    made = Machines(tmp_path)
    made.share()
    return made


def test_a_miss_is_compared_with_what_others_built(machines: Machines) -> None:
    found, said = machines.there()
    assert [one["reason"].partition(";")[0] for one in found] == [
        "file src/b: contents changed",
        "what it is made of changed",
    ]
    assert said == ""
    again, _ = machines.there()
    assert again == found


def test_nothing_is_asked_for_what_is_found(machines: Machines) -> None:
    (machines.store.parent / "elsewhere/src/b").write_text("b")
    found, _ = machines.there()
    assert {one["cause"] for one in found} == {"hit"}
    assert not (machines.store / "records").exists()


@pytest.mark.parametrize("damage", ["gone", "flipped"])
def test_records_that_cannot_be_read_are_a_warning(machines: Machines, damage: str) -> None:
    (path,) = machines.blobs_of_records()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    found, said = machines.there()
    assert [one["cause"] for one in found] == ["never", "never"]
    assert "a cache's records cannot be read" in said


def test_a_cache_that_is_not_there_is_a_warning(machines: Machines) -> None:
    shutil.rmtree(machines.shared)
    found, _ = machines.there()
    assert [one["cause"] for one in found] == ["never", "never"]

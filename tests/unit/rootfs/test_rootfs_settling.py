"""Large files are brought to the disk while they are written, and a disk that fails then is heard."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from builder.rootfs import settling as module
from builder.rootfs.settling import settling


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SETTLED", 1000)


@pytest.mark.parametrize("step", [1, 999, 1000, 5000])
def test_the_bytes_are_those_written(tmp_path: Path, step: int) -> None:
    data = os.urandom(5000)
    with (tmp_path / "file").open("xb") as stream, settling(stream) as target:
        for at in range(0, len(data), step):
            target.write(data[at : at + step])
    assert (tmp_path / "file").read_bytes() == data
    assert not [one for one in threading.enumerate() if one.name == "settle"]


def pipe() -> BinaryIO:
    """Return what can be written to and cannot be synced."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "wb", buffering=1 << 16)


def fill(stream: BinaryIO, failure: BaseException | None = None) -> None:
    with settling(stream) as target:
        target.write(bytes(1500))
        if failure is not None:
            raise failure


def test_what_the_disk_says_meanwhile_is_raised() -> None:
    stream = pipe()
    with pytest.raises(OSError, match="Invalid"):
        fill(stream)
    with pytest.raises(KeyError):
        fill(stream, KeyError())
    with pytest.raises(BrokenPipeError):
        stream.close()

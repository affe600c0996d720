"""Sparse files in the four forms GNU tar has had, and maps that lie."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest

from builder.rootfs.entry import Entry, LayerFormatError
from builder.rootfs.limits import MAX_FILE_SIZE
from builder.rootfs.tarreader import read_members
from tests.support.need import need_tool
from tests.support.rawtar import END, block, padded, pax


def read(data: bytes) -> list[tuple[Entry, bytes]]:
    return [(member.entry, contents.read()) for member, contents in read_members(io.BytesIO(data))]


SPARSE = b"HELLO".ljust(4096, b"\0") + bytes(1 << 16) + b"x" * 512


def _sparse_pax(version: bytes) -> bytes:
    packed = SPARSE[:4096] + SPARSE[-512:]
    numbers = (0, 4096, 4096 + (1 << 16), 512, len(SPARSE), 0)
    common = ((b"GNU.sparse.name", b"real"),)
    if version == b"1.0":
        table = padded(b"3\n" + b"".join(b"%d\n" % number for number in numbers))
        records = (*common, (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"))
        records += ((b"GNU.sparse.realsize", b"%d" % len(SPARSE)),)
        packed = table + packed
    elif version == b"0.1":
        records = (*common, (b"GNU.sparse.map", b",".join(b"%d" % number for number in numbers)))
        records += ((b"GNU.sparse.size", b"%d" % len(SPARSE)),)
    else:
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        records = ((b"GNU.sparse.size", b"%d" % len(SPARSE)),)
        for offset, length in pairs:
            records += ((b"GNU.sparse.offset", b"%d" % offset), (b"GNU.sparse.numbytes", b"%d" % length))
    return pax(*records) + block(b"real", size=len(packed)) + padded(packed)


@pytest.mark.parametrize("version", [b"1.0", b"0.1", b"0.0"])
def test_pax_sparse_files(version: bytes) -> None:
    entries = read(_sparse_pax(version) + block(b"next") + END)
    assert [entry.path for entry, _ in entries] == ["real", "next"]
    assert entries[0][0].size == len(SPARSE)
    assert entries[0][1] == SPARSE


@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_sparse_files_of_gnu_tar(form: str, tmp_path: Path) -> None:
    need_tool("tar")
    with (tmp_path / "sparse").open("wb") as file:
        for i in range(40):  # more segments than the header block holds
            file.seek(i * 50_000)
            file.write(b"%d" % i * 100)
        file.truncate(3_000_000)
    (tmp_path / "after").write_bytes(b"after")
    command = ["tar", "--sparse", f"--format={form}", "-C", str(tmp_path), "-cf", "-", "sparse", "after"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    entries = {entry.path: contents for entry, contents in read(data)}
    assert entries == {"sparse": (tmp_path / "sparse").read_bytes(), "after": b"after"}
    member = next(iter(read_members(io.BytesIO(data))))[0]
    assert member.segments is not None
    assert member.entry.size == 3_000_000


@pytest.mark.parametrize(
    ("numbers", "size"),
    [
        ((0, 600), 600),
        ((0, 512, 100, 0), 512),
        ((512, 512), 600),
        ((0, 256, 128, 256), 600),
        ((0,), 600),
        ((0, 100), 600),
        ((0, 512), MAX_FILE_SIZE + 1),
        ((0, 512), 1 << 63),
    ],
)
def test_sparse_maps_that_lie(numbers: tuple[int, ...], size: int) -> None:
    text = b",".join(b"%d" % number for number in numbers)
    data = pax((b"GNU.sparse.map", text), (b"GNU.sparse.size", b"%d" % size))
    with pytest.raises(LayerFormatError):
        read(data + block(b"s", size=512) + bytes(512) + END)


@pytest.mark.parametrize(
    "table", [b"999999999\n", b"1\n0\n", b"x\n", b"1" * 600, b"-1\n", b"\n\n\n", b"99999999999999999999999\n"]
)
def test_sparse_tables_that_lie(table: bytes) -> None:
    data = pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"512"))
    stored = padded(table)
    with pytest.raises(LayerFormatError):
        read(data + block(b"s", size=len(stored)) + stored + END)

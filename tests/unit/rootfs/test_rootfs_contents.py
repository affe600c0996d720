"""Bytes of files out of blobs of every kind."""

from __future__ import annotations

import gzip
import io
import itertools
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard

from builder.image.digest import Digest, DigestMismatchError
from builder.rootfs.coding import Coding, Compression
from builder.rootfs.contents import LayerContents
from builder.rootfs.entry import Entry, Kind, LayerFormatError
from builder.rootfs.pack import Item, index_layer, pack
from builder.rootfs.toc import Toc
from tests.support.rawtar import END, block, padded, pax

RANDOM = random.Random(5)
FILES = {
    "a": b"",
    "b": b"small",
    "c": RANDOM.randbytes(3_000_000),
    "d": b"text" * 700_000,
    "e": RANDOM.randbytes(512),
    "f": b"the end",
}


def tar() -> bytes:
    blob = io.BytesIO()
    items = [Item(Entry(path=path, kind=Kind.FILE, size=len(data)), data) for path, data in FILES.items()]
    pack(items, blob, io.BytesIO(), coding=Coding(Compression.NONE))
    return blob.getvalue()


def ours(compression: Compression) -> Callable[[bytes], bytes]:
    def make(_: bytes) -> bytes:
        blob = io.BytesIO()
        items = [Item(Entry(path=path, kind=Kind.FILE, size=len(data)), data) for path, data in FILES.items()]
        pack(items, blob, io.BytesIO(), coding=Coding(compression))
        return blob.getvalue()

    return make


def per_file(data: bytes) -> bytes:
    """Compress as stargz does: cuts anywhere, a member after each."""
    cuts = [0, 700, 5_000, 900_000, 2_000_001, 4_000_000, 5_000_000, len(data)]
    return b"".join(gzip.compress(data[a:b], 1) for a, b in itertools.pairwise(cuts))


KINDS: dict[str, Callable[[bytes], bytes]] = {
    "our gzip": ours(Compression.GZIP),
    "our zstd": ours(Compression.ZSTD),
    "no compression": bytes,
    "gzip of one member": lambda data: gzip.compress(data, 1),
    "gzip of uneven members": per_file,
    "zstd of one frame": zstandard.ZstdCompressor().compress,
}


def indexed(blob: bytes) -> Toc:
    toc = io.BytesIO()
    index_layer(io.BytesIO(blob), toc)
    return Toc(toc.getvalue())


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_of_every_kind_of_blob(kind: str, tmp_path: Path) -> None:
    blob = KINDS[kind](tar())
    toc = indexed(blob)
    opened: list[io.BytesIO] = []

    def open_blob() -> io.BytesIO:
        opened.append(io.BytesIO(blob))
        return opened[-1]

    with LayerContents(open_blob, toc, tmp_path) as contents:
        assert not opened
        for path in (*FILES, *reversed(FILES)):
            member = toc.lookup(path)
            assert member is not None
            with contents.open(member.offset, member.entry.size) as stream:
                assert stream.read() == FILES[path], path
        assert len(opened) == 1
    assert opened[0].closed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_several_threads_at_once(kind: str, tmp_path: Path) -> None:
    blob = KINDS[kind](tar())
    (tmp_path / "blob").write_bytes(blob)
    toc = indexed(blob)
    with LayerContents(lambda: (tmp_path / "blob").open("rb"), toc, tmp_path) as contents:

        def read(path: str) -> bool:
            member = toc.lookup(path)
            assert member is not None
            stream = contents.open(member.offset, member.entry.size)
            return b"".join(iter(lambda: stream.read(100_000), b"")) == FILES[path]

        with ThreadPoolExecutor(6) as pool:
            assert all(pool.map(read, list(FILES) * 5))


@pytest.mark.parametrize("kind", KINDS)
def test_another_blob_than_the_table_describes(kind: str, tmp_path: Path) -> None:
    data = tar()
    toc = indexed(KINDS[kind](data))
    member = toc.lookup("d")
    assert member is not None
    other = gzip.compress(data[:-5_000_000], 1)
    with (
        LayerContents(lambda: io.BytesIO(other), toc, tmp_path) as contents,
        pytest.raises((LayerFormatError, DigestMismatchError)),
    ):
        contents.open(member.offset, member.entry.size).read()
    truncated = KINDS[kind](data)[:1000]
    with LayerContents(lambda: io.BytesIO(truncated), toc, tmp_path) as contents, pytest.raises(LayerFormatError):
        contents.open(member.offset, member.entry.size).read()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["none", "gzip"])
def test_sparse_files_come_with_their_holes(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    header = pax((b"GNU.sparse.map", b"100,5,3000,600,5000,0"), (b"GNU.sparse.size", b"5000"))
    data = header + block(b"s", size=605) + padded(b"hello" + b"y" * 600) + block(b"n", size=4) + padded(b"next") + END
    blob = compress(data)
    toc = indexed(blob)
    with LayerContents(lambda: io.BytesIO(blob), toc, tmp_path) as contents:
        for path, expected in (("s", bytes(100) + b"hello" + bytes(2895) + b"y" * 600 + bytes(1400)), ("n", b"next")):
            member = toc.lookup(path)
            assert member is not None
            assert member.entry.size == len(expected)
            assert contents.open(member.offset, member.entry.size).read() == expected


def test_closing_unopened_contents_is_fine(tmp_path: Path) -> None:
    contents = LayerContents(lambda: io.BytesIO(b""), indexed(END), tmp_path)
    contents.close()
    contents.close()


def test_a_table_is_not_used_for_another_form_of_the_layer(tmp_path: Path) -> None:
    blobs = {kind: KINDS[kind](tar()) for kind in ("our gzip", "our zstd", "gzip of uneven members")}
    for indexed_kind, other_kind in itertools.permutations(blobs, 2):
        table, other = io.BytesIO(), blobs[other_kind]
        index_layer(io.BytesIO(blobs[indexed_kind]), table, Digest.of(blobs[indexed_kind]))
        toc = Toc(table.getvalue())
        assert toc.members(Digest.of(blobs[indexed_kind])) == toc.members() is not None
        assert toc.members(Digest.of(other)) is None
        with LayerContents(lambda other=other: io.BytesIO(other), toc, tmp_path, Digest.of(other)) as contents:
            for path, data in FILES.items():
                member = toc.lookup(path)
                assert member is not None
                with contents.open(member.offset, len(data)) as stream:
                    assert stream.read() == data

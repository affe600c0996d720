"""One pass: tar, DiffID, blob, digest and table of contents; and back."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import tarfile
from collections.abc import Callable
from typing import BinaryIO

import pytest
import xxhash
import zstandard

from builder.errors import ContextError
from builder.rootfs.chunked import CHUNK
from builder.rootfs.coding import USUAL, Coding, Compression
from builder.rootfs.compression import decompress
from builder.rootfs.entry import ContentChangedError, Entry, Kind, LayerFormatError, UnsafePathError
from builder.rootfs.pack import Item, Packed, index_layer, pack
from builder.rootfs.toc import Toc
from tests.support.rawtar import END, block


def file(path: str, size: int, **fields: int) -> Entry:
    return Entry(path=path, kind=Kind.FILE, size=size, **fields)


def opens(data: bytes) -> Callable[[], BinaryIO]:
    return lambda: io.BytesIO(data)


def packed(*items: Item, coding: Coding = USUAL) -> tuple[bytes, bytes, Packed]:
    blob, toc = io.BytesIO(), io.BytesIO()
    result = pack(items, blob, toc, coding=coding)
    return blob.getvalue(), toc.getvalue(), result


BIG = bytes(range(256)) * 12_345
ITEMS = (
    Item(Entry(path="etc", kind=Kind.DIRECTORY)),
    Item(file("etc/passwd", 5), b"root:"),
    Item(file("etc/group", 3), opens(b"abc")),
    Item(file("big", len(BIG)), opens(BIG), xxhash.xxh3_128(BIG).digest()),
    Item(file("empty", 0)),
    Item(file("empty2", 0), opens(b"")),
    Item(Entry(path="etc/gone", kind=Kind.WHITEOUT, mode=0)),
    Item(Entry(path="link", kind=Kind.HARDLINK, target="big")),
)


@pytest.mark.parametrize("compression", [Compression.GZIP, Compression.ZSTD, Compression.NONE])
def test_all_identities_come_from_one_pass(compression: Compression) -> None:
    blob, _, result = packed(*ITEMS, coding=Coding(compression))
    tar = decompress(io.BytesIO(blob)).read()
    assert result.diff_id == "sha256:" + hashlib.sha256(tar).hexdigest()
    assert result.digest == "sha256:" + hashlib.sha256(blob).hexdigest()
    assert (result.size, result.uncompressed_size, result.entries) == (len(blob), len(tar), len(ITEMS))
    assert result.diff_id == packed(*ITEMS)[2].diff_id
    assert packed(*ITEMS, coding=Coding(compression))[0] == blob


@pytest.mark.parametrize("compression", [Compression.GZIP, Compression.ZSTD, Compression.NONE])
def test_indexing_the_blob_gives_the_same_table(compression: Compression) -> None:
    blob, toc, result = packed(*ITEMS, coding=Coding(compression))
    again = io.BytesIO()
    assert index_layer(io.BytesIO(blob), again, result.digest) == result.diff_id
    assert again.getvalue() == toc


def test_what_is_packed_is_in_the_table() -> None:
    blob, toc_bytes, result = packed(*ITEMS)
    toc = Toc(toc_bytes)
    tar = gzip.decompress(blob)
    assert (toc.diff_id, toc.entries, toc.uncompressed_size) == (result.diff_id, len(ITEMS), len(tar))
    for path, data in (("etc/passwd", b"root:"), ("etc/group", b"abc"), ("big", BIG), ("empty", b"")):
        member = toc.lookup(path)
        assert member is not None
        assert tar[member.offset : member.offset + member.entry.size] == data
    assert toc.small_file("etc/passwd") == b"root:"
    assert toc.small_file("etc/group") == b"abc"
    assert toc.small_file("big") is None


def test_python_reads_the_layer() -> None:
    blob, _, _ = packed(*ITEMS)
    with tarfile.open(fileobj=io.BytesIO(blob)) as tar:
        assert tar.getnames() == [*(item.entry.path for item in ITEMS[:6]), "etc/.wh.gone", "link"]
        contents = tar.extractfile("link")
        assert contents is not None
        assert contents.read() == BIG


def test_an_empty_layer() -> None:
    blob, toc, result = packed()
    assert gzip.decompress(blob) == bytes(1024)
    assert result.entries == 0
    assert list(Toc(toc).subtree("")) == []


@pytest.mark.parametrize("size", [CHUNK - 1536, CHUNK - 1535, 2 * CHUNK - 1536, 2 * CHUNK])
def test_tars_around_multiples_of_the_chunk(size: int) -> None:
    blob, _, result = packed(Item(file("f", size), opens(bytes(size))))
    assert len(gzip.decompress(blob)) == result.uncompressed_size
    assert result.uncompressed_size % 512 == 0
    assert blob.count(b"\x1f\x8b\x08\0\0\0\0\0\0\xff") == -(-result.uncompressed_size // CHUNK)


@pytest.mark.parametrize("size", [10, 3 * CHUNK])
@pytest.mark.parametrize("change", [-1, 1, CHUNK])
def test_a_file_of_another_size_has_changed(size: int, change: int) -> None:
    data = bytes(max(size + change, 0))
    with pytest.raises(ContentChangedError, match="etc/f changed while it was being packed") as caught:
        packed(Item(file("etc/f", size), opens(data)))
    assert caught.value.path == "etc/f"
    assert isinstance(caught.value, ContextError)
    with pytest.raises(ContentChangedError):
        packed(Item(file("etc/f", size), data))


def test_missing_contents_have_changed() -> None:
    with pytest.raises(ContentChangedError):
        packed(Item(file("f", 1)))
    with pytest.raises(ContentChangedError):
        packed(Item(file("f", 1), opens(b"")))


@pytest.mark.parametrize("size", [0, 10, 3 * CHUNK + 5])
def test_contents_are_confirmed(size: int) -> None:
    data = (b"0123456789" * (size // 10 + 1))[:size]
    good = xxhash.xxh3_128(data).digest()
    for content in (data, opens(data)):
        packed(Item(file("f", size), content, good))
        with pytest.raises(ContentChangedError, match="other contents"):
            packed(Item(file("f", size), content, bytes(16)))


def test_streams_of_contents_are_closed() -> None:
    streams: list[BinaryIO] = []

    def opener() -> BinaryIO:
        streams.append(io.BytesIO(b"abc"))
        return streams[-1]

    packed(Item(file("f", 3), opener))
    with pytest.raises(ContentChangedError):
        packed(Item(file("f", 4), opener))
    assert [stream.closed for stream in streams] == [True, True]


def test_short_reads_of_contents_are_no_change() -> None:
    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 5))

    blob, _, _ = packed(
        Item(file("etc/passwd", 12), lambda: Trickle(b"hello, world"), xxhash.xxh3_128(b"hello, world").digest())
    )
    assert b"hello, world" in gzip.decompress(blob)
    toc = packed(Item(file("etc/passwd", 12), lambda: Trickle(b"hello, world")))[1]
    assert Toc(toc).small_file("etc/passwd") == b"hello, world"


def test_other_compressions_are_not_written() -> None:
    with pytest.raises(ValueError, match="xz"):
        packed(coding=Coding(Compression.XZ))


# Layers made elsewhere.

FOREIGN = block(b"./", b"5") + block(b"./a", size=3) + b"abc".ljust(512, b"\0") + END + bytes(8192)


@pytest.mark.parametrize(
    "compress",
    [bytes, gzip.compress, zstandard.ZstdCompressor().compress, lzma.compress],
    ids=["none", "gzip", "zstd", "xz"],
)
def test_the_diff_id_covers_what_follows_the_end(compress: Callable[[bytes], bytes]) -> None:
    toc = io.BytesIO()
    assert index_layer(io.BytesIO(compress(FOREIGN)), toc) == "sha256:" + hashlib.sha256(FOREIGN).hexdigest()
    assert [member.entry.path for member in Toc(toc.getvalue()).subtree("")] == ["", "a"]


def test_a_layer_that_is_none() -> None:
    for data in (b"<html>" * 200, gzip.compress(b"{}" * 600), gzip.compress(FOREIGN)[:-9]):
        with pytest.raises(LayerFormatError):
            index_layer(io.BytesIO(data), io.BytesIO())
    with pytest.raises(UnsafePathError):
        index_layer(io.BytesIO(block(b"../x") + END), io.BytesIO())


def test_a_blob_of_no_bytes_is_an_empty_layer() -> None:
    assert index_layer(io.BytesIO(b""), io.BytesIO()) == "sha256:" + hashlib.sha256(b"").hexdigest()


def test_a_member_table_stays_small() -> None:
    tar = io.BytesIO()
    pack([Item(file("f", 5 << 20), opens(bytes(5 << 20)))], tar, io.BytesIO(), coding=Coding(Compression.NONE))
    data = tar.getvalue()
    tiny = b"".join(gzip.compress(data[at : at + 1024], 1) for at in range(0, len(data), 1024))
    toc = io.BytesIO()
    index_layer(io.BytesIO(tiny), toc)
    members = Toc(toc.getvalue()).members()
    assert members is not None
    assert 6 <= len(members) // 2 <= 11
    index_layer(io.BytesIO(gzip.compress(data, 1)), toc := io.BytesIO())
    assert Toc(toc.getvalue()).members() is None

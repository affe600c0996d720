"""Compressed streams in and out: every form, cut short, damaged, endless; members and their table."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import random
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from typing import BinaryIO

import pytest
import zstandard

from builder.rootfs.chunked import CHUNK, LEVELS, ChunkWriter, GzipWriter, SingleGzipWriter, ZstdWriter, gzip_member
from builder.rootfs.coding import USUAL, Coding, Compression
from builder.rootfs.compression import decompress, detect, inflater
from builder.rootfs.entry import LayerFormatError
from tests.support.need import need_tool

DATA = random.Random(1).randbytes(300_000) + b"text " * 100_000


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


FORMS: dict[Compression, Callable[[bytes], bytes]] = {
    Compression.GZIP: gzip.compress,
    Compression.ZSTD: _zstd,
    Compression.XZ: lzma.compress,
    Compression.BZIP2: bz2.compress,
    Compression.NONE: bytes,
}
COMPRESSED = [kind for kind in FORMS if kind is not Compression.NONE]


class Trickle(io.BytesIO):
    """A stream that gives a little at a time, as sockets do."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size, 1000) if size is not None and size >= 0 else size)


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=["empty", "byte", "much"])
def test_every_form_is_detected_and_read(kind: Compression, data: bytes) -> None:
    packed = FORMS[kind](data)
    assert detect(packed[:6]) is kind
    assert decompress(io.BytesIO(packed)).read() == data
    assert decompress(Trickle(packed), kind).read() == data
    stream = decompress(Trickle(packed))
    assert b"".join(iter(lambda: stream.read(777), b"")) == data


@pytest.mark.parametrize("kind", COMPRESSED)
def test_streams_in_sequence_are_one(kind: Compression) -> None:
    assert decompress(io.BytesIO(FORMS[kind](b"one,") + FORMS[kind](b"") + FORMS[kind](DATA))).read() == b"one," + DATA


@pytest.mark.parametrize("kind", COMPRESSED)
@pytest.mark.parametrize("cut", [1, 5, 9, 1000])
def test_truncation_is_an_error_and_never_an_end(kind: Compression, cut: int) -> None:
    packed = FORMS[kind](DATA)
    with pytest.raises(LayerFormatError):
        decompress(io.BytesIO(packed[:-cut])).read()
    with pytest.raises(LayerFormatError):
        decompress(io.BytesIO(packed[: 4 + cut]), kind).read()


@pytest.mark.parametrize("kind", COMPRESSED)
def test_damage_is_an_error(kind: Compression) -> None:
    packed = bytearray(FORMS[kind](DATA))
    packed[len(packed) // 2] ^= 0x55
    with pytest.raises(LayerFormatError):
        decompress(io.BytesIO(bytes(packed))).read()
    with pytest.raises(LayerFormatError):
        decompress(io.BytesIO(FORMS[kind](b"a") + b"trailing garbage")).read()


@pytest.mark.parametrize("kind", FORMS)
def test_more_than_the_limit_is_an_error(kind: Compression) -> None:
    packed = FORMS[kind](bytes(5_000_000))
    assert len(decompress(io.BytesIO(packed), limit=5_000_000).read()) == 5_000_000
    with pytest.raises(LayerFormatError, match="more than we accept"):
        decompress(io.BytesIO(packed), limit=4_999_999).read()


def test_zero_padding_after_gzip_members_is_no_garbage() -> None:
    assert decompress(io.BytesIO(gzip.compress(DATA) + bytes(100_000))).read() == DATA
    assert decompress(io.BytesIO(lzma.compress(DATA) + bytes(8) + lzma.compress(b"x"))).read() == DATA + b"x"


def test_a_bomb_is_read_piece_by_piece() -> None:
    class Counting(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.taken += len(data)
            return data

    zeros = bytes(1 << 26)
    for kind in COMPRESSED:
        source = Counting(FORMS[kind](zeros) * 4)
        stream = decompress(source)
        assert stream.read(1000) == bytes(1000)
        assert source.taken <= 1 << 16


def test_zstd_frames_of_every_shape() -> None:
    skippable = b"\x51\x2a\x4d\x18\x05\0\0\0hello"
    shapes = [
        zstandard.ZstdCompressor(level=level, write_checksum=checksum, write_content_size=size, threads=threads)
        for level in (1, 19)
        for checksum in (True, False)
        for size in (True, False)
        for threads in (0, 2)
    ]
    for data in (b"", b"x" * 255, b"x" * 256, b"y" * 70_000, DATA):
        packed = skippable.join(shape.compress(data) for shape in shapes)
        assert decompress(io.BytesIO(skippable + packed + skippable)).read() == data * len(shapes)


def test_a_zstd_window_beyond_the_limit_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=False)
    writer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = writer.compress(b"small") + writer.flush()
    with pytest.raises(LayerFormatError, match="limits"):
        decompress(io.BytesIO(packed)).read()


def test_many_tiny_members() -> None:
    members: list[tuple[int, int]] = []
    one = gzip.compress(b"", mtime=0)
    packed = one * 20_000 + gzip.compress(b"end", mtime=0)
    stream = decompress(io.BytesIO(packed), on_member=lambda *found: members.append(found))
    assert stream.read() == b"end"
    assert members == [(i * len(one), 0) for i in range(20_001)]


# What we write.

SIZES = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("writer", [GzipWriter, ZstdWriter])
def test_a_member_per_chunk(writer: type[GzipWriter] | type[ZstdWriter], size: int) -> None:
    data = (DATA * 5)[:size]
    target = io.BytesIO()
    written = writer(target, threads=2)
    written.write(data)
    table = written.close()
    found: list[tuple[int, int]] = []
    assert decompress(io.BytesIO(target.getvalue()), on_member=lambda *pair: found.append(pair)).read() == data
    assert table == tuple(found)
    assert [start for _, start in table] == list(range(0, max(size, 1), CHUNK))
    if writer is GzipWriter:
        assert gzip.decompress(target.getvalue()) == data


def test_bytes_depend_neither_on_threads_nor_on_the_size_of_writes() -> None:
    data = DATA * 6
    made = set()
    for threads, step in ((1, 4096), (2, CHUNK), (5, len(data)), (3, 999_999)):
        target = io.BytesIO()
        with GzipWriter(target, threads=threads) as writer:
            for at in range(0, len(data), step):
                writer.write(data[at : at + step])
            writer.close()
        made.add(target.getvalue())
    assert len(made) == 1


@pytest.mark.parametrize("size", SIZES)
def test_gzip_with_one_member(size: int) -> None:
    data = (DATA * 5)[:size]
    made = set()
    for threads, step in ((1, 4096), (2, CHUNK), (3, 999_999)):
        target = io.BytesIO()
        with SingleGzipWriter(target, threads=threads) as writer:
            for at in range(0, len(data), step):
                writer.write(data[at : at + step])
            assert writer.close() == ((0, 0),)
        made.add(target.getvalue())
    (packed,) = made
    assert packed.startswith(b"\x1f\x8b\x08\0\0\0\0\0\0\xff")
    found: list[tuple[int, int]] = []
    assert decompress(io.BytesIO(packed), on_member=lambda *pair: found.append(pair)).read() == data
    assert found == [(0, 0)]
    first = zlib.decompressobj(31)  # as readers do that stop at the end of a member
    assert first.decompress(packed) == data
    assert first.eof
    assert first.unused_data == b""


def test_the_framing_of_a_member() -> None:
    member = gzip_member(b"hello")
    assert member[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    assert gzip.decompress(member) == b"hello"


def test_fingerprints_tell_codings_apart() -> None:
    # libdeflate's level 1 never changes within a release; a new release shows here and in the fingerprint.
    assert len(USUAL.fingerprint().rpartition("-")[2]) == 16
    codings = [Coding(kind, level) for kind, levels in LEVELS.items() for level in levels] + [Coding(Compression.NONE)]
    codings += [Coding(Compression.GZIP, level, single=True) for level in LEVELS[Compression.GZIP]]
    prints = {one.fingerprint(): one for one in codings}
    assert len(prints) == len(codings) - 1  # zstd's 0 is its usual level
    assert not any("/" in one for one in prints)
    assert Coding(Compression.GZIP, 1).fingerprint() == USUAL.fingerprint()
    assert Coding(Compression.GZIP, single=True).fingerprint() == Coding(Compression.GZIP, 6, single=True).fingerprint()
    for fingerprint in prints:
        assert {one.effort for one in codings if one.made(fingerprint)} == {prints[fingerprint].effort}
        assert {one.compression for one in codings if one.made(fingerprint)} == {prints[fingerprint].compression}
        assert {one.single for one in codings if one.made(fingerprint)} == {prints[fingerprint].single}
    assert USUAL.made("gzip-libdeflate-0.0.1-1-1MiB-0123456789abcdef")
    with pytest.raises(ValueError, match="not written as xz"):
        Coding(Compression.XZ).fingerprint()
    with pytest.raises(ValueError, match="not written as xz"):
        Coding(Compression.XZ).writer(io.BytesIO())


def test_the_gzip_program_reads_our_members() -> None:
    target = io.BytesIO()
    with GzipWriter(target) as writer:
        writer.write(DATA * 4)
        writer.close()
    for command in ([need_tool("gzip"), "-dc"], [need_tool("gzip"), "-tv"]):
        done = subprocess.run(command, input=target.getvalue(), capture_output=True, check=True)
        assert not done.stdout or hashlib.sha256(done.stdout).digest() == hashlib.sha256(DATA * 4).digest()


@pytest.mark.parametrize("coding", [USUAL, Coding(single=True), Coding(Compression.ZSTD), Coding(Compression.NONE)])
@pytest.mark.parametrize("step", [1 << 12, 999_999, CHUNK, 3 * CHUNK + 5])
def test_what_was_taken_is_counted_and_hashed(coding: Coding, step: int) -> None:
    data = DATA * 4
    target = io.BytesIO()
    with coding.writer(target, threads=2) as writer:
        for at in range(0, len(data), step):
            writer.write(data[at : at + step])
        writer.close()
    assert writer.size == len(data)
    assert writer.hexdigest() == hashlib.sha256(data).hexdigest()
    assert decompress(io.BytesIO(target.getvalue())).read() == data


class Full:
    """A target without space."""

    writes = 0

    def write(self, _: bytes, /) -> int:
        self.writes += 1
        raise OSError(28, os.strerror(28))


@pytest.mark.parametrize("threads", [1, 4])
def test_an_error_of_the_target_passes_through_and_ends_the_threads(threads: int) -> None:
    before = threading.active_count()
    full = Full()

    def fill() -> None:
        with GzipWriter(full, threads=threads) as writer:
            for _ in range(20):
                writer.write(bytes(CHUNK))
            writer.close()

    with pytest.raises(OSError, match="space"):
        fill()
    assert threading.active_count() == before
    assert full.writes == 1


def test_an_error_of_the_compressor_passes_through() -> None:
    def fail(data: bytes) -> bytes:
        raise MemoryError

    with ChunkWriter(io.BytesIO(), fail, threads=2) as writer, pytest.raises(MemoryError):
        writer.write(bytes(8 * CHUNK))


def test_without_isal_zlib_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal", None)
    assert isinstance(inflater(31), type(zlib.decompressobj()))
    packed = gzip_member(DATA) + gzip_member(b"")
    assert decompress(io.BytesIO(packed * 2)).read() == DATA * 2
    for bad in (packed[:-3], packed + b"junk", packed[:5000] + b"\xff" * 100 + packed[5100:]):
        with pytest.raises(LayerFormatError):
            decompress(io.BytesIO(bad)).read()


def test_a_stream_stays_the_callers() -> None:
    source: BinaryIO = io.BytesIO(gzip.compress(b"x"))
    decompress(source).close()
    assert not source.closed

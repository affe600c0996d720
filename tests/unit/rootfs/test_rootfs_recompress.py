"""Another form of the same tar: deterministic, streaming, and verifiable."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import random

import pytest
import zstandard

from builder.rootfs.chunked import LEVELS
from builder.rootfs.coding import Coding, Compression
from builder.rootfs.compression import decompress
from builder.rootfs.entry import LayerFormatError
from builder.rootfs.pack import Recompressed, recompress

TAR = random.Random(5).randbytes(1_300_000) + b"text " * 300_000 + bytes(2_000_000)
DIFF_ID = "sha256:" + hashlib.sha256(TAR).hexdigest()
SOURCES = {
    "gzip": gzip.compress(TAR, 1),
    "zstd": zstandard.ZstdCompressor().compress(TAR),
    "plain": TAR,
    "xz": lzma.compress(TAR, preset=0),
    "bzip2": bz2.compress(TAR, 1),
}
CODINGS = [
    Coding(Compression.GZIP),
    Coding(Compression.GZIP, 0),
    Coding(Compression.GZIP, 9),
    Coding(Compression.ZSTD),
    Coding(Compression.ZSTD, 10),
    Coding(Compression.NONE),
]


def made(source: bytes, coding: Coding, threads: int | None = None) -> tuple[bytes, Recompressed]:
    target = io.BytesIO()
    result = recompress(io.BytesIO(source), target, coding, threads=threads)
    return target.getvalue(), result


@pytest.mark.parametrize("coding", CODINGS, ids=str)
def test_every_form_becomes_every_other(coding: Coding) -> None:
    blobs = {made(source, coding, threads)[0] for source in SOURCES.values() for threads in (1, 3)}
    assert len(blobs) == 1
    blob = blobs.pop()
    _, result = made(SOURCES["gzip"], coding)
    assert decompress(io.BytesIO(blob), coding.compression).read() == TAR
    assert result == Recompressed(
        diff_id=DIFF_ID,
        digest="sha256:" + hashlib.sha256(blob).hexdigest(),
        size=len(blob),
        uncompressed_size=len(TAR),
        compressor=coding.fingerprint(),
    )
    assert made(blob, Coding(Compression.NONE))[0] == TAR


@pytest.mark.parametrize("kind", LEVELS)
def test_every_level_can_be_had(kind: Compression) -> None:
    text = b"".join(b"%d little lambs\n" % number for number in range(20_000))
    sizes = {level: len(made(text, Coding(kind, level))[0]) for level in LEVELS[kind]}
    assert sizes[max(sizes)] < sizes[1]
    if kind is Compression.GZIP:
        assert sizes[0] > len(text)


def test_an_empty_layer() -> None:
    for coding in CODINGS:
        blob, result = made(gzip.compress(b""), coding)
        assert decompress(io.BytesIO(blob)).read() == b""
        assert result.uncompressed_size == 0


@pytest.mark.parametrize("coding", CODINGS[::3], ids=str)
def test_damage_is_told(coding: Coding) -> None:
    damaged = bytearray(SOURCES["gzip"])
    damaged[len(damaged) // 2] ^= 255
    with pytest.raises(LayerFormatError):
        made(bytes(damaged), coding)
    with pytest.raises(LayerFormatError):
        made(SOURCES["zstd"][:-5], coding)

"""A layer's bytes in another form: the same tar, so the same DiffID, under another compression or level.

One pass in constant memory, compressed on threads; the bytes depend on the tar and the coding only. The table of
contents of the layer stays true; its table of members is about the old blob (toc.py).
"""

from __future__ import annotations

from builder.image.digest import DiffID, Digest
from builder.rootfs.coding import Coding
from builder.rootfs.compression import decompress
from builder.streams import CHUNK, HashingWriter, Readable, Writable
from builder.values import dataclass


@dataclass(frozen=True, slots=True)
class Recompressed:
    """What ``recompress`` made: both identities, sizes in bytes, and the compressor's fingerprint."""

    diff_id: DiffID
    digest: Digest
    size: int
    uncompressed_size: int
    compressor: str


def recompress(source: Readable, blob: Writable, coding: Coding, *, threads: int | None = None) -> Recompressed:
    """Read a layer in any compression to its end and write it to ``blob`` as ``coding`` says; both stay open.

    Checks no digest: the caller compares. Raises LayerFormatError for damaged data, and passes on OSError.
    """
    compressed = HashingWriter(blob)
    with coding.writer(compressed, threads=threads) as tar:
        plain = decompress(source)
        while chunk := plain.read(CHUNK):
            tar.write(chunk)
        tar.close()
    return Recompressed(
        diff_id=DiffID(Digest.from_hex(tar.hexdigest())),
        digest=Digest.from_hex(compressed.hexdigest()),
        size=compressed.size,
        uncompressed_size=tar.size,
        compressor=coding.fingerprint(),
    )

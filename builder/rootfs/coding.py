"""What layers are compressed with, as a value: all that a build needs to know of it that finds every layer done.

Writing is in chunked.py and reading in compression.py.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from builder.levels import NEWEST
from builder.values import dataclass

if TYPE_CHECKING:
    from builder.rootfs.chunked import ChunkWriter
    from builder.streams import Writable

GZIP_LEVEL = NEWEST.gzip
"""libdeflate's fastest: the ratio of zlib's level 5 or so, at six times its speed."""

ZSTD_LEVEL = NEWEST.zstd

SINGLE_LEVEL = NEWEST.single
"""zlib's own usual level: libdeflate cannot go on with a member, and zlib is slow at any."""


class Compression(StrEnum):
    """How bytes are compressed. We write the first three; the others are only read, in archives for ADD."""

    GZIP = "gzip"
    ZSTD = "zstd"
    NONE = "none"
    XZ = "xz"
    BZIP2 = "bzip2"


@dataclass(frozen=True, slots=True)
class Coding:
    """How the bytes of a layer are written: compressed with what, at which level; None is the usual one.

    ``single`` is for gzip: one member, whatever the size. Nothing that identifies a layer depends on it (design,
    idea 3): only the digest of the blob does.
    """

    compression: Compression = Compression.GZIP
    level: int | None = None
    single: bool = False

    @property
    def effort(self) -> int:
        """The level that is really used; 0 without compression."""
        if self.compression is Compression.ZSTD:
            return self.level or ZSTD_LEVEL
        if self.compression is Compression.GZIP:
            return (SINGLE_LEVEL if self.single else GZIP_LEVEL) if self.level is None else self.level
        return 0

    def fingerprint(self) -> str:
        """Name what decides the bytes: method, library, level, framing, and a test vector's hash.

        The hash tells apart libraries that hide their version. Fit for a file name.
        """
        from builder.rootfs.chunked import fingerprint_of

        return fingerprint_of(self)

    def made(self, fingerprint: str) -> bool:
        """Say whether a fingerprint is this form's, with the library of this machine or with any other."""
        if self.compression is Compression.NONE:
            return fingerprint == "none"
        if self.single:
            return fingerprint.startswith("gzip-zlib-") and f"-{self.effort}-single-" in fingerprint
        return fingerprint.startswith(f"{self.compression}-lib") and f"-{self.effort}-1MiB-" in fingerprint

    def writer(self, target: Writable, *, threads: int | None = None) -> ChunkWriter:
        """Return what writes ``target`` in this form; the target stays the caller's."""
        from builder.rootfs.chunked import writer_of

        return writer_of(self, target, threads)


USUAL = Coding()
"""What layers are written as when nobody asks for anything else."""

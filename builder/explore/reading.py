"""Layers read for looking at them: a table of contents in a scratch file, and a digest of every file's contents.

Each layer is read once, as a stream; what is kept of a file is 24 bytes of memory. The bytes are checked against the
DiffID: what a page shows is what the image's config names.
"""

from __future__ import annotations

import bisect
import hashlib
import os
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path

from builder.image.artifact import ContentLayer
from builder.image.digest import DiffID, Digest, DigestMismatchError
from builder.rootfs.compression import decompress
from builder.rootfs.entry import Kind
from builder.rootfs.sparse import Spread
from builder.rootfs.tarreader import Member, read_members
from builder.rootfs.toc import Toc, TocWriter
from builder.rootfs.tocformat import to_key
from builder.rootfs.view import Located, View
from builder.streams import CHUNK, HashingWriter, Readable, digest_of

_DIGEST = 16
"""Bytes of a file's SHA-256 that are kept: files of one image are told apart by them."""

_FILE = ord(Kind.FILE)

_SPREAD = 1 << 30
"""Bytes up to which a sparse file is compared by what a reader sees. Of larger ones, a terabyte of nothing in a tar of
some kilobytes, the map is compared instead, and its data."""


class Contents:
    """Digests of a layer's files, by the offset of their contents."""

    def __init__(self) -> None:
        self._offsets = array("Q")
        self._digests = bytearray()

    def add(self, offset: int, digest: bytes) -> None:
        """Append a file that has contents; offsets grow."""
        self._offsets.append(offset)
        self._digests += digest[:_DIGEST]

    def at(self, offset: int) -> bytes:
        """Return the digest of the contents at ``offset``; nothing where none begin."""
        number = bisect.bisect_left(self._offsets, offset)
        if number == len(self._offsets) or self._offsets[number] != offset:
            return b""
        return bytes(self._digests[number * _DIGEST : (number + 1) * _DIGEST])


class Stack:
    """The layers of one image, bottom first: their tables as they apply, sizes and the digests of their files."""

    def __init__(self, tocs: Sequence[Toc], contents: Sequence[Contents]) -> None:
        """Put the tables on each other. Raises UnsafePathError for entries behind a loop of symlinks."""
        self.view = View(tocs)
        self.tables = self.view.tables
        self.contents = tuple(contents)
        self.sizes = tuple(toc.uncompressed_size for toc in tocs)

    def own_name(self, file: Located) -> str | None:
        """Return the name that a hard link's file came with, None where its layer itself put something else there."""
        name, toc = file.group.partition("\0")[0], self.tables[file.layer]
        slot = toc.find(to_key(name))
        there = slot >= 0 and toc.kind(slot) == _FILE and toc.member(slot).offset == file.offset
        return name if there else None


def read_stack(layers: Sequence[ContentLayer], scratch: Path, check: Callable[[], None]) -> Stack:
    """Read all layers; ``check`` is called now and then, and raises to stop.

    Raises LayerFormatError, UnsafePathError, DigestMismatchError, and what opening the layers raises.
    """
    known: dict[tuple[Digest, DiffID], tuple[Toc, Contents]] = {}
    keys = [(layer.descriptor.digest, layer.diff_id) for layer in layers]
    for key, layer in zip(keys, layers, strict=True):
        if key not in known:
            known[key] = _read(layer, scratch, check)
    found = [known[key] for key in keys]
    return Stack([toc for toc, _ in found], [contents for _, contents in found])


def _read(layer: ContentLayer, scratch: Path, check: Callable[[], None]) -> tuple[Toc, Contents]:
    path = scratch / "toc"
    contents = Contents()
    with open(path, "wb") as target, layer.open() as stream:
        writer = TocWriter(target)
        tar = _Hashed(decompress(stream), check)
        for member, data in read_members(tar):
            writer.add(member)
            if member.entry.kind is Kind.FILE and member.entry.size:
                contents.add(member.offset, _digest(member, data))
        while tar.read(CHUNK):  # what follows the end marker belongs to the DiffID
            pass
        diff_id = DiffID(Digest.from_hex(tar.hashing.hexdigest()))
        if diff_id != layer.diff_id:
            where = layer.content.where
            raise DigestMismatchError(
                f"{where}: layer {layer.descriptor.digest} unpacks to {diff_id}, not to {layer.diff_id}"
            )
        writer.finish(diff_id, tar.hashing.size)
    toc = Toc.open(path)
    os.unlink(path)  # it stays mapped
    return toc, contents


class _Hashed:
    """A stream that knows the digest of what was read."""

    def __init__(self, stream: Readable, check: Callable[[], None]) -> None:
        self._stream = stream
        self._check = check
        self.hashing = HashingWriter(_Nowhere())

    def read(self, size: int = -1, /) -> bytes:
        self._check()
        data = self._stream.read(size)
        self.hashing.write(data)
        return data


class _Nowhere:
    def write(self, data: bytes, /) -> None:
        pass


def _digest(member: Member, contents: Readable) -> bytes:
    if isinstance(contents, Spread) and member.entry.size > _SPREAD:
        said = f"{member.entry.size} {member.segments} "
        return hashlib.sha256(said.encode() + digest_of(contents.packed)).digest()
    return digest_of(contents)

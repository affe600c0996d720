"""Makes a layer blob in one pass: entries become a tar, its DiffID, the compressed blob, its digest and the TOC.

The caller decides which entries and in what order (reproducibility.md 5.3: parents first, whiteouts of a directory
before what is added to it); this module writes them as given. ``index_layer`` is the way back: the same facts from a
blob made elsewhere. ``recompress`` gives a layer another form: the same tar, so the same DiffID and table of contents,
but for its table of members, which is about the old blob (toc.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import BinaryIO

import xxhash

from builder.image.digest import DiffID, Digest
from builder.rootfs.chunked import ChunkWriter
from builder.rootfs.coding import USUAL, Coding
from builder.rootfs.compression import decompress
from builder.rootfs.entry import ContentChangedError, Entry, Kind
from builder.rootfs.tarreader import read_members
from builder.rootfs.tarwriter import END, header, padding
from builder.rootfs.toc import TocWriter
from builder.rootfs.tocwriter import MAX_MEMBER
from builder.streams import CHUNK, HashingWriter, Readable, Writable
from builder.values import dataclass

Content = bytes | Callable[[], BinaryIO] | None
"""A file's bytes, or what opens them; the stream is read to its end and closed."""


@dataclass(frozen=True, slots=True)
class Item:
    """An entry and its contents. ``confirm`` is the XXH3-128 digest those must have."""

    entry: Entry
    content: Content = None
    confirm: bytes | None = None


@dataclass(frozen=True, slots=True)
class Packed:
    """What ``pack`` made: both identities, the sizes in bytes, and the compressor's fingerprint."""

    diff_id: DiffID
    digest: Digest
    size: int
    uncompressed_size: int
    entries: int
    compressor: str


def pack(
    items: Iterable[Item],
    blob: Writable,
    toc: Writable,
    *,
    coding: Coding = USUAL,
    threads: int | None = None,
) -> Packed:
    """Write ``items`` as a layer to ``blob`` and its table of contents to ``toc``; both stay open.

    Raises ContentChangedError for contents that differ from their entry's size or the item's digest, and passes on
    OSError of the contents and the targets: what was written then is of no use.
    """
    compressed = HashingWriter(blob)
    with coding.writer(compressed, threads=threads) as tar:
        index = TocWriter(toc)
        count = 0
        for item in items:
            _add(item, tar, index)
            count += 1
        tar.write(END)
        index.arrange()  # while the threads are still busy
        members = tar.close()
    diff_id = DiffID(Digest.from_hex(tar.hexdigest()))
    digest = Digest.from_hex(compressed.hexdigest())
    index.finish(diff_id, tar.size, members, digest)
    return Packed(
        diff_id=diff_id,
        digest=digest,
        size=compressed.size,
        uncompressed_size=tar.size,
        entries=count,
        compressor=coding.fingerprint(),
    )


def _add(item: Item, tar: ChunkWriter, index: TocWriter) -> None:
    entry, content = item.entry, item.content
    head = header(entry)
    start = tar.size + len(head)
    index.add_plain(entry, start)
    if entry.kind is not Kind.FILE:
        tar.write(head)
        return
    if isinstance(content, bytes):
        _check_size(entry, len(content))
        _check_digest(item, content)
        tar.write(b"%b%b%b" % (head, content, padding(entry.size)))
        if index.keeps(entry):
            index.keep(start, content)
    elif content is not None:
        _stream(item, content, head, tar, index)
    else:
        _check_size(entry, 0)
        tar.write(head)


def _stream(item: Item, opener: Callable[[], BinaryIO], head: bytes, tar: ChunkWriter, index: TocWriter) -> None:
    entry = item.entry
    start = tar.size + len(head)
    with opener() as stream:
        first = stream.read(min(entry.size + 1, CHUNK))
        if len(first) == entry.size:  # the usual small file: one write for all of it
            _check_end(entry, stream)
            _check_digest(item, first)
            tar.write(b"".join((head, first, padding(entry.size))))
            if index.keeps(entry):
                index.keep(start, first)
            return
        tar.write(head)
        kept = bytearray() if index.keeps(entry) else None
        hasher = xxhash.xxh3_128() if item.confirm is not None else None
        left, chunk = entry.size, first
        while chunk:
            left -= len(chunk)
            if left < 0:
                raise ContentChangedError(entry.path, "it grew")
            tar.write(chunk)
            if hasher is not None:
                hasher.update(chunk)
            if kept is not None:
                kept += chunk
            chunk = stream.read(min(left + 1, CHUNK))
    _check_size(entry, entry.size - left)
    if hasher is not None and hasher.digest() != item.confirm:
        raise ContentChangedError(entry.path, "other contents")
    tar.write(padding(entry.size))
    if kept is not None:
        index.keep(start, bytes(kept))


def _check_size(entry: Entry, size: int) -> None:
    if size != entry.size:
        grown = size > entry.size
        raise ContentChangedError(entry.path, "it grew" if grown else f"{size} bytes instead of {entry.size}")


def _check_end(entry: Entry, stream: BinaryIO) -> None:
    if stream.read(1):
        raise ContentChangedError(entry.path, "it grew")


def _check_digest(item: Item, contents: bytes) -> None:
    if item.confirm is not None and xxhash.xxh3_128_digest(contents) != item.confirm:
        raise ContentChangedError(item.entry.path, "other contents")


def index_layer(blob: Readable, toc: Writable, digest: Digest | None = None) -> DiffID:
    """Read a layer in any compression to its end; write its table of contents and return its DiffID.

    ``digest`` is the blob's, to be told which blob the table of members is about. Checks none: the caller compares.
    Raises LayerFormatError and UnsafePathError for what is no layer.
    """
    members: list[tuple[int, int]] = []

    def on_member(compressed: int, start: int) -> None:
        # Starts that lie close together are of no use, and a hostile blob could hold millions.
        if not members or start - members[-1][1] >= MAX_MEMBER // 8:
            members.append((compressed, start))

    tar = _HashingReader(decompress(blob, on_member=on_member))
    index = TocWriter(toc)
    for member, contents in read_members(tar):
        index.add(member)
        if index.keeps(member.entry):
            index.keep(member.offset, contents.read())
    while tar.read(CHUNK):  # what follows the end marker belongs to the DiffID
        pass
    diff_id = DiffID(Digest.from_hex(tar.hexdigest()))
    index.finish(diff_id, tar.size, members, digest)
    return diff_id


class _HashingReader:
    """Passes a stream's bytes on, and knows their SHA-256 and count."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._writer = HashingWriter(_Nowhere())

    @property
    def size(self) -> int:
        return self._writer.size

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self._writer.write(data)
        return data

    def hexdigest(self) -> str:
        return self._writer.hexdigest()


class _Nowhere:
    def write(self, data: bytes, /) -> None:
        pass


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

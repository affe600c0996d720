"""Variants: which compressed blob is the form of a layer that a certain compressor makes.

``variants/<diffid>/<compressor>`` -> descriptor. The compressor's name holds its fingerprint, so that blobs made by
different libraries never stand in for one another. A layer that came compressed is kept under a name of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from builder.cache.table import Table
from builder.errors import ImageError, OutputError
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID, Digest
from builder.patterns import pattern

_SAFE = pattern(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}")


class Variants:
    """All variants of a store."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def get(self, diff_id: DiffID, compressor: str) -> Descriptor | None:
        """Return the blob of a layer as ``compressor`` makes it; the blob itself may be gone."""
        return self._read(_name(diff_id, compressor))

    def put(self, diff_id: DiffID, compressor: str, descriptor: Descriptor) -> None:
        """Record (or replace) a compressed form; a store that refuses is a warning."""
        record = {
            "compressor": compressor,
            "media_type": descriptor.media_type,
            "digest": descriptor.digest,
            "size": descriptor.size,
        }
        try:
            self._table.put(_name(diff_id, compressor), record)
        except OutputError as error:
            self._table.warn(error.message)

    def all(self, diff_id: DiffID) -> Iterator[Descriptor]:
        """Yield every known compressed form of a layer, in a stable order."""
        for _, descriptor in self.forms(diff_id):
            yield descriptor

    def forms(self, diff_id: DiffID) -> Iterator[tuple[str, Descriptor]]:
        """Yield every known compressed form of a layer with the name of its compressor, in a stable order."""
        for name in self._table.names(diff_id.hex):
            if (descriptor := self._read(name)) is not None:
                yield name.rpartition("/")[2], descriptor

    def everything(self) -> Iterator[Descriptor]:
        """Yield every known compressed form of every layer; none of them counts as used."""
        for name in self._table.names():
            if (descriptor := self._read(name, used=False)) is not None:
                yield descriptor

    def _read(self, name: str, *, used: bool = True) -> Descriptor | None:
        record = self._table.get(name, used=used)
        if record is None:
            return None
        descriptor = parse_descriptor(record)
        if descriptor is None:
            self._table.damaged(name, "not a descriptor")
        return descriptor


def parse_descriptor(record: Mapping[str, object]) -> Descriptor | None:
    """Read media type, digest and size; None when they are not what they should be."""
    match record:
        case {"media_type": str(media_type), "digest": digest, "size": int(size)} if (
            not isinstance(size, bool) and size >= 0
        ):
            try:
                return Descriptor(media_type=media_type, digest=Digest.parse(digest), size=size)
            except ImageError:
                return None
        case _:
            return None


def _name(diff_id: DiffID, compressor: str) -> str:
    if not _SAFE.fullmatch(compressor):
        compressor = "_" + hashlib.sha256(compressor.encode()).hexdigest()
    return f"{diff_id.hex}/{compressor}"

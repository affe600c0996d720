"""Digests (OCI image-spec descriptor.md, "Digests") and the three kinds of identity made of them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator
from typing import NewType

from builder.errors import ImageError
from builder.patterns import pattern
from builder.streams import CHUNK, Readable, Writable

_PATTERN = pattern(r"sha256:[a-f0-9]{64}")


class DigestMismatchError(ImageError):
    """Bytes are not what their descriptor promised."""


class Digest(str):
    """``sha256:<64 hex digits>``; only made from checked text. Other algorithms are refused."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Digest:
        """Check ``text``. Raises ImageError."""
        if not isinstance(text, str) or not _PATTERN.fullmatch(text):
            raise ImageError(f"not a sha256 digest: {str(text)[:100]!r}", hint="only sha256 digests are supported")
        return cls(text)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """Return the digest of ``data``."""
        return cls("sha256:" + hashlib.sha256(data).hexdigest())

    @classmethod
    def from_hex(cls, text: str) -> Digest:
        """Return the digest with these 64 hex digits."""
        return cls.parse("sha256:" + text)

    @property
    def hex(self) -> str:
        """The 64 hex digits."""
        return self[7:]


DiffID = NewType("DiffID", Digest)
"""The uncompressed tar of a layer."""

ChainID = NewType("ChainID", Digest)
"""A layer and all below it (OCI image-spec config.md, "Layer ChainID")."""

EMPTY_CHAIN = ChainID(Digest.of(b""))
"""The ChainID we give the empty stack (``FROM scratch``); the specification leaves it open."""


def chain_id(diff_ids: Iterable[DiffID]) -> ChainID:
    """Return the ChainID of a stack, bottom first."""
    return [EMPTY_CHAIN, *chain_ids(diff_ids)][-1]


def chain_ids(diff_ids: Iterable[DiffID]) -> Iterator[ChainID]:
    """Yield the ChainIDs of all stacks from the lowest layer on, bottom first."""
    chain: ChainID | None = None
    for diff_id in diff_ids:
        chain = ChainID(Digest(diff_id)) if chain is None else _chained(chain, diff_id)
        yield chain


@functools.lru_cache(maxsize=4096)  # the steps of a build ask for stacks that differ in their topmost layer only
def _chained(chain: ChainID, diff_id: DiffID) -> ChainID:
    return ChainID(Digest.of(f"{chain} {diff_id}".encode()))


def copy_verified(source: Readable, target: Writable, digest: Digest, size: int, what: str) -> None:
    """Copy exactly ``size`` bytes that hash to ``digest``.

    Reads at most one byte more than promised. Raises DigestMismatchError, with the bytes already in ``target``:
    the caller throws them away.
    """
    hasher = hashlib.sha256()
    left = size + 1
    while left > 0 and (chunk := source.read(min(CHUNK, left))):
        hasher.update(chunk)
        target.write(chunk)
        left -= len(chunk)
    if left != 1:
        problem = "is longer than" if left <= 0 else f"ended {left - 1} bytes short of"
        raise DigestMismatchError(f"{what} {problem} its {size} bytes ({digest})")
    if hasher.hexdigest() != digest.hex:
        raise DigestMismatchError(f"{what} has digest sha256:{hasher.hexdigest()}, expected {digest}")

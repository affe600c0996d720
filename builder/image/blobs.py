"""What holds bytes by digest, as the other packages see it. Protocols only; ``builder.cache.blobs`` has the store."""

from __future__ import annotations

from typing import BinaryIO, Protocol

from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID, Digest


class BlobWriter(Protocol):
    """Bytes on their way into a store; a context manager that throws away what was not committed."""

    def write(self, data: bytes, /) -> int:
        """Add ``data``."""
        ...

    def commit(self, expected: Digest | None = None) -> Digest:
        """Make the bytes visible under their digest, atomically; idempotent.

        Raises DigestMismatchError if they are not ``expected``, OutputError if the store refuses.
        """
        ...

    def __enter__(self) -> BlobWriter: ...

    def __exit__(self, *exc: object) -> None: ...


class BlobStore(Protocol):
    """Blobs by digest."""

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob for reading, seekable. Raises FileNotFoundError when it is not there."""
        ...

    def contains(self, digest: Digest) -> bool:
        """Say whether ``open`` would find it."""
        ...

    def drop(self, digest: Digest) -> None:
        """Remove a blob whose bytes turned out to be others."""
        ...

    def writer(self) -> BlobWriter:
        """Start a new blob."""
        ...


class Layer(Protocol):
    """Compressed bytes with both identities."""

    @property
    def descriptor(self) -> Descriptor:
        """The compressed form."""
        ...

    @property
    def diff_id(self) -> DiffID:
        """The uncompressed tar."""
        ...

    def open(self) -> BinaryIO:
        """Open the compressed bytes, seekable; fetches them first when only their descriptor is here."""
        ...

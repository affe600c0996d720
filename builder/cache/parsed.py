"""Parsed Dockerfiles: bytes by the digest of what they were made from, so that a warm build loads no parser.

What the bytes mean, and that the grammar's version is part of the name, is the caller's business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from builder.cache import sealed
from builder.cache.scratch import Scratch
from builder.errors import CacheError, OutputError

_LIMIT = 64 << 20
_KIND = "parsed"


class Parsed:
    """Parse results of a store. Thread-safe, process-safe."""

    def __init__(self, root: Path, scratch: Scratch, warn: Callable[[str], None]) -> None:
        self._directory = root / "parsed"
        self._scratch = scratch
        self._warn = warn

    @staticmethod
    def name(data: bytes, version: str) -> str:
        """Return the name for the results of parsing ``data`` with a grammar of this version."""
        return hashlib.sha256(b"%d:%b%b" % (len(version), version.encode(), data)).hexdigest()

    def get(self, name: str) -> bytes | None:
        """Return the bytes put under ``name``; damaged ones are a miss with a warning."""
        try:
            return sealed.read(self._directory / name, _KIND, name, limit=_LIMIT)
        except CacheError as error:
            self._warn(f"{error.message}; it is ignored")
            return None

    def put(self, name: str, data: bytes) -> None:
        """Keep ``data``, as far as the store lets us: the next build can parse again."""
        path = self._directory / name
        try:
            temporary = self._scratch.file()
            try:
                sealed.write_temporary(temporary, sealed.seal(_KIND, name, data))
                sealed.replace(temporary, path)
            finally:
                sealed.discard(temporary)
        except OSError as error:
            self._warn(f"cannot write {path}: {error.strerror}")
        except OutputError as error:
            self._warn(error.message)

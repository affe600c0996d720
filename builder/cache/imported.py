"""What the store keeps of one source of shared results, apart from everything else: ``imported/<source>/``.

Who can write a source can write the images of builds that name it, and of no others. So results that depend on what a
source claims, and the tables of contents it claims, are kept here and never get into ``selectors`` or ``toc``. Whether
a claim is true is found out by the engine, when the layer's bytes pass.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from builder.cache import sealed
from builder.cache.scratch import Scratch
from builder.cache.selectors import Selectors
from builder.cache.table import Table
from builder.errors import ImageError, OutputError, room_hint
from builder.image.digest import DiffID, Digest

_NAME, _DISTRUSTED = "name", "distrusted"


class Imported:
    """One source's part of a store. Thread-safe, process-safe."""

    def __init__(self, root: Path, name: str, scratch: Scratch, locks: Path, warn: Callable[[str], None]) -> None:
        """``name`` says which source it is, for people too; nothing is written before there is something to keep."""
        self.name = name
        self.directory = root / "imported" / hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        self._scratch = scratch
        self._warn = warn
        self._records = Table(self.directory, "imported", scratch, locks, warn)
        self.selectors = Selectors(Table(self.directory / "selectors", "imported selector", scratch, locks, warn))
        """Results that were made here with what this source claims."""

    def tables_of(self, tag: str) -> tuple[Digest, tuple[Digest, ...]] | None:
        """Return an entry's root document and its tables, as ``remember`` was told; their bytes are in the blobs."""
        match self._records.get(f"entries/{tag}"):
            case {"root": root, "tables": [*tables]}:
                try:
                    return Digest.parse(root), tuple(map(Digest.parse, tables))
                except ImageError:
                    return None
            case _:
                return None

    def remember(self, tag: str, root: Digest, tables: Iterable[Digest]) -> None:
        """Remember what an entry consists of, which never changes; a store that refuses is a warning."""
        self._put(f"entries/{tag}", {"root": root, "tables": list(tables)})

    def toc_path(self, diff_id: DiffID, facts: Digest) -> Path:
        """Return where a claimed table of contents is, or would be."""
        return self.directory / "toc" / f"{diff_id.hex}.{facts.hex}"

    def publish_toc(self, temporary: Path, diff_id: DiffID, facts: Digest) -> Path:
        """Keep a claimed table of contents and return its path. Raises OutputError."""
        path = self.toc_path(diff_id, facts)
        try:
            sealed.replace(temporary, path)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}", hint=room_hint(error)) from error
        return path

    def distrusted(self) -> frozenset[str]:
        """Return the tags of entries that are not read any more."""
        match self._records.get(_DISTRUSTED):
            case {"tags": [*tags]}:
                return frozenset(one for one in tags if isinstance(one, str))
            case _:
                return frozenset()

    def distrust(self, tags: Iterable[str]) -> None:
        """Forget all that depended on this source, and never read these entries again."""
        known = sorted(self.distrusted().union(tags))
        self.forget()
        self._put(_DISTRUSTED, {"tags": known})

    def forget(self) -> None:
        """Remove everything that is kept of this source."""
        from builder.rootfs.rooted import remove_tree

        remove_tree(self.directory)

    def touch(self) -> None:
        """Say that the source was used now: what is not used for long is pruned."""
        try:
            os.utime(self.directory / _NAME)
        except FileNotFoundError:
            self._put(_NAME, {"name": self.name})
        except OSError:
            pass  # a store that is read-only: nothing is pruned there

    def _put(self, name: str, record: Mapping[str, object]) -> None:
        try:
            self._records.put(name, record)
        except OutputError as error:
            self._warn(error.message)

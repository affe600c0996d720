"""Files to copy from that are no directory on disk: another stage's, and single ones made or fetched by the build."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from builder.engine.layers import StoreLayer, view_of
from builder.rootfs.contents import LayerContents
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.view import Located, View

_MOST_LISTED = 20_000
"""Entries of directories that are kept, as they are used again soon."""


class MemoryTree:
    """A flat directory of files, each with what opens it."""

    def __init__(self, files: Mapping[str, tuple[Entry, Callable[[], BinaryIO]]]) -> None:
        self._files = files

    def lstat(self, path: str) -> Entry | None:
        """Return a file's entry, or the root's."""
        if not path:
            return Entry(path="", kind=Kind.DIRECTORY)
        found = self._files.get(path)
        return None if found is None else found[0]

    def children(self, path: str) -> Sequence[Entry]:
        """Return all files by name."""
        return () if path else [self._files[name][0] for name in sorted(self._files)]

    def open(self, path: str) -> BinaryIO:
        """Open a file."""
        return self._files[path][1]()

    def link_key(self, path: str) -> None:
        """No two names share a file."""
        del path


class StageTree:
    """A stack's files to copy from. Close it when the copying is done; it may be used again."""

    def __init__(self, stack: Sequence[StoreLayer], scratch: Path) -> None:
        self._stack = stack
        self._view = view_of(stack)
        self._scratch = scratch
        self._contents: dict[int, LayerContents] = {}
        self._lock = threading.Lock()
        self._walked: set[str] = set()
        self._listed: dict[str, dict[str, Located]] = {}
        self._count = 0

    def close(self) -> None:
        """Give back temporary files."""
        with self._lock:
            while self._contents:
                self._contents.popitem()[1].close()

    def lstat(self, path: str) -> Entry | None:
        """Return the entry at ``path``; no symlink is followed."""
        located = self._locate(path)
        return None if located is None else located.entry

    def children(self, path: str) -> Sequence[Entry]:
        """Return what a directory holds, by name."""
        return [located.entry for located in self._list(path).values()]

    def open(self, path: str) -> BinaryIO:
        """Open a regular file's contents; fetches its layer if need be."""
        located = self._locate(path)
        if located is None:
            raise FileNotFoundError(path)
        with self._lock:
            contents = self._contents.get(located.layer)
            if contents is None:
                layer = self._stack[located.layer]
                layer.check()
                contents = LayerContents(layer.open, layer.toc(), self._scratch, layer.descriptor.digest)
                self._contents[located.layer] = contents
        return contents.open(located.offset, located.entry.size)

    def link_key(self, path: str) -> str | None:
        """Return the file that the names of a link group share."""
        located = self._locate(path)
        return None if located is None else located.group

    def _locate(self, path: str) -> Located | None:
        """Return what is at ``path``. Who has gone through a directory asks for all that is in it, several times."""
        directory = path.rpartition("/")[0]
        if path and directory in self._walked:
            return self._list(directory).get(path)
        return self._view.lookup(path)

    def _list(self, directory: str) -> dict[str, Located]:
        found = self._listed.get(directory)
        if found is None:
            found = {located.entry.path: located for located in self._view.children(directory)}
            if len(found) > _MOST_LISTED:
                return found
            if self._count + len(found) > _MOST_LISTED:
                self._listed, self._count = {}, 0
            self._walked.add(directory)
            self._listed[directory] = found
            self._count += len(found)
        return found


def read_small(stack: Sequence[StoreLayer], view: View, path: str, scratch: Path, limit: int) -> bytes | None:
    """Return the contents of a small regular file of the image, links followed; None for anything else.

    From the TOC where it keeps them, else from the layer's bytes.
    """
    place = view.resolve(path)
    located = view.lookup(place)
    if located is None or located.entry.kind != "f" or located.entry.size > limit:
        return None
    kept = view.small_file(place)
    if kept is not None:
        return kept
    tree = StageTree(stack, scratch)
    try:
        with tree.open(place) as stream:
            return stream.read(limit)
    finally:
        tree.close()

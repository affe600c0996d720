"""Files to copy from that are no directory on disk: another stage's, and single ones made or fetched by the build."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from builder.engine.layers import StoreLayer, view_of
from builder.rootfs.contents import LayerContents
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.view import View


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
    """A stack's files to copy from. Close it when the copying is done."""

    def __init__(self, stack: Sequence[StoreLayer], scratch: Path) -> None:
        self._stack = stack
        self._view = view_of(stack)
        self._scratch = scratch
        self._contents: dict[int, LayerContents] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Give back temporary files."""
        for contents in self._contents.values():
            contents.close()

    def lstat(self, path: str) -> Entry | None:
        """Return the entry at ``path``; no symlink is followed."""
        located = self._view.lookup(path)
        return None if located is None else located.entry

    def children(self, path: str) -> Sequence[Entry]:
        """Return what a directory holds, by name."""
        return [located.entry for located in self._view.children(path)]

    def open(self, path: str) -> BinaryIO:
        """Open a regular file's contents; fetches its layer if need be."""
        located = self._view.lookup(path)
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
        located = self._view.lookup(path)
        return None if located is None else located.group


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

"""Whether files like those of a COPY were ever copied here, found out without reading them (docs/adr/0015).

A sketch is a key that equal contents have in common, made of names, sizes and the first bytes of a few files. It is
recorded with every result. Where it is missing no result can be found, so that a COPY may read, hash and pack its
files in one go; where it is there, nothing is known, and the files are hashed first as always.
"""

from __future__ import annotations

import hashlib
import stat
import struct
from collections.abc import Iterable, Sequence

from builder.cache.keys import Key, key
from builder.context.contenthash import split
from builder.context.directory import DirectoryTree
from builder.context.listing import Node, size_of, sizes_in
from builder.engine.selecting import Selection, Source, Whole, check_depth
from builder.engine.times import TimePolicy
from builder.rootfs.entry import Kind

_VERSION = 2

_SAMPLES = 64
"""Files that are looked into, about, of a directory and of all that are taken one by one."""

_SAMPLE = 1 << 16
"""Bytes of a file that are looked at."""

_FEW, _SMALL = 512, 16 << 20
"""Files and bytes of them that nobody makes a sketch of: fewer of both are soon hashed."""

_SIZES = struct.Struct("<q")


def sketch_of(source: Source, selections: Iterable[Selection], times: TimePolicy) -> Key | None:
    """Return the sketch of what a COPY takes from a directory on disk; None for other places, and what is soon hashed.

    Raises ContextError.
    """
    tree = source.tree
    if not source.mutable or not isinstance(tree, DirectoryTree):
        return None
    work = _Sketching(tree)
    for one in selections:
        work.add(one)
    if work.files < _FEW and work.bytes < _SMALL:
        return None
    return key("sketch of a copy", _VERSION, (times.identity(), work.digest()))


class _Sketching:
    """What is counted and hashed of the files; nothing that could differ where what a key says of them is equal."""

    def __init__(self, tree: DirectoryTree) -> None:
        self._tree = tree
        self._digest = hashlib.sha256()
        self._single: list[tuple[str, Node]] = []
        self.files = self.bytes = 0

    def digest(self) -> bytes:
        """Return the SHA-256 of what was added, once all was."""
        for path, node in self._single[:: max(1, len(self._single) // _SAMPLES)]:
            self._sample(*split(path), node)
        return self._digest.digest()

    def add(self, selection: Selection) -> None:
        """Count what is selected in."""
        picked = selection.picked
        if not isinstance(picked, Whole):
            files = [
                (one.entry.path, node)
                for one in picked
                if one.entry.kind is Kind.FILE and (node := self._tree.file(one.entry.path)) is not None
            ]
            self._count([node for _, node in files])
            self._single += files
            return
        start = self.files
        for directory, nodes in self._tree.walk(picked.top.path):
            check_depth(directory)
            self._digest.update("\0".join([name for name, _ in nodes]).encode("utf-8", "surrogateescape") + b"\0\0")
            self._count([node for _, node in nodes if node[3] is None or stat.S_ISREG(node[0])])
        self._look_into(picked.top.path, max(1, (self.files - start) // _SAMPLES))

    def _count(self, nodes: Sequence[Node]) -> None:
        sizes = sizes_in(nodes)
        self._digest.update(b"%d %b" % (len(nodes), sizes))
        self.files += len(nodes)
        self.bytes += sum(size for (size,) in _SIZES.iter_unpack(sizes))

    def _look_into(self, top: str, step: int) -> None:
        """Take a sample of every file whose turn it is."""
        skip = 0
        for directory, nodes in self._tree.walk(top):
            files = [one for one in nodes if one[1][3] is None or stat.S_ISREG(one[1][0])]
            for name, node in files[skip::step]:
                self._sample(directory, name, node)
            skip = (skip - len(files)) % step

    def _sample(self, directory: str, name: str, node: Node) -> None:
        begins = self._tree.read(directory, name, min(size_of(node), _SAMPLE))[0]
        self._digest.update(hashlib.sha256(begins[:_SAMPLE]).digest())

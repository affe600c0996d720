"""The layer a RUN leaves: the difference between an overlay upper directory and the layers below it.

run-sandbox.md 5, semantics 45-52. The upper is read on its own file system, after everything that wrote to it has
ended. What is the same as below (type, mode, owner, times, size, target, attributes and contents) is not in the layer,
however it was touched; only a directory's time is no change by itself. The order is canonical: parents first, a
directory's whiteouts before what it adds, names sorted. Opaque directories become explicit whiteouts, which the
specification prefers. This module reads; it neither mounts nor writes tar.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from builder.errors import OutputError
from builder.rootfs.entry import Entry, Kind, LayerFormatError
from builder.rootfs.limits import MAX_DEPTH
from builder.rootfs.pack import Content, Item
from builder.rootfs.rooted import join
from builder.rootfs.tarwriter import WHITEOUT_PREFIX
from builder.rootfs.whiteout import (
    descend,
    describe,
    is_opaque,
    is_whiteout,
    layer_xattrs,
    lookup,
    names,
)
from builder.streams import CHUNK
from builder.values import dataclass, replace

_SMALL = 1 << 16
"""Bytes of a file that is read at once."""

_Inode = tuple[int, int]


@dataclass(slots=True)
class _Node:
    """A name in the upper; ``status`` is None for a name that is gone."""

    path: str
    parent: _Node | None
    status: os.stat_result | None
    below: tuple[str, os.stat_result] | None
    """What the layers below show under this name."""
    stack: tuple[str, ...] = ()
    """For a directory: the directories of the layers below that have this path, top first."""
    opaque: bool = False
    """For a directory: the layers below do not shine through."""
    emitted: bool = False


def diff(upper: Path, lowers: Sequence[Path], *, clamp: int | None = None, single: bool = False) -> Iterator[Item]:
    """Yield what a layer must hold to turn ``lowers`` (bottom first, as in an image) into what ``upper`` on top shows.

    Nothing is yielded for an upper without a change. ``clamp`` is the newest mtime allowed, in seconds, and the mtime
    of whiteouts, which is 0 otherwise. ``single``: owners are the recorded ones. Large contents are opened when asked
    for, so the upper must stay until the last item is used. Raises LayerFormatError for reserved names and
    for paths that are too long.
    """
    try:
        yield from _Diff(str(upper), tuple(str(path) for path in reversed(lowers)), clamp, single).items()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise OutputError(f"cannot read the changes in {upper}: {error.strerror}") from error
        raise LayerFormatError(
            f"a path is too long for a layer: {str(error.filename)[len(str(upper)) :][:200]}..."
        ) from error


class _Diff:
    def __init__(self, upper: str, lowers: tuple[str, ...], clamp: int | None, single: bool) -> None:
        self._upper = upper
        self._lowers = lowers
        self._clamp = clamp
        self._single = single

    def items(self) -> Iterator[Item]:
        changed: Mapping[_Inode, bool] | None = None
        first: dict[_Inode, str] = {}
        for node in self._nodes():
            status = node.status
            if status is None:
                if node.parent is None or not node.parent.emitted:
                    yield from self._parents(node)
                yield Item(Entry(path=node.path, kind=Kind.WHITEOUT, mode=0, mtime=self._clamp or 0))
            elif _is_linked(status):
                inode = (status.st_dev, status.st_ino)
                if changed is None:  # another walk, which nearly no step needs
                    changed = self._changed_groups()
                if changed[inode]:
                    yield from self._parents(node)
                    yield self._linked(node, status, first.setdefault(inode, node.path))
            elif node.below is None or not self._same(node, status, node.below):
                if node.parent is None or not node.parent.emitted:
                    yield from self._parents(node)
                yield self._item(node, status)

    def _changed_groups(self) -> Mapping[_Inode, bool]:
        """Decide for the names of one file together: if one of them is in the layer, all are, or the link is lost."""
        changed: dict[_Inode, bool] = {}
        origin: dict[_Inode, _Inode | None] = {}
        for node in self._nodes():
            status = node.status
            if status is not None and _is_linked(status):
                inode = (status.st_dev, status.st_ino)
                source = (node.below[1].st_dev, node.below[1].st_ino) if node.below else None
                # Equal files that were apart below and are one file now are a change as well.
                if changed.get(inode) is not True and source == origin.setdefault(inode, source):
                    changed[inode] = node.below is None or not self._same(node, status, node.below)
                else:
                    changed[inode] = True
        return changed

    def _nodes(self) -> Iterator[_Node]:
        """Walk the upper in canonical order."""
        stack = [self._children(_Node("", None, None, None, self._lowers, emitted=True))]
        while stack:
            for node in stack[-1]:
                yield node
                if node.status is not None and stat.S_ISDIR(node.status.st_mode):
                    stack.append(self._children(node))
                    break
            else:
                stack.pop()

    def _children(self, parent: _Node) -> Iterator[_Node]:
        gone: set[str] = set()
        present: dict[str, os.stat_result] = {}
        with os.scandir(self._file(parent.path)) as entries:
            for found in entries:
                status = found.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) or not is_whiteout(status):
                    present[found.name] = status
                else:
                    gone.add(found.name)
        if parent.opaque:
            gone |= names(parent.stack) - present.keys()
        for name in sorted(gone):
            if lookup(parent.stack, name) is not None:
                yield _Node(join(parent.path, name), parent, None, None)
        for name in sorted(present):
            yield self._node(parent, name, present[name])

    def _node(self, parent: _Node, name: str, status: os.stat_result) -> _Node:
        path = join(parent.path, name)
        if name.startswith(WHITEOUT_PREFIX):
            raise LayerFormatError(
                f"{path}: names that begin with {WHITEOUT_PREFIX} mean deletions in a layer",
                hint="give the file another name, or remove it in the same RUN",
            )
        if not stat.S_ISDIR(status.st_mode):
            return _Node(path, parent, status, lookup(parent.stack, name) if parent.stack else None)
        if path.count("/") >= MAX_DEPTH:
            raise LayerFormatError(f"{path[:200]}...: more than {MAX_DEPTH} directories deep")
        stack = descend(parent.stack, name)
        below = (stack[0], os.lstat(stack[0])) if stack else None
        opaque = bool(stack) and (parent.opaque or is_opaque(self._file(path)))
        return _Node(path, parent, status, below, stack, opaque)

    def _file(self, path: str) -> str:
        return f"{self._upper}/{path}" if path else self._upper

    def _same(self, node: _Node, status: os.stat_result, below: tuple[str, os.stat_result]) -> bool:
        """Whether the layers below show the very same thing under this name."""
        return is_same(self._file(node.path), status, *below, single=self._single)

    def _parents(self, node: _Node) -> Iterator[Item]:
        """Yield the directories above that are not in the layer yet; an entry whose parent is missing is a surprise."""
        missing: list[_Node] = []
        parent = node.parent
        while parent is not None and not parent.emitted:
            missing.append(parent)
            parent = parent.parent
        for directory in reversed(missing):
            if directory.status is not None:
                yield self._item(directory, directory.status)

    def _item(self, node: _Node, status: os.stat_result) -> Item:
        node.emitted = True
        file = f"{self._upper}/{node.path}"
        entry = describe(file, node.path, status, single=self._single, xattrs=layer_xattrs(file))
        if self._clamp is not None and entry.mtime > self._clamp:
            entry = replace(entry, mtime=self._clamp)
        return Item(entry, _contents(file, entry.size) if entry.kind is Kind.FILE else None)

    def _linked(self, node: _Node, status: os.stat_result, first: str) -> Item:
        item = self._item(node, status)
        if first == node.path:
            return item
        # The attributes are repeated, because appliers chown a link too, which clears the file's capabilities.
        return Item(replace(item.entry, kind=Kind.HARDLINK, target=first, size=0))


def is_same(file: str, status: os.stat_result, lower: str, old: os.stat_result, *, single: bool) -> bool:
    """Whether ``file`` and ``lower``, given with their status, cannot be told apart; directories by more than time."""
    if _shape(status) != _shape(old):
        return False
    ours = describe(file, "", status, single=single, xattrs=layer_xattrs(file))
    theirs = describe(lower, "", old, single=single, xattrs=layer_xattrs(lower))
    if ours.is_dir:
        theirs = replace(theirs, mtime=ours.mtime)
    if ours != theirs or ours.xattrs != theirs.xattrs:
        return False
    return ours.kind is not Kind.FILE or _same_contents(file, lower)


def _contents(file: str, size: int) -> Content:
    """Return a small file's bytes, which many files with an object for each would take twice as long to give."""
    if size <= _SMALL:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(fd, size + 1)
        finally:
            os.close(fd)
        if len(data) == size:
            return data
    return partial(_open, file)


def _open(file: str) -> BinaryIO:
    return open(file, "rb", buffering=0)


def _is_linked(status: os.stat_result) -> bool:
    return status.st_nlink > 1 and stat.S_ISREG(status.st_mode)


def _shape(status: os.stat_result) -> tuple[int, ...]:
    """Return what tells most changed entries apart without another system call."""
    if stat.S_ISDIR(status.st_mode):
        return status.st_mode, status.st_uid, status.st_gid
    return (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_size, status.st_rdev)


def _same_contents(left: str, right: str) -> bool:
    with open(left, "rb", buffering=0) as one, open(right, "rb", buffering=0) as other:
        while True:
            ours, theirs = one.read(CHUNK), other.read(CHUNK)
            if ours != theirs:
                return False
            if not ours:
                return True

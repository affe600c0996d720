"""A whole directory of a context on its way into a layer: its items are made one by one while the layer is packed.

What comes out is what :mod:`builder.engine.copying` would put into a ``LayerBuilder`` entry by entry, without keeping
anything of a file but what its listing and the digests of its contents take. Does not know what else is in the layer.
"""

from __future__ import annotations

import functools
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from builder.context.listing import Node, entry_of
from builder.engine.selecting import check_depth
from builder.errors import ContextError
from builder.rootfs.entry import Kind
from builder.rootfs.pack import Item
from builder.rootfs.tarwriter import WHITEOUT_PREFIX
from builder.values import replace

if TYPE_CHECKING:
    from builder.context.directory import DirectoryTree
    from builder.engine.copying import CopyRules
    from builder.engine.selecting import Source
    from builder.rootfs.view import View

_AT_ONCE = 1 << 18
"""Bytes of a file that is read in one piece."""

_DIGEST = slice(32, 48)
"""Where the XXH3-128 is in what a hasher tells."""


class Graft:
    """What is below ``top`` in ``tree``, placed below ``path`` in a tree that showed ``view``. Iterate it once.

    ``tree`` is that of ``source``. If that may change, a file's contents must have the digest that is known of them.
    """

    def __init__(self, source: Source, tree: DirectoryTree, top: str, path: str, rules: CopyRules, view: View) -> None:
        self._tree = tree
        self._hasher = source.hasher if source.mutable else None
        self._unseen = source.unseen
        self._top = top
        self._path = path
        self._rules = rules
        self._view = view
        self._links: dict[tuple[int, int], str] = {}

    def __bool__(self) -> bool:
        """Return whether there is anything."""
        return bool(self._tree.nodes(self._top))

    def __iter__(self) -> Iterator[Item]:
        """Yield the items, a directory before what is in it. Raises ContextError for what cannot be there."""
        pending = [self._directory(self._top, self._path)]
        while pending:
            for item, below in pending[-1]:
                yield item
                if below:
                    pending.append(self._directory(*below))
                    break
            else:
                pending.pop()

    def _directory(self, source: str, path: str) -> Iterator[tuple[Item, tuple[str, str] | None]]:
        """Yield what is directly in ``source``, each with where it lies and goes if it is a directory."""
        check_depth(source)
        prefix, above = f"{path}/" if path else "", f"{source}/" if source else ""
        old = self._view.kind_of(path)
        fresh = old is None or old[0] is not Kind.DIRECTORY
        for name, node in self._tree.nodes(source):
            place = prefix + name
            check_name(place, name)
            is_directory = stat.S_ISDIR(node[0])
            if not fresh:
                found = self._view.kind_of(place)
                if found is not None:
                    check_kind(place, was=found[0] is Kind.DIRECTORY, becomes=is_directory)
            item = self._item(source, name, place, node)
            yield item, (above + name, place) if is_directory else None

    def _item(self, source: str, name: str, path: str, node: Node) -> Item:
        entry = self._rules.changed(entry_of(path, node), path)
        if entry.kind is not Kind.FILE:
            return Item(entry)
        special = node[3]
        if special is not None and special.link is not None:
            first = self._links.setdefault(special.link, path)
            if first != path:
                return Item(replace(entry, kind=Kind.HARDLINK, target=first, size=0))
        if not stat.S_ISREG(node[0]):
            return Item(entry, b"")
        size, tree, hasher = entry.size, self._tree, self._hasher
        confirm, opener = None, tree.open
        if hasher is not None:
            if not self._unseen:
                confirm = hasher.listed(source, name, node)[_DIGEST]
            elif known := hasher.known(node):
                confirm = known[_DIGEST]
            elif size <= _AT_ONCE:
                return Item(entry, hasher.take(source, name, node))
            else:
                opener = hasher.open
        if size <= _AT_ONCE:
            data = tree.read(source, name, size)[0] if confirm is None else tree.read_again(source, name, size)
            return Item(entry, data, confirm)
        return Item(entry, functools.partial(opener, f"{source}/{name}" if source else name), confirm)


def check_name(path: str, name: str) -> None:
    """Raise ContextError for a name that would delete something when the layer is extracted."""
    if name.startswith(WHITEOUT_PREFIX):
        raise ContextError(
            f"/{path}: a layer cannot hold names that start with {WHITEOUT_PREFIX}",
            hint="rename it, or leave it out with .dockerignore or --exclude",
        )


def check_kind(path: str, *, was: bool, becomes: bool) -> None:
    """Raise ContextError where a file would take a directory's place or the reverse."""
    if was and not becomes:
        raise ContextError(f"cannot replace to directory /{path} with file")
    if becomes and not was:
        raise ContextError(f"cannot copy to non-directory: /{path}")

"""What COPY reads from: a tree of entries, and how symlinks and wildcards are followed in one (dockerfile.md 1.8).

:class:`Tree` is the view that directories of the user's and results of other stages share. Paths are root-relative
and clean, ``""`` is the root. Nothing here touches a file; :mod:`builder.context.directory` does.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import BinaryIO, Protocol

from builder.context.gomatch import compile_pattern, has_wildcard, root_relative
from builder.errors import ContextError
from builder.rootfs.entry import Entry, Kind, UnsafePathError
from builder.rootfs.rooted import resolve_links
from builder.streams import read_limited


class Tree(Protocol):
    """Files to copy from. All methods may be called from any thread and raise ContextError for what is unreadable."""

    def lstat(self, path: str) -> Entry | None:
        """Return the entry at ``path``; None if there is none. No component is followed if it is a symlink."""
        ...

    def children(self, path: str) -> Sequence[Entry]:
        """Return the entries directly in the directory ``path`` by name; none if it is no directory."""
        ...

    def open(self, path: str) -> BinaryIO:
        """Open the regular file ``path`` for reading; the caller closes it."""
        ...

    def link_key(self, path: str) -> Hashable | None:
        """Return what only the names of one file have in common; None for a file of one name."""
        ...


def resolve(tree: Tree, path: str) -> str:
    """Return ``path`` with every symlink on it replaced, never leaving the root: ``..`` above it stays there.

    What does not exist is kept as it was written. Raises ContextError for a loop.
    """

    def read_link(candidate: str) -> str | None:
        entry = tree.lstat(candidate)
        return entry.target if entry is not None and entry.kind is Kind.SYMLINK else None

    try:
        return resolve_links(path, read_link)
    except UnsafePathError as error:
        raise ContextError(error.message) from error


def expand(tree: Tree, pattern: str) -> list[str]:
    """Return the paths that a COPY source with wildcards names, in order; raise PatternError for a malformed one.

    The directories before the first wildcard are followed if they are symlinks, what lies behind is not. A directory
    that matches is not searched for further matches. Without any wildcard, this is ``pattern`` itself.
    """
    compile_pattern(pattern)
    parts = [part for part in root_relative(pattern).split("/") if part]
    fixed = 0
    while fixed < len(parts) and not has_wildcard(parts[fixed]):
        fixed += 1
    if fixed == len(parts):
        return ["/".join(parts)]
    found = [resolve(tree, "/".join(parts[:fixed]))]
    for part in parts[fixed:]:
        expression = compile_pattern(part)
        found = [
            entry.path
            for directory in found
            for entry in tree.children(directory)
            if expression.match(entry.path.rpartition("/")[2])
        ]
    return found


def read_file(tree: Tree, path: str, *, limit: int) -> bytes | None:
    """Return the contents of a small file, symlinks followed; None if it is no regular file.

    Raises ContextError if it is longer than ``limit`` bytes.
    """
    place = resolve(tree, path)
    entry = tree.lstat(place)
    if entry is None or entry.kind is not Kind.FILE:
        return None
    with tree.open(place) as stream:
        return read_limited(stream, limit, lambda: ContextError(f"{path} is larger than {limit} bytes"))

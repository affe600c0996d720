"""What is in a context."""

from __future__ import annotations

from builder.context.tree import Tree


def paths_of(tree: Tree, top: str = "") -> list[str]:
    """Return ``top`` and all below, a directory before its children, names in order; nothing of what is not there."""
    entry = tree.lstat(top)
    if entry is None:
        return []
    children = tree.children(top) if entry.is_dir else ()
    return [top, *(path for child in children for path in paths_of(tree, child.path))]

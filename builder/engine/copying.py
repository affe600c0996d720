"""Where copied files go and what they look like there (dockerfile.md 1.8, semantics 1 to 13).

Works on tables of contents alone: the destination is a ``LayerBuilder``, never a directory. Bytes are only opened
when the layer is packed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from builder.context.directory import DirectoryTree
from builder.engine.grafting import Graft, check_kind
from builder.engine.layerbuilder import LayerBuilder, NewDirectory
from builder.engine.modes import changed_mode, octal_mode
from builder.engine.selecting import Picked, Selection, Source, Whole
from builder.errors import ContextError
from builder.rootfs.entry import Entry, Kind
from builder.values import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRules:
    """How copied entries are changed on their way.

    ``owner`` is ``--chown`` in numbers, ``adjust`` what determinism asks for (times, and modes of a context's files).
    """

    owner: tuple[int, int] | None
    chmod: str | None
    instruction: str
    adjust: Callable[[Entry], Entry]

    def parent(self) -> NewDirectory:
        """Return what a directory that has to be made looks like."""
        return NewDirectory(octal_mode(self.chmod), self.owner)

    def changed(self, entry: Entry, path: str) -> Entry:
        """Return ``entry`` as it appears at ``path`` in the image."""
        entry = self.adjust(entry)
        if entry.path != path:
            entry = replace(entry, path=path)
        if self.owner is not None:
            entry = replace(entry, uid=self.owner[0], gid=self.owner[1])
        if self.chmod is not None and entry.kind is not Kind.SYMLINK:
            entry = replace(entry, mode=changed_mode(self.chmod, entry.mode, directory=entry.is_dir))
        return entry


def check_files(target: LayerBuilder, selections: Sequence[Selection], dest: str, rules: CopyRules) -> None:
    """Raise ContextError where several files would overwrite each other at one name (dockerfile.md 1.13, 4)."""
    loose = [one for one in selections if not one.top.is_dir and one.below is None]
    if len(loose) > 1 and not _is_directory(target, target.resolve(dest), dest):
        raise ContextError(
            f"when using {rules.instruction} with more than one source file, the destination must be a directory "
            "and end with a /",
            hint=f"write {dest}/",
        )


def place(target: LayerBuilder, source: Source, selection: Selection, dest: str, rules: CopyRules) -> None:
    """Put what was selected at ``dest`` (absolute; a trailing slash makes it a directory).

    Raises ContextError where a file would take a directory's place or the reverse.
    """
    top = target.resolve(dest)
    target.separate()
    if selection.below is not None:
        _place_with_parents(target, source, selection, top, rules)
    elif selection.top.is_dir:
        _place_directory(target, source, selection, top, rules)
    else:
        inside = _is_directory(target, top, dest)
        _place_file(target, source, selection, _file_path(top, dest, selection, inside), rules)


def _is_directory(target: LayerBuilder, top: str, dest: str) -> bool:
    existing = target.lookup(top)
    return dest.endswith("/") or (existing is not None and existing.is_dir)


def _file_path(top: str, dest: str, selection: Selection, into_directory: bool) -> str:
    if into_directory:
        return f"{top}/{selection.name}" if top else selection.name
    if not top:
        raise ContextError(f"cannot copy a file to {dest}")
    return top


def _place_file(target: LayerBuilder, source: Source, selection: Selection, path: str, rules: CopyRules) -> None:
    directory = path.rpartition("/")[0]
    if directory:
        target.make_directories(directory, rules.parent())
    _put(target, source, selection.picked[0], path, rules)


def _place_directory(target: LayerBuilder, source: Source, selection: Selection, path: str, rules: CopyRules) -> None:
    """Copy a directory's contents; its own owner and mode stay behind (semantics 4)."""
    is_new = target.lookup(path) is None
    if path:
        target.make_directories(path, rules.parent())
    if is_new and (selection.top.path or selection.top.mtime):
        # A root without an entry of its own has no time to pass on.
        target.set_time(path, rules.adjust(selection.top).mtime)
    _put_below(target, source, selection, path, rules)


def _place_with_parents(
    target: LayerBuilder, source: Source, selection: Selection, path: str, rules: CopyRules
) -> None:
    """``--parents``: keep the path below the pivot, with the source's own directories."""
    if path:
        target.make_directories(path, rules.parent())
    prefix = f"{path}/" if path else ""
    for parent in selection.parents:
        _put(target, source, parent, prefix + parent.relative, rules)
    below = selection.below or ""
    if below:
        _put(target, source, selection.picked[0], prefix + below, rules)
    _put_below(target, source, selection, (prefix + below).rstrip("/"), rules)


def _put_below(target: LayerBuilder, source: Source, selection: Selection, path: str, rules: CopyRules) -> None:
    prefix = f"{path}/" if path else ""
    whole = selection.picked
    if isinstance(whole, Whole) and isinstance(whole.tree, DirectoryTree) and target.takes_graft(path):
        graft = Graft(source, whole.tree, whole.top.path, path, rules, target.view)
        target.graft(path, graft, functools.partial(_put_each, target, source, whole, prefix, rules))
    else:
        _put_each(target, source, whole, prefix, rules)


def _put_each(
    target: LayerBuilder, source: Source, all_picked: Sequence[Picked], prefix: str, rules: CopyRules
) -> None:
    for picked in all_picked[1:]:
        _put(target, source, picked, prefix + picked.relative, rules)


def _put(target: LayerBuilder, source: Source, picked: Picked, path: str, rules: CopyRules) -> None:
    entry = picked.entry
    old = target.lookup(path)
    if old is not None:
        check_kind(path, was=old.is_dir, becomes=entry.is_dir)
    changed = rules.changed(entry, path)
    if entry.kind is not Kind.FILE:
        target.add(changed)
        return
    target.add(
        changed,
        functools.partial(source.hasher.open if source.unseen else source.tree.open, entry.path),
        confirm=source.hasher.digest(entry)[1] if source.mutable and not source.unseen else None,
        link=source.tree.link_key(entry.path),
    )

"""Which files a COPY takes: literal paths, wildcards, ``--parents`` and ``--exclude`` over any source tree.

Rules: dockerfile.md 1.8, semantics 1, 6, 15, 16. What is selected is hashed for the key and then copied;
nothing else of a context is read.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from builder.context.contenthash import ContentHasher
from builder.context.directory import DirectoryTree
from builder.context.gomatch import has_wildcard, root_relative
from builder.context.ignore import Patterns
from builder.context.tree import Tree, expand, resolve
from builder.errors import ContextError
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.limits import MAX_DEPTH
from builder.values import dataclass

MANY_UNREAD, LARGE_UNREAD = 512, 16 << 20
"""Files, and bytes of them, that one looks for without hashing them all."""

_NAMES = 2000
"""Files of a directory among which one looks for the one that was meant."""


@dataclass(frozen=True, slots=True)
class Source:
    """Files to copy from, and the digests of their contents. ``mutable`` ones may change while they are copied.

    If they are ``unseen``, their digests are those of the bytes that are copied, and not known before.
    """

    tree: Tree
    hasher: ContentHasher
    mutable: bool
    unseen: bool = False


@dataclass(frozen=True, slots=True)
class Picked:
    """One entry to copy. ``relative`` is its path below the selection's top, ``""`` the top itself."""

    relative: str
    entry: Entry


class Whole(Sequence[Picked]):
    """A directory with all that is below it, which is only made entries of when somebody looks at more than the top."""

    __slots__ = ("_all", "_first", "tree")

    def __init__(self, tree: Tree, top: Entry) -> None:
        self.tree = tree
        self._first = Picked("", top)
        self._all: tuple[Picked, ...] | None = None

    @property
    def top(self) -> Entry:
        """The directory itself."""
        return self._first.entry

    @overload
    def __getitem__(self, index: int) -> Picked: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Picked]: ...
    def __getitem__(self, index: int | slice) -> Picked | Sequence[Picked]:
        """Return one of them, or several. The first is the top. Raises ContextError."""
        return self._first if index == 0 else self._listed()[index]

    def __bool__(self) -> bool:
        """Return True: there is the top."""
        return True

    def __len__(self) -> int:
        """Return how many there are. Raises ContextError."""
        return len(self._listed())

    def __iter__(self) -> Iterator[Picked]:
        """Go through all of them, a directory before what is in it. Raises ContextError."""
        return iter(self._listed())

    def _listed(self) -> tuple[Picked, ...]:
        if self._all is None:
            self._all = (self._first, *self._below())
        return self._all

    def _below(self) -> Iterator[Picked]:
        top = self.top.path
        start = len(top) + 1 if top else 0
        pending = [iter(_children(self.tree, top))]
        while pending:
            for child in pending[-1]:
                yield Picked(child.path[start:], child)
                if child.is_dir:
                    pending.append(iter(_children(self.tree, child.path)))
                    break
            else:
                pending.pop()


@dataclass(frozen=True, slots=True)
class Selection:
    """What one source, or one match of a wildcard, selects.

    ``name`` is the last component as written. With ``--parents`` the top's path below the pivot is ``below`` and
    ``parents`` are the directories on the way to it.
    """

    name: str
    picked: Sequence[Picked]
    below: str | None = None
    parents: tuple[Picked, ...] = ()

    @property
    def top(self) -> Entry:
        """The source itself, symlinks followed."""
        return self.picked[0].entry


def select(tree: Tree, source: str, *, parents: bool = False, exclude: Sequence[str] = ()) -> tuple[Selection, ...]:
    """Return what ``source`` selects, in order of path; nothing for a wildcard without match.

    ``exclude`` is relative to the source, or to each match of a wildcard; with ``parents`` to what their paths are.
    Raises ContextError for a literal path that is not there.
    """
    excluded = Patterns(exclude) if exclude else None
    pivot, rest = _pivot(source) if parents else ("", source)
    root = resolve(tree, root_relative(pivot)) if pivot else ""
    found: list[Selection] = []
    for path in _paths(tree, root, rest, deep=parents):
        full = f"{root}/{path}" if root and path else root or path
        top = resolve(tree, full)
        entry = tree.lstat(top)
        if entry is None and not top:
            entry = Entry(path="", kind=Kind.DIRECTORY)
        if entry is None:
            raise ContextError(f'"/{full}": not found', hint=_way_out(tree, source, full))
        name = full.rpartition("/")[2]
        picked: Sequence[Picked]
        if excluded is None:
            picked = Whole(tree, entry) if entry.is_dir else (Picked("", entry),)
        else:
            picked = tuple(_pick(tree, entry, excluded, path if parents else name, top=path if parents else ""))
        if picked and parents:
            found.append(Selection(name, picked, path, tuple(_parents(tree, root, path))))
        elif picked:
            found.append(Selection(name, picked))
    return tuple(found)


def _way_out(tree: Tree, source: str, path: str) -> str:
    """Return what may be wrong with a source that is not there."""
    from builder.dockerfile.suggest import nearest

    folder, slash, name = path.rpartition("/")
    with contextlib.suppress(ContextError):
        link = tree.lstat(path)
        if link is not None and link.kind is Kind.SYMLINK:
            return f"it is a link to {link.target}, which is not there"
        names = (child.path.rpartition("/")[2] for child in tree.children(resolve(tree, folder)))
        close = nearest(name, itertools.islice(names, _NAMES))
        if close:
            return f"did you mean {folder}{slash}{close}?"
    if ".." in source.split("/") and isinstance(tree, DirectoryTree):
        return "nothing outside of the build context can be copied: name a wider one, or give it as a --build-context"
    return "check the path, and of a build context the .dockerignore"


def places(selections: Sequence[Selection]) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield directories and names of what they take there; the names in the root may be whole paths."""
    for one in selections:
        picked = one.picked
        if isinstance(picked, Whole) and isinstance(picked.tree, DirectoryTree):
            if picked.top.path:
                yield "", [picked.top.path]
            for directory, nodes in picked.tree.walk(picked.top.path):
                yield directory, [name for name, _ in nodes]
        else:
            yield "", [two.entry.path for two in picked]


def is_much_unread(tree: Tree, selections: Iterable[Selection]) -> bool:
    """Say whether ``tree`` is a directory on disk, and no stat cache knows much of what is selected there."""
    if not isinstance(tree, DirectoryTree):
        return False
    files = size = 0
    for one in selections:
        picked = one.picked
        if isinstance(picked, Whole):
            for directory, _ in tree.walk(picked.top.path):
                check_depth(directory)
                more, larger = tree.unread(directory)
                files, size = files + more, size + larger
            continue
        for two in picked:
            node = tree.file(two.entry.path)
            if node is not None and not node[2]:
                files, size = files + 1, size + two.entry.size
    return files >= MANY_UNREAD or size >= LARGE_UNREAD


def whole_file(tree: Tree, name: str) -> tuple[Selection, ...]:
    """Return the file ``name`` of a flat tree, whatever characters are in its name."""
    entry = tree.lstat(name)
    return () if entry is None else (Selection(name, (Picked("", entry),)),)


def _pivot(source: str) -> tuple[str, str]:
    before, mark, after = source.partition("/./")
    if mark:
        return before or "/", after
    return "", source.removeprefix("./")


def _parents(tree: Tree, root: str, path: str) -> Iterator[Picked]:
    parts = path.split("/")[:-1]
    for count in range(1, len(parts) + 1):
        below = "/".join(parts[:count])
        entry = tree.lstat(resolve(tree, f"{root}/{below}" if root else below))
        if entry is not None and entry.is_dir:
            yield Picked(below, entry)


def _paths(tree: Tree, root: str, source: str, *, deep: bool) -> list[str]:
    """Return the matching paths below ``root``."""
    if not has_wildcard(source):
        return [root_relative(source)]
    pattern = root_relative(source)
    return _deep_matches(tree, root, pattern) if deep else sorted(expand(tree, pattern))


def _deep_matches(tree: Tree, root: str, source: str) -> list[str]:
    """Return the matches of a ``--parents`` pattern, where ``**`` crosses directories."""
    patterns = Patterns([source])
    found: list[str] = []

    def walk(directory: str, below: str) -> None:
        for child in _children(tree, directory):
            name = child.path.rpartition("/")[2]
            path = f"{below}/{name}" if below else name
            if patterns.matches(path):
                found.append(path)
            elif child.is_dir:
                walk(child.path, path)

    walk(root, "")
    return found


def _pick(tree: Tree, entry: Entry, excluded: Patterns, name: str, *, top: str) -> Iterator[Picked]:
    if not entry.is_dir:
        if not excluded.matches(name):
            yield Picked("", entry)
        return
    if top and excluded.matches(top):
        deeper = tuple(_below(tree, entry.path, "", excluded, top)) if excluded.has_exceptions else ()
        yield from (Picked("", entry), *deeper) if deeper else ()
        return
    yield Picked("", entry)
    yield from _below(tree, entry.path, "", excluded, top)


def check_depth(directory: str) -> None:
    """Raise ContextError for a directory that no layer can hold."""
    if directory.count("/") >= MAX_DEPTH:
        raise ContextError(f"/{directory[:80]}...: deeper than {MAX_DEPTH} directories", hint="no layer can hold it")


def _children(tree: Tree, directory: str) -> Sequence[Entry]:
    check_depth(directory)
    return tree.children(directory)


def _below(tree: Tree, directory: str, below: str, excluded: Patterns, top: str) -> Iterator[Picked]:
    for child in _children(tree, directory):
        name = child.path.rpartition("/")[2]
        relative = f"{below}/{name}" if below else name
        if excluded.matches(f"{top}/{relative}" if top else relative):
            # A later exception pattern may bring back what lies below, and with it this directory.
            deeper = (
                list(_below(tree, child.path, relative, excluded, top))
                if child.is_dir and excluded.has_exceptions
                else []
            )
            if not deeper:
                continue
            yield Picked(relative, child)
            yield from deeper
            continue
        yield Picked(relative, child)
        if child.is_dir:
            yield from _below(tree, child.path, relative, excluded, top)

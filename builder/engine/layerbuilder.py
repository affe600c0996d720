"""A layer in the making: new entries over a view, with parents, replaced entries and link groups put right.

The copy rules decide *what* comes where; this knows what a layer must say so that extracting it gives that tree:
every ancestor once and before its children, with the metadata it has (semantics 46), never the root.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator

from builder.engine.grafting import Graft, check_name
from builder.errors import ContextError
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.pack import Content, Item
from builder.rootfs.view import View
from builder.values import dataclass, replace

_LINK_LIMIT = 255
_SET_GROUP = 0o2000


@dataclass(frozen=True, slots=True)
class NewDirectory:
    """What directories that have to be made look like; None leaves it to where they are made.

    Below a directory with the set-group-ID bit, that bit and its group are handed down, as a kernel does for mkdir.
    """

    mode: int | None = None
    owner: tuple[int, int] | None = None

    def at(self, path: str, parent: Entry, mtime: int) -> Entry:
        """Return the directory ``path`` below ``parent``."""
        handed_down = parent.mode & _SET_GROUP
        mode = 0o755 | handed_down if self.mode is None else self.mode
        uid, gid = self.owner or (0, parent.gid if handed_down else 0)
        return Entry(path=path, kind=Kind.DIRECTORY, mode=mode, uid=uid, gid=gid, mtime=mtime)


@dataclass(slots=True)
class _New:
    entry: Entry
    content: Content
    confirm: bytes | None
    link: Hashable


def sort_key(path: str) -> str:
    """Return what paths sort by, so that a directory's subtree follows it at once."""
    return path.replace("/", "\0")


def parent_of(path: str) -> str:
    """Return the directory of a root-relative path; ``""`` is the root."""
    return path.rpartition("/")[0]


def plain_or_own(view: View, path: str) -> Entry | None:
    """Return the directory ``view`` has at ``path``, without its time if it is as directories usually are.

    None for no directory.
    """
    located = view.lookup(path)
    if located is None or not located.entry.is_dir:
        return None
    plain = Entry(path=path, kind=Kind.DIRECTORY, mode=0o755)
    return plain if replace(located.entry, mtime=0) == plain else located.entry


class LayerBuilder:
    """Collects entries above ``view``. New directories get ``mtime``. Not safe for threads."""

    def __init__(self, view: View, *, mtime: int) -> None:
        self.view = view
        self._mtime = mtime
        self._new: dict[str, _New] = {}
        self._implied: set[str] = set()
        self._replaced: set[str] = set()
        self._group = 0
        self._graft: tuple[str, Graft, Callable[[], None]] | None = None

    def lookup(self, path: str) -> Entry | None:
        """Return the entry at ``path``, new or old, without following links."""
        if path == "":
            return Entry(path="", kind=Kind.DIRECTORY)
        self._expand()
        new = self._new.get(path)
        if new is not None:
            return new.entry
        if self._replaced and any(path.startswith(one + "/") for one in self._replaced):
            return None
        located = self.view.lookup(path)
        return None if located is None else located.entry

    def made(self, path: str) -> Entry | None:
        """Return the new entry at ``path``."""
        self._expand()
        new = self._new.get(path)
        return None if new is None else new.entry

    def resolve(self, path: str) -> str:
        """Follow symlinks in all of ``path``, rooted; missing components stay as they are."""
        pending, done, links = [part for part in reversed(path.split("/")) if part], "", 0
        while pending:
            part = pending.pop()
            if part in (".", ".."):
                done = parent_of(done) if part == ".." else done
                continue
            candidate = f"{done}/{part}" if done else part
            entry = self.lookup(candidate)
            if entry is None or entry.kind is not Kind.SYMLINK:
                done = candidate
                continue
            links += 1
            if links > _LINK_LIMIT:
                raise ContextError(f"too many symbolic links on the way to /{path} in the image")
            done = "" if entry.target.startswith("/") else done
            pending.extend(part for part in reversed(entry.target.split("/")) if part)
        return done

    def make_directories(self, path: str, template: NewDirectory) -> None:
        """Create ``path`` and its missing parents as ``template`` says.

        Raises ContextError when something on the way is no directory.
        """
        missing: list[str] = []
        while (entry := self.lookup(path)) is None:
            missing.append(path)
            path = parent_of(path)
        if not entry.is_dir:
            raise ContextError(f"cannot create a directory below /{path} in the image: it is not a directory")
        for one in reversed(missing):
            entry = template.at(one, entry, self._mtime)
            self.add(entry)
            self._implied.add(one)

    def set_time(self, path: str, mtime: int) -> None:
        """Change the time of the new entry at ``path``."""
        self._expand()
        self._new[path].entry = replace(self._new[path].entry, mtime=mtime)

    def adopt(self, below: View) -> None:
        """Let directories that were made on the way look as the image ``below`` has them, for a layer put on top.

        One that is root's and 0755 there is so here, but of this layer's time: such layers do not differ by image.
        """
        for path in self._implied:
            shown = plain_or_own(below, path)
            if shown is not None:
                self._new[path].entry = replace(shown, mtime=shown.mtime or self._new[path].entry.mtime)

    def add(
        self, entry: Entry, content: Content = None, *, confirm: bytes | None = None, link: Hashable = None
    ) -> None:
        """Put ``entry`` in place of what is at its path. Entries of equal ``link`` share one file.

        Raises ContextError for a name that would delete something when the layer is extracted.
        """
        self._expand()
        check_name(entry.path, entry.path.rpartition("/")[2])
        if not entry.is_dir and (old := self.lookup(entry.path)) is not None and old.is_dir:
            prefix = entry.path + "/"
            for path in [path for path in self._new if path.startswith(prefix)]:
                del self._new[path]
            self._replaced.add(entry.path)
        self._implied.discard(entry.path)
        self._new[entry.path] = _New(entry, content, confirm, None if link is None else (self._group, link))

    def separate(self) -> None:
        """Let equal links of entries to come have nothing to do with those so far."""
        self._expand()
        self._group += 1

    def link(self, path: str, first: str) -> None:
        """Let ``path`` be another name of the new file at ``first``."""
        self._expand()
        new = self._new[first]
        if new.link is None:
            new.link = ("link", first)
        self.add(replace(new.entry, path=path), new.content, confirm=new.confirm)
        self._new[path].link = new.link

    def takes_graft(self, path: str) -> bool:
        """Say whether nothing is new but ``path`` and directories on the way to it."""
        return not (self._graft or self._replaced) and all(
            not one or one == path or path.startswith(one + "/") for one in self._new
        )

    def graft(self, path: str, graft: Graft, place: Callable[[], None]) -> None:
        """Let ``graft`` be all that is new below ``path`` until something else comes; then ``place`` puts it here."""
        self._graft = path, graft, place

    def _expand(self) -> None:
        if self._graft is not None:
            place = self._graft[2]
            self._graft = None
            place()

    def __bool__(self) -> bool:
        return bool(self._new) or (self._graft is not None and bool(self._graft[1]))

    def items(self) -> Iterator[Item]:
        """Yield the layer's items in their order; link groups become one file and links to it."""
        groups: dict[Hashable, str] = {}
        for path in self._ordered():
            new = self._new.get(path)
            if new is None:
                located = self.view.lookup(path)
                if located is not None:
                    yield Item(located.entry)
                continue
            first = None if new.link is None else groups.setdefault(new.link, path)
            if first is None or first == path:
                yield Item(new.entry, new.content, new.confirm)
                if new.entry.is_dir and path in self._replaced:
                    # What the view has here had been replaced already, by no directory: it must not come back.
                    yield Item(Entry(path=path, kind=Kind.OPAQUE, mtime=new.entry.mtime))
            else:
                yield Item(replace(new.entry, kind=Kind.HARDLINK, target=first, size=0))
        if self._graft is not None:
            yield from self._graft[1]

    def _ordered(self) -> list[str]:
        paths = set(self._new)
        if self._graft is not None and self._graft[1]:
            paths.add(self._graft[0])
        for path in list(paths):
            while (path := parent_of(path)) and path not in paths:
                paths.add(path)
        paths.discard("")
        return sorted(paths, key=sort_key)

"""What an unfinished layer and the layers below it show together, as far as links and directories are concerned.

Unpacking asks it where a path of the tar leads (semantics 60: links of earlier entries and of lower layers are followed
inside the merged root) and which directories below merge at a path. Answers are remembered until an entry changes them.
It reads; what is written is unpack's business.
"""

from __future__ import annotations

import errno
import os
import stat

from builder.rootfs import whiteout
from builder.rootfs.rooted import join, resolve_links, split


class Merged:
    """What this layer and those below it show together, as far as links and directories are concerned."""

    def __init__(self, stack: list[str]) -> None:
        self.stack = stack
        self.root = -1
        self._directories: dict[str, tuple[str, ...]] = {"": tuple(stack)}
        self._hidden: set[str] = set()
        self._resolved: dict[str, str] = {}
        self._links: dict[str, str | None] = {}

    def resolve(self, path: str) -> str:
        """Return where a directory's path leads, every link followed within the merged root."""
        known = self._resolved.get(path)
        if known is None:
            known = self._resolved[path] = resolve_links(path, self._read_link)
        return known

    def directories(self, path: str) -> tuple[str, ...]:
        """Return the directories below that merge with ``path``, which holds no links, top first."""
        if not self.stack:
            return ()
        start = path
        while start not in self._directories:
            start = split(start)[0]
        found = self._directories[start]
        for name in path[len(start) :].split("/"):
            if name:
                start = join(start, name)
                found = () if start in self._hidden or not found else whiteout.descend(found, name)
                self._directories[start] = found
        return found

    def replaced(self, path: str, *, by_link: bool) -> None:
        """Forget what was known of ``path`` if something new there changes the meaning of paths."""
        if path in self._links and (by_link or self._links[path] is not None):
            self.forget()

    def hide(self, path: str) -> None:
        """From now on the layers below have nothing at ``path``."""
        self._hidden.add(path)
        self.forget()

    def forget(self) -> None:
        """Ask the disk again."""
        self._directories = {"": tuple(self.stack)}
        self._resolved.clear()
        self._links.clear()

    def _read_link(self, path: str) -> str | None:
        if path not in self._links:
            self._links[path] = self._find_link(path)
        return self._links[path]

    def _find_link(self, path: str) -> str | None:
        try:
            return os.readlink(path, dir_fd=self.root)
        except FileNotFoundError:
            parent, name = split(path)
            found = whiteout.lookup(self.directories(parent), name)
            return os.readlink(found[0]) if found and stat.S_ISLNK(found[1].st_mode) else None
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTDIR):
                return None
            raise

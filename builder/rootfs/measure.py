"""How much of the disk a tree takes, as far as whoever asks may look into it. Links are not followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

_BLOCK = 512
"""The unit of ``st_blocks``, whatever the file system's is."""


def allocated(path: str | os.PathLike[str], hidden: Callable[[str], object] = lambda _: None) -> int:
    """Return the bytes a file or a tree takes; a file with several names in the tree counts once.

    ``hidden`` is told of directories that we may not look into. Nothing is raised: a tree that changes meanwhile gives
    an answer that was nearly right.
    """
    try:
        top = os.lstat(path)
    except OSError:
        return 0
    total = top.st_blocks * _BLOCK
    pending = [os.fspath(path)] if stat.S_ISDIR(top.st_mode) else []
    seen: set[tuple[int, int]] = set()
    while pending:
        directory = pending.pop()
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    info = entry.stat(follow_symlinks=False)
                    if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode):
                        if (info.st_dev, info.st_ino) in seen:
                            continue
                        seen.add((info.st_dev, info.st_ino))
                    total += info.st_blocks * _BLOCK
                    if stat.S_ISDIR(info.st_mode):
                        pending.append(entry.path)
        except PermissionError:
            hidden(directory)
        except OSError:
            continue
    return total

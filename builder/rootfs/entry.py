"""One file system entry as a layer knows it, the two errors hostile layers cause, and that of files that change.

Paths are ``str`` with ``surrogateescape``, relative to the root, without leading or trailing slash, without ``.``,
``..`` or empty components; the root itself is ``""``. Times are whole seconds, so that digests do not depend on
a file system's resolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from builder.errors import ContextError, ImageError
from builder.values import dataclass, field


class UnsafePathError(ImageError):
    """A name that points out of the tree it belongs to."""


class LayerFormatError(ImageError):
    """Bytes that are no layer tar, or one beyond our limits."""


class ContentChangedError(ContextError):
    """A file is not what it was when the build looked at it first."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(
            f"{path} changed while it was being packed: {problem}", hint="nothing may write to the sources of a build"
        )
        self.path = path


class Kind(StrEnum):
    """What an entry is; the values are stored in tables of contents."""

    FILE = "f"
    DIRECTORY = "d"
    SYMLINK = "s"
    HARDLINK = "h"
    CHAR = "c"
    BLOCK = "b"
    FIFO = "p"
    WHITEOUT = "w"
    """The path is deleted; ``path`` is the deleted name, without the ``.wh.`` prefix."""
    OPAQUE = "o"
    """Everything layers below hold under the directory ``path`` is hidden."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A path with its metadata. ``mode`` is 07777 without type bits; ``size`` is that of a file's contents."""

    path: str
    kind: Kind
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    target: str = ""
    """A symlink's text as it is, or the root-relative path a hard link shares its file with."""
    major: int = 0
    minor: int = 0
    xattrs: Mapping[str, bytes] = field(default_factory=dict, hash=False)

    @property
    def is_dir(self) -> bool:
        """Whether this is a directory."""
        return self.kind is Kind.DIRECTORY

"""What a store holds, item by item: kind, size on the disk, last use. For showing it and for choosing what to remove.

Nothing here counts as a use, nothing is removed, links are not followed. Sizes are of the disk's blocks; those of
trees with files of other users are only known to the sandbox, which may look into them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, get_args

from builder.cache.cachemounts import MOUNT_ID
from builder.cache.sealed import read_plain
from builder.errors import CacheError
from builder.rootfs.measure import allocated
from builder.values import dataclass

Kind = Literal[
    "image",
    "layer",
    "unpacked",
    "toc",
    "result",
    "mount",
    "http",
    "parsed",
    "stat",
    "record",
    "log",
    "imported",
    "temporary",
]
"""Of what kind an item is; ``temporary`` ones belong to running processes, or to RUNs that were killed."""

KINDS: tuple[Kind, ...] = get_args(Kind)

GONE = ".gone-"
"""What the name of a tree begins with that is being removed."""

_BLOCK = 512
_ID_LIMIT = 4096
_DOCUMENT_LIMIT = 4 << 20


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that is removed as a whole. ``witness`` is the file whose mtime says when it was used last.

    ``path`` is what is removed, ``used`` is in unix seconds, ``named``: an image that has a name needs it.
    """

    kind: Kind
    name: str
    path: Path
    witness: Path
    size: int
    used: float
    named: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """What names keep: the hex digests of blobs, and the files of the names themselves."""

    blobs: frozenset[str] = frozenset()
    files: frozenset[Path] = frozenset()


def everything(root: Path, named: Named, measure: Callable[[Path], int] = allocated) -> Iterator[Item]:
    """Yield all items of the store at ``root``. ``measure`` says what a tree takes of which no size is known."""
    yield from _blobs(root / "blobs" / "sha256", named)
    yield from _files(root / "refs", "image", named.files)
    yield from _unpacked(root / "layers", measure)
    yield from _files(root / "toc", "toc")
    yield from _files(root / "selectors", "result")
    yield from _files(root / "variants", "result")
    yield from _mounts(root / "mounts", measure)
    yield from _files(root / "http", "http")
    yield from _files(root / "parsed", "parsed")
    yield from _files(root / "stat", "stat")
    yield from _files(root / "records", "record")
    yield from _files(root / "logs", "log")
    yield from _sources(root / "imported")
    for entry, info in _entries(root / "tmp"):
        size = allocated(entry.path) if stat.S_ISDIR(info.st_mode) else info.st_blocks * _BLOCK
        path = Path(entry.path)
        yield Item("temporary", entry.name, path, path, size, info.st_mtime)


def _entries(directory: Path | str) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
    try:
        with os.scandir(directory) as entries:
            found = list(entries)
    except OSError:
        return
    for entry in found:
        try:
            yield entry, entry.stat(follow_symlinks=False)
        except OSError:
            continue  # removed meanwhile


def _files(top: Path, kind: Kind, named: frozenset[Path] = frozenset()) -> Iterator[Item]:
    pending = [str(top)]
    while pending:
        for entry, info in _entries(pending.pop()):
            if stat.S_ISDIR(info.st_mode):
                pending.append(entry.path)
                continue
            path = Path(entry.path)
            name = os.path.relpath(path, top)
            yield Item(kind, name, path, path, info.st_blocks * _BLOCK, info.st_mtime, path in named)


def _blobs(top: Path, named: Named) -> Iterator[Item]:
    for item in _files(top, "layer"):
        name = item.path.name
        kind: Kind = "image" if _is_document(item.path) else "layer"
        yield Item(kind, f"sha256:{name}", item.path, item.path, item.size, item.used, name in named.blobs)


def _is_document(path: Path) -> bool:
    """Say whether a blob looks like a manifest or config: JSON, and small."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            return os.fstat(fd).st_size <= _DOCUMENT_LIMIT and os.read(fd, 1) == b"{"
        finally:
            os.close(fd)
    except OSError:
        return False


def _unpacked(top: Path, measure: Callable[[Path], int]) -> Iterator[Item]:
    for view, _ in _entries(top):
        locks = Path(view.path, ".locks")
        for entry, info in _entries(view.path):
            if not stat.S_ISDIR(info.st_mode) or entry.name == ".locks":
                continue
            path, witness = Path(entry.path), locks / entry.name
            size = _noted_size(witness)
            size = measure(path) if size is None else size
            name = f"{view.name}/{entry.name}"
            yield Item("unpacked", name, path, witness, size, _mtime(witness, 0.0))


def _noted_size(witness: Path) -> int | None:
    """Return what the sandbox noted when it was done with a tree, None where an earlier release made it."""
    try:
        fd = os.open(witness, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            text = os.read(fd, 20).strip()
        finally:
            os.close(fd)
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _mounts(top: Path, measure: Callable[[Path], int]) -> Iterator[Item]:
    for home, _ in _entries(top):
        for entry, info in _entries(home.path):
            if not stat.S_ISDIR(info.st_mode):
                continue
            path, witness = Path(entry.path), Path(home.path, f"{entry.name}.lock")
            name = f"{_mount_id(Path(home.path))}/{entry.name}"
            yield Item("mount", name, path, witness, measure(path), _mtime(witness, 0.0))


def _mount_id(home: Path) -> str:
    try:
        found = read_plain(home / MOUNT_ID, limit=_ID_LIMIT).decode("utf-8", "replace")
    except (OSError, CacheError):
        found = ""
    return found or home.name[:12]


def _sources(top: Path) -> Iterator[Item]:
    for entry, info in _entries(top):
        path = Path(entry.path)
        witness = path / "name" if os.path.lexists(path / "name") else path
        yield Item("imported", entry.name, path, witness, allocated(path), _mtime(witness, info.st_mtime))


def _mtime(path: Path, otherwise: float) -> float:
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return otherwise


def total(items: Iterable[Item]) -> int:
    """Return the bytes that items take together."""
    return sum(item.size for item in items)

"""The view of a stack of layers is also what an overlay mount of the unpacked layers shows."""

from __future__ import annotations

import io
import itertools
import os
import stat
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, assume, event, given, settings

from builder.errors import ImageError
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.pack import Item, pack
from builder.rootfs.toc import Toc
from builder.rootfs.unpack import unpack
from builder.rootfs.view import View
from tests.property.test_rootfs_view_laws import STACKS
from tests.support.layers import NoExtractionError, SlowExtractor
from tests.support.need import need_root
from tests.support.overlay import mounted

_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHAR,
}
Row = tuple[str, Kind, int, int, int, str]


def _row(path: str, kind: Kind, uid: int, mtime: int, mode: int, target: str) -> Row:
    link = kind is Kind.SYMLINK  # the mode of a symlink means nothing on disk
    return (path, kind, uid, mtime, 0 if link else mode, target)


def _on_disk(root: Path) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    todo = [""]
    while todo:
        path = todo.pop()
        for name in os.listdir(root / path):
            inner = f"{path}/{name}".strip("/")
            found = os.lstat(root / inner)
            kind = _KINDS[stat.S_IFMT(found.st_mode)]
            target = os.readlink(root / inner) if kind is Kind.SYMLINK else ""
            rows[inner] = _row(inner, kind, found.st_uid, int(found.st_mtime), stat.S_IMODE(found.st_mode), target)
            if kind is Kind.DIRECTORY:
                todo.append(inner)
    return rows


def _in_view(tocs: list[Toc]) -> tuple[dict[str, Row], set[str]]:
    rows: dict[str, Row] = {}
    implied = set()
    for one in View(tocs).walk():
        entry = one.entry
        if entry.path:
            rows[entry.path] = _row(entry.path, entry.kind, entry.uid, entry.mtime, entry.mode, entry.target)
        if one.layer < 0:
            implied.add(entry.path)
    return rows, implied


def _odd(entries: list[Entry]) -> bool:
    """Say whether a layer deletes, or links to, something inside what it deletes.

    No differ writes that, and what unpacking needed on the way to it stays.
    """
    deleted = [entry.path for entry in entries if entry.kind in (Kind.WHITEOUT, Kind.OPAQUE)]
    linked = [entry.target for entry in entries if entry.kind is Kind.HARDLINK]
    pairs = (*itertools.permutations(deleted, 2), *itertools.product(deleted, linked))
    return any(not above or (path + "/").startswith(above + "/") for above, path in pairs)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(STACKS)
def test_an_overlay_mount_shows_the_view(stack: list[list[Entry]]) -> None:
    need_root("needs root: overlay mounts")
    assume(not any(_odd(entries) for entries in stack))
    slow = SlowExtractor()
    try:
        for entries in stack:
            slow.apply(entries)
    except NoExtractionError:
        return
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        tocs: list[Toc] = []
        unpacked: list[Path] = []
        for number, entries in enumerate(stack):
            blob, toc = io.BytesIO(), io.BytesIO()
            pack((Item(e, bytes(e.size) if e.kind is Kind.FILE else None) for e in entries), blob, toc)
            tocs.append(Toc(toc.getvalue()))
            blob.seek(0)
            target = base / f"layer{number}"
            try:
                unpack(blob, target, lower=tuple(unpacked), bottom=number == 0)
            except ImageError:  # a few odd hard links are refused on disk that a view shows
                event("refused")
                return
            unpacked.append(target)
        expected, implied = _in_view(tocs)
        with mounted(base / "mount", unpacked) as merged:
            found = _on_disk(merged)
        assert sorted(found) == sorted(expected)
        for path, row in expected.items():
            if path in implied:  # nothing says when such a directory was made
                assert found[path][1:3] == row[1:3]
            else:
                assert found[path] == row

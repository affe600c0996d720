"""ADD of a local archive: recognised by content, unpacked into the layer like ``tar -x`` (dockerfile.md 1.9).

Names come from strangers: the reader refuses what leaves the archive, and parents that are symlinks in the image are
followed inside its root.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from builder.context.source import is_tar
from builder.engine.copying import CopyRules
from builder.engine.layerbuilder import LayerBuilder, NewDirectory, parent_of
from builder.errors import ContextError, OutputError, room_hint
from builder.rootfs.compression import decompress
from builder.rootfs.contents import open_member
from builder.rootfs.entry import Kind, LayerFormatError
from builder.rootfs.tarreader import Member, read_members
from builder.rootfs.whiteout import belongs_in_layer
from builder.streams import copy
from builder.values import dataclass, replace

_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive's tar, decompressed to ``tar`` and read once."""

    tar: Path
    members: tuple[Member, ...]


def unpack_archive(stream: BinaryIO, scratch: Path) -> Archive | None:
    """Return the archive in ``stream``, None for what is no archive or cannot be read as one: it is a plain file.

    ``scratch`` is where its tar is kept. Raises OutputError when that cannot be written.
    """
    try:
        plain = decompress(stream)
        block = _first_block(plain)
        if not any(block) or not is_tar(block):
            return None
        with open(scratch, "xb") as target:
            target.write(block)
            copy(plain, target)
        with open(scratch, "rb") as tar:
            return Archive(scratch, tuple(member for member, _ in read_members(tar, whiteouts=False)))
    except LayerFormatError:
        scratch.unlink(missing_ok=True)
        return None
    except OSError as error:
        raise OutputError(
            f"cannot unpack an archive into {scratch}: {error.strerror}", hint=room_hint(error)
        ) from error


def _first_block(stream: BinaryIO) -> bytes:
    block = b""
    while len(block) < _BLOCK and (more := stream.read(_BLOCK - len(block))):
        block += more
    return block


def place_archive(target: LayerBuilder, archive: Archive, dest: str, rules: CopyRules) -> None:
    """Put the archive's entries below ``dest``. Raises ContextError for links that leave the archive."""
    top = target.resolve(dest)
    if top:
        target.make_directories(top, rules.parent())
    for member, path in _placements(target, archive, top, rules):
        entry = member.entry
        if entry.kind is Kind.HARDLINK:
            linked = _below(target, top, entry.target)
            first = target.made(linked)
            if first is None or first.is_dir:
                raise ContextError(
                    f"the archive's {entry.path} is a hard link to {entry.target}, which is no file of it"
                )
            target.link(path, linked)
        else:
            content = functools.partial(open_member, archive.tar, member)
            kept = {name: value for name, value in entry.xattrs.items() if belongs_in_layer(name)}
            target.add(rules.changed(replace(entry, xattrs=kept), path), content if entry.kind is Kind.FILE else None)


def _placements(target: LayerBuilder, archive: Archive, top: str, rules: CopyRules) -> Iterator[tuple[Member, str]]:
    parent = NewDirectory(owner=rules.owner or (0, 0))
    for member in archive.members:
        if not member.entry.path:
            continue
        path = _below(target, top, member.entry.path)
        if parent_of(path):
            target.make_directories(parent_of(path), parent)
        yield member, path


def _below(target: LayerBuilder, top: str, path: str) -> str:
    directory, _, name = path.rpartition("/")
    resolved = target.resolve(f"{top}/{directory}")
    return f"{resolved}/{name}" if resolved else name

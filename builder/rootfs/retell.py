"""A stranger's table of contents, told anew: entry by entry, with the checks that a layer's tar has to pass.

What comes out was written by our own writer: its index fits its entries, no name leads out of the tree, and the limits
hold. Whether the layer really holds these entries only its bytes can say.
"""

from __future__ import annotations

from builder.errors import CacheError
from builder.rootfs.entry import Entry, Kind, LayerFormatError
from builder.rootfs.limits import (
    MAX_FILE_SIZE,
    MAX_ID,
    MAX_PATH,
    MAX_UNCOMPRESSED,
    MAX_XATTR_NAME,
    MAX_XATTR_VALUE,
    MAX_XATTRS,
)
from builder.rootfs.tarreader import clean_path
from builder.rootfs.tarwriter import WHITEOUT_PREFIX
from builder.rootfs.toc import Toc
from builder.rootfs.tocwriter import TocWriter
from builder.streams import Writable


def retell(told: Toc, target: Writable) -> None:
    """Write what ``told`` says of its layer to ``target``, without the table of members.

    Raises LayerFormatError and UnsafePathError for what no layer can hold, CacheError for a broken table.
    """
    if told.uncompressed_size > MAX_UNCOMPRESSED:
        raise LayerFormatError(f"a layer of {told.uncompressed_size} bytes; the limit is {MAX_UNCOMPRESSED}")
    writer = TocWriter(target)
    try:
        for member in told.told():
            check(member.entry)
            writer.add(member)
            kept = told.small_at(member.offset) if writer.keeps(member.entry) else None
            if kept is not None:
                if len(kept) != member.entry.size:
                    raise LayerFormatError(f"{member.entry.path!r} has {len(kept)} bytes instead of its size")
                writer.keep(member.offset, kept)
        writer.finish(told.diff_id, told.uncompressed_size)
    except (ValueError, OverflowError) as error:
        raise CacheError(f"a table of contents is broken: {error}") from error


def check(entry: Entry) -> None:
    """Raise LayerFormatError or UnsafePathError for an entry that no tar of a layer gives."""
    _check_path(entry)
    if entry.kind is Kind.HARDLINK:
        _check_clean(entry.target, "link target")
    elif entry.kind is Kind.SYMLINK and ("\0" in entry.target or len(_raw(entry.target)) > MAX_PATH):
        raise LayerFormatError(f"the symlink {entry.path!r} has a target that cannot be")
    if (entry.kind in (Kind.HARDLINK, Kind.SYMLINK)) != bool(entry.target):
        raise LayerFormatError(f"{entry.path!r} has a link's target and is none, or the other way round")
    if entry.size > MAX_FILE_SIZE or entry.uid > MAX_ID or entry.gid > MAX_ID or entry.mode > 0o7777:
        raise LayerFormatError(f"{entry.path!r} has a size, owner or mode that cannot be")
    if len(entry.xattrs) > MAX_XATTRS or any(
        not 0 < len(_raw(name)) <= MAX_XATTR_NAME or len(value) > MAX_XATTR_VALUE
        for name, value in entry.xattrs.items()
    ):
        raise LayerFormatError(f"{entry.path!r} has extended attributes that cannot be")


def _check_path(entry: Entry) -> None:
    _check_clean(entry.path, "path")
    if not entry.path and entry.kind not in (Kind.DIRECTORY, Kind.OPAQUE):
        raise LayerFormatError("an entry without a name is no directory")
    if any(part.startswith(WHITEOUT_PREFIX) for part in entry.path.split("/")):
        raise LayerFormatError(f"not a name a layer may hold: {entry.path!r}")


def _check_clean(path: str, what: str) -> None:
    if clean_path(_raw(path), what) != path:
        raise LayerFormatError(f"a {what} that is not clean: {path!r}")


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")

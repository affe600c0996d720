"""What we accept from layers and archives made by strangers; anything beyond is a LayerFormatError.

Each bound is far above what real images hold and low enough that memory, time and disk stay ours.
"""

from __future__ import annotations

MAX_UNCOMPRESSED = 1 << 40
"""Bytes one compressed stream may inflate to (1 TiB): the end of a decompression bomb."""

MAX_FILE_SIZE = 1 << 40
"""Bytes of one file (1 TiB), also of a sparse file's logical contents; a header can claim 8 EiB."""

MAX_ENTRIES = 2_000_000
"""Entries of one layer; its index holds about 200 bytes of memory for each."""

MAX_EXTENSION = 1 << 20
"""Bytes of one PAX extended header, or of one GNU long name (1 MiB, the limit Go's reader has)."""

MAX_PATH = 4096
"""Bytes of a path or of a link's target (the kernel's PATH_MAX)."""

MAX_COMPONENT = 255
"""Bytes of one name in a path (the kernel's NAME_MAX)."""

MAX_ID = (1 << 32) - 2
"""The largest user or group id; the kernel keeps -1 for "unchanged"."""

MAX_XATTRS = 256
"""Extended attributes of one entry."""

MAX_XATTR_NAME = 255
"""Bytes of an extended attribute's name (the kernel's XATTR_NAME_MAX)."""

MAX_XATTR_VALUE = 1 << 16
"""Bytes of an extended attribute's value (the kernel's XATTR_SIZE_MAX)."""

MAX_SPARSE_SEGMENTS = 1 << 17
"""Data segments of one sparse file, and of all sparse files of a layer that a table of contents records."""

MAX_LINKS = 255
"""Symlinks followed while one path is resolved."""

MAX_SMALL_FILE = 1 << 20
"""Bytes of a file whose contents a table of contents keeps (etc/passwd, etc/group)."""

MAX_WINDOW = 1 << 27
"""Bytes of history a zstd frame may ask for (128 MiB, as ``zstd --long``); also the memory limit for xz."""

MAX_DEPTH = 256
"""Directories above a path; without their own entries each becomes an implied one."""

MAX_INDEX_BYTES = 1 << 28
"""Bytes of all paths of a layer, and again of the directories they imply (256 MiB)."""

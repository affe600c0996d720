"""What files held when they were last hashed: one file per context, by directory (design, "The store", ``stat/``).

A record is keyed by device, inode, size, mtime and ctime, and good for one boot and one mount. It is written only
when the file had been left alone for longer than its file system's clock ticks: a change after that moves its ctime.
Never used on network file systems, whose clocks and inode numbers are not ours. Losing the file costs time only.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import xxhash

from builder.errors import OutputError
from builder.streams import replacing

_MAGIC = b"pbstat02"
_HEADER = struct.Struct("<8s32s16s")
_DIRECTORY = struct.Struct("<II")
"""Bytes of its path, and records."""

_TIMES = struct.Struct("<qq")
_PAIR = struct.Struct("<40s56s")
PLAIN = b"\0" * 8
"""How the record of a file ends that has no attributes an image keeps."""

_WITH_XATTRS = b"\1" + b"\0" * 7
_MOST_RECORDS = 500_000
_ROOM = _MOST_RECORDS * _PAIR.size
_SLACK = 20_000 * _PAIR.size
_TICK = 50_000_000
"""Nanoseconds: no kernel's clock for files ticks slower than 100 Hz."""
_COARSE_TICK = 2_100_000_000
"""Nanoseconds: file systems that store whole or even seconds."""
_REMOTE = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "fuse", "gluster", "lustre", "virtiofs", "vboxsf", "prl_", "ncp")


class StatCache:
    """Records by directory, until somebody asks for them: who lists a directory keeps what is known of its files."""

    def __init__(self, path: Path, world: bytes, device: int, directories: dict[str, memoryview]) -> None:
        self._path = path
        self._world = world
        self._device = device
        self._directories = directories

    @classmethod
    def load(cls, path: Path, root: Path) -> StatCache | None:
        """Read the cache file of the context at ``root``; None where the file system's word is not good enough.

        A missing, foreign or broken file is an empty cache.
        """
        try:
            device = os.stat(root).st_dev
        except OSError:
            return None
        world = _world(device)
        return None if world is None else cls(path, world, device, _read(path, world))

    def take(self, directory: str) -> dict[bytes, bytes]:
        """Return what is known of the files in a directory by identity, once: SHA-256, xxh3_128 and ``PLAIN`` or not.

        Whoever takes it gives it back to ``save``.
        """
        records = self._directories.pop(directory, None)
        return {} if records is None else dict(_PAIR.iter_unpack(records))

    def record(self, identity: bytes, digests: bytes, *, started: int, plain: bool) -> bytes | None:
        """Return what to remember of contents whose reading began at ``started`` (nanoseconds since 1970).

        None if that is not safe. ``digests`` are SHA-256 and xxh3_128.
        """
        mtime, ctime = _TIMES.unpack_from(identity, 24)
        tick = _COARSE_TICK if ctime % 1_000_000_000 == 0 else _TICK
        if max(mtime, ctime) + tick >= started or int.from_bytes(identity[:8], "little") != self._device:
            return None
        return digests + (PLAIN if plain else _WITH_XATTRS)

    def save(self, listed: Callable[[], Iterable[tuple[str, bytes]]]) -> bool:
        """Write the file anew, with directories and the records of each; say whether it holds them. Never raises.

        Of directories that nobody took, a context keeps about as many records as of the others.
        """
        used = sum(len(records) for _, records in listed())
        left = sum(map(len, self._directories.values()))
        others = self._directories if left <= min(used + _SLACK, _ROOM - used) else {}
        if used > _ROOM:
            return False
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with replacing(self._path, mode=0o600) as stream:
                stream.write(bytes(_HEADER.size))
                checksum = xxhash.xxh3_128()
                for directory, records in itertools.chain[tuple[str, bytes | memoryview]](listed(), others.items()):
                    if records:
                        name = directory.encode("utf-8", "surrogateescape")
                        body = b"".join((_DIRECTORY.pack(len(name), len(records) // _PAIR.size), name, records))
                        checksum.update(body)
                        stream.write(body)
                stream.seek(0)
                stream.write(_HEADER.pack(_MAGIC, self._world, checksum.digest()))
        except (OSError, OutputError):
            return False
        return True


def _read(path: Path, world: bytes) -> dict[str, memoryview]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as stream:
            info = os.fstat(fd)
            largest = 2 * _ROOM
            if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid() or info.st_size > largest:
                return {}
            data = stream.read(largest)
    except OSError:
        return {}
    if len(data) < _HEADER.size:
        return {}
    magic, written_in, checksum = _HEADER.unpack_from(data)
    if (magic, written_in) != (_MAGIC, world) or xxhash.xxh3_128_digest(memoryview(data)[_HEADER.size :]) != checksum:
        return {}
    body = memoryview(data)
    found: dict[str, memoryview] = {}
    at = _HEADER.size
    while at < len(data):
        length, count = _DIRECTORY.unpack_from(data, at)
        start = at + _DIRECTORY.size + length
        name, at = data[at + _DIRECTORY.size : start], start + count * _PAIR.size
        found[name.decode("utf-8", "surrogateescape")] = body[start:at]
    return found


def _world(device: int) -> bytes | None:
    """Return what names this boot and the mount of ``device``; None for one that is remote or unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        table = Path("/proc/self/mountinfo").read_bytes()
    except OSError:
        return None
    number = b"%d:%d" % (os.major(device), os.minor(device))
    mounts: set[bytes] = set()
    for line in table.split(b"\n"):
        left, separator, right = line.partition(b" - ")
        fields = left.split(b" ")
        if not separator or len(fields) < 6 or fields[2] != number:
            continue
        kind, _, rest = right.partition(b" ")
        if kind.decode("ascii", "replace").lower().startswith(_REMOTE):
            return None
        mounts.add(kind + b" " + rest.partition(b" ")[0])
    if not mounts:
        return None  # btrfs and its like: the mount table knows another number than stat does
    return hashlib.sha256(b"\0".join([boot.strip(), number, *sorted(mounts)])).digest()

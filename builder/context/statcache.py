"""What files held when they were last hashed: one file of fixed records per context (design, "The store", ``stat/``).

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
from collections.abc import Iterable
from pathlib import Path

import xxhash

from builder.errors import OutputError
from builder.streams import replacing

_MAGIC = b"pbstat01"
_HEADER = struct.Struct("<8s32s16sQ")
_RECORD = struct.Struct("<40s32s16s8s")
_TIMES = struct.Struct("<qq")
_PAIR = struct.Struct("<40s56s")
PLAIN = b"\0" * 8
"""How the record of a file ends that has no attributes an image keeps."""

_WITH_XATTRS = b"\1" + b"\0" * 7
_MOST_RECORDS = 500_000
_SLACK = 20_000
_BATCH = 4096
_TICK = 50_000_000
"""Nanoseconds: no kernel's clock for files ticks slower than 100 Hz."""
_COARSE_TICK = 2_100_000_000
"""Nanoseconds: file systems that store whole or even seconds."""
_REMOTE = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "fuse", "gluster", "lustre", "virtiofs", "vboxsf", "prl_", "ncp")


class StatCache:
    """Digests by identity. Thread-safe as far as one dictionary is; ``save`` is called once, at the end."""

    def __init__(self, path: Path, world: bytes, device: int, records: dict[bytes, bytes]) -> None:
        self._path = path
        self._world = world
        self._device = device
        self._records = records
        self._used: set[bytes] = set()
        self._loaded = len(records)
        self._added = False

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

    def get(self, identity: bytes) -> tuple[bytes, bytes] | None:
        """Return SHA-256 and xxh3_128 of the file that has this identity."""
        value = self._records.get(identity)
        if value is None:
            return None
        self._used.add(identity)
        return value[:32], value[32:48]

    def record(self, identity: bytes) -> bytes | None:
        """Return SHA-256, xxh3_128 and ``PLAIN`` or something else: what is known of the file, in one piece."""
        return self._records.get(identity)

    def put(self, identity: bytes, digests: tuple[bytes, bytes], *, started: int, plain: bool) -> bool:
        """Remember digests of contents whose reading began at ``started`` (nanoseconds since 1970).

        Say whether that is safe, and done.
        """
        mtime, ctime = _TIMES.unpack_from(identity, 24)
        tick = _COARSE_TICK if ctime % 1_000_000_000 == 0 else _TICK
        if max(mtime, ctime) + tick >= started or int.from_bytes(identity[:8], "little") != self._device:
            return False
        if identity in self._records:
            self._used.add(identity)
        self._records[identity] = digests[0] + digests[1] + (PLAIN if plain else _WITH_XATTRS)
        self._added = True
        return True

    def save(self, seen: Iterable[bytes] = ()) -> bool:
        """Write the file anew if something was learnt; say whether it holds all that is known. Never raises.

        Where there is too much, what was asked for stays, and the identities that were ``seen``.
        """
        if not self._added:
            return True
        records = self._records
        # What was put and is new comes last; a set of them all would be large.
        put = itertools.islice(records, self._loaded, None)
        used = self._used.union(put, (key for key in seen if key in records))
        if len(records) > 2 * len(used) + _SLACK or len(records) > _MOST_RECORDS:
            records = {key: records[key] for key in used}
        if len(records) > _MOST_RECORDS:
            return False
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with replacing(self._path, mode=0o600) as stream:
                stream.write(bytes(_HEADER.size))
                checksum = xxhash.xxh3_128()
                left = iter(records.items())
                while body := b"".join(itertools.chain.from_iterable(itertools.islice(left, _BATCH))):
                    checksum.update(body)
                    stream.write(body)
                stream.seek(0)
                stream.write(_HEADER.pack(_MAGIC, self._world, checksum.digest(), len(records)))
        except (OSError, OutputError):
            return False
        self._added = False
        return True


def _read(path: Path, world: bytes) -> dict[bytes, bytes]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as stream:
            info = os.fstat(fd)
            largest = _HEADER.size + _MOST_RECORDS * _RECORD.size
            if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid() or info.st_size > largest:
                return {}
            data = stream.read(largest)
    except OSError:
        return {}
    if len(data) < _HEADER.size:
        return {}
    magic, written_in, checksum, count = _HEADER.unpack_from(data)
    body = memoryview(data)[_HEADER.size :]
    if (magic, written_in, count * _RECORD.size) != (_MAGIC, world, len(body)):
        return {}
    if xxhash.xxh3_128_digest(body) != checksum:
        return {}
    return dict(_PAIR.iter_unpack(body))


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

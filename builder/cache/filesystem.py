"""What kind of file system a path is on: network file systems have other rules for locks, inodes and overlays.

Answered from /proc (proc(5): ``fdinfo`` names the mount, ``mountinfo`` its type), because Python has no statfs(2).
"""

from __future__ import annotations

import os
from pathlib import Path

_NETWORK = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "nfs", "nfs4"}
    | {"ocfs2", "orangefs", "pvfs2", "smb3", "smbfs", "virtiofs"}
)
# FUSE can be anything; these are known to be on this machine.
_LOCAL_FUSE = frozenset({"fuseblk", "fuse.fuse-overlayfs", "fuse.ntfs-3g", "fuse.mergerfs", "fuse.bindfs"})


def filesystem_type(path: Path) -> str | None:
    """Return the type of the file system ``path`` is on (``ext4``, ``nfs4``, ``fuse.sshfs``), None when unknown."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            info = Path(f"/proc/self/fdinfo/{fd}").read_bytes()
        finally:
            os.close(fd)
        mounts = Path("/proc/self/mountinfo").read_bytes()
    except OSError:
        return None
    mount = next((line.split()[1] for line in info.splitlines() if line.startswith(b"mnt_id:")), None)
    return None if mount is None else _type_of_mount(mounts, mount)


def is_network(kind: str | None) -> bool:
    """Say whether other machines may write to a file system of this type at the same time."""
    if kind is None:
        return False
    return kind in _NETWORK or (kind.startswith("fuse") and kind not in _LOCAL_FUSE)


def _type_of_mount(mounts: bytes, mount: bytes) -> str | None:
    for line in mounts.splitlines():
        fields = line.split(b" ")
        if fields[0] == mount and b"-" in fields:
            return fields[fields.index(b"-") + 1].decode("ascii", "replace")
    return None

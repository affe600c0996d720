"""Which file systems count as the network's."""

import pytest

from builder.cache.filesystem import _type_of_mount, filesystem_type, is_network

MOUNTINFO = b"""\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
98 22 0:44 / /mnt/with\\040space rw,nosuid shared:2 master:7 - nfs4 server:/x rw,vers=4.2
99 22 0:45 / /mnt/f rw - fuse.sshfs host: rw
"""


@pytest.mark.parametrize(("mount", "kind"), [(b"22", "ext4"), (b"98", "nfs4"), (b"99", "fuse.sshfs"), (b"9", None)])
def test_the_type_is_found_behind_the_optional_fields(mount, kind):
    assert _type_of_mount(MOUNTINFO, mount) == kind


@pytest.mark.parametrize(
    ("kind", "network"),
    [
        ("ext4", False),
        ("overlay", False),
        ("tmpfs", False),
        ("fuse.fuse-overlayfs", False),
        (None, False),
        ("nfs", True),
        ("nfs4", True),
        ("cifs", True),
        ("9p", True),
        ("fuse.sshfs", True),
        ("fuse", True),
    ],
)
def test_network(kind, network):
    assert is_network(kind) is network


def test_this_machine_answers():
    assert filesystem_type("/proc") == "proc"
    assert filesystem_type("/nonexistent") is None

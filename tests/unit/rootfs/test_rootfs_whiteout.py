from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.rootfs import whiteout
from builder.rootfs.entry import Kind, LayerFormatError
from builder.rootfs.limits import MAX_ID
from tests.support.need import need_root

ids = st.integers(0, MAX_ID)


@given(ids, ids)
def test_owners_survive(uid: int, gid: int) -> None:
    assert whiteout.decode_owner(whiteout.encode_owner(uid, gid)) == (uid, gid)


def test_the_record_is_the_known_format() -> None:
    assert whiteout.encode_owner(33, 1000) == bytes.fromhex("082110e807")
    assert whiteout.decode_owner(bytes.fromhex("1005")) == (0, 5)
    assert whiteout.decode_owner(bytes.fromhex("08feffffff0f")) == (MAX_ID, 0)
    assert whiteout.decode_owner(bytes.fromhex("08ffffffff0f")) is None  # no layer could hold it


@given(st.binary(max_size=20))
def test_any_bytes_are_a_record_or_none(value: bytes) -> None:
    owner = whiteout.decode_owner(value)
    assert owner is None or all(0 <= number <= MAX_ID for number in owner)


@pytest.mark.parametrize(
    ("name", "unpacked", "packed"),
    [
        ("security.capability", True, True),
        ("user.mine", True, True),
        ("user.overlay.opaque", False, False),
        ("trusted.overlay.redirect", False, False),
        ("user.fuseoverlayfs.opaque", False, False),
        ("user.rootlesscontainers", False, False),
        ("security.selinux", False, False),
        ("system.nfs4_acl", False, False),
        ("system.posix_acl_access", True, False),
        ("trusted.other", True, False),
    ],
)
def test_attributes(name: str, unpacked: bool, packed: bool) -> None:
    assert (whiteout.may_unpack(name), whiteout.belongs_in_layer(name)) == (unpacked, packed)


@pytest.fixture
def stack(tmp_path: Path) -> tuple[str, ...]:
    """Three layers, top first."""
    need_root("needs root: whiteouts on old kernels")
    top, middle, bottom = (tmp_path / name for name in ("top", "middle", "bottom"))
    for layer in (top, middle, bottom):
        layer.mkdir()
    for layer, name in ((bottom, "d"), (bottom, "o"), (bottom, "x"), (middle, "o"), (top, "d"), (top, "o"), (top, "x")):
        (layer / name).mkdir()
    (middle / "x").write_text("file")
    (bottom / "gone").write_text("")
    (bottom / "kept").write_text("")
    for layer, name, make in ((middle, "gone", True), (middle, "o", False)):
        fd = os.open(layer if make else layer / name, os.O_RDONLY)
        if make:
            whiteout.make_whiteout(name, fd)
        else:
            whiteout.set_opaque(fd)
        os.close(fd)
    return str(top), str(middle), str(bottom)


def test_lookup(stack: tuple[str, ...]) -> None:
    top, _, bottom = stack
    found = {name: whiteout.lookup(stack, name) for name in ("d", "gone", "kept", "none")}
    assert {name: what and what[0] for name, what in found.items()} == {
        "d": f"{top}/d",
        "gone": None,
        "kept": f"{bottom}/kept",
        "none": None,
    }


def test_descend_ends_where_the_kernel_does(stack: tuple[str, ...]) -> None:
    top, middle, bottom = stack
    assert whiteout.descend(stack, "d") == (f"{top}/d", f"{bottom}/d")
    assert whiteout.descend(stack, "o") == (f"{top}/o", f"{middle}/o")
    assert whiteout.descend(stack, "x") == (f"{top}/x",)
    assert whiteout.descend(stack, "kept") == whiteout.descend(stack, "gone") == whiteout.descend(stack, "none") == ()


def test_names(stack: tuple[str, ...]) -> None:
    assert whiteout.names(stack) == {"d", "o", "x", "kept"}


def test_sockets_are_no_entries(tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        with pytest.raises(LayerFormatError, match="cannot hold"):
            whiteout.describe(str(tmp_path / "s"), "s", os.lstat(tmp_path / "s"), single=False, xattrs={})


def test_describe(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("12345")
    (tmp_path / "l").symlink_to("f")
    os.utime(tmp_path / "f", ns=(0, -1))
    entry = whiteout.describe(str(tmp_path / "f"), "x/f", os.lstat(tmp_path / "f"), single=True, xattrs={"user.a": b""})
    assert (entry.kind, entry.path, entry.size, entry.mtime, entry.xattrs) == (Kind.FILE, "x/f", 5, -1, {"user.a": b""})
    link = whiteout.describe(str(tmp_path / "l"), "l", os.lstat(tmp_path / "l"), single=False, xattrs={})
    assert (link.kind, link.target, link.size) == (Kind.SYMLINK, "f", 0)

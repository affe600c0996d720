"""What only a whole step shows of its layer: files of every kind, the times of mount points' parents, deep stacks."""

from __future__ import annotations

import json
import os
import stat
import tarfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from runbox import OLD, Box, Ran, directory, opened, regular, tar_of

from builder.run.spec import LayerSource, PackTarget, RunSpec, SecretMount
from tests.support.interpreter import python_layer
from tests.support.need import need, need_root, need_tool

CAPABILITY = b"\1\0\0\2\0\x20" + bytes(14)  # version 2, effective, NET_RAW
SPARSE = 64 << 20

MAKE = f"""
import os, stat
os.mknod("/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
os.mknod("/disk", stat.S_IFBLK | 0o640, os.makedev(7, 0))
os.mkfifo("/pipe", 0o600)
os.makedirs("/bin/sub")
def file(name, data=b"x", mode=0o644, owner=(0, 0)):
    fd = os.open(name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.write(fd, data)
    os.fchown(fd, *owner)
    os.fchmod(fd, mode)
    os.close(fd)
file("/bin/su-id", mode=0o4755, owner=(5, 6))
file("/bin/sg-id", mode=0o2711, owner=(0, 6))
file("/bin/ping", mode=0o755)
os.setxattr("/bin/ping", "security.capability", {CAPABILITY!r})
os.setxattr("/bin/sub", "user.mine", b"1")
os.mkdir("/sticky"); os.chmod("/sticky", 0o1777)
file("/one"); os.link("/one", "/bin/two")
fd = os.open("/hole", os.O_CREAT | os.O_WRONLY)
os.pwrite(fd, b"end", {SPARSE} - 3)
os.close(fd)
when = os.stat("/base/same").st_mtime_ns
file("/base/same", b"ABC")
os.utime("/base/same", ns=(when, when))
for name in ("a", "b"):
    os.unlink("/base/full/" + name)
os.rmdir("/base/full"); os.mkdir("/base/full"); os.chmod("/base/full", 0o755)
file("/base/full/new")
os.unlink("/base/type"); os.mkdir("/base/type"); file("/base/type/inside")
"""
LOOK = """
import json, os
found = {}
for top, directories, files in os.walk("/"):
    directories[:] = sorted(name for name in directories if (top, name) not in
        (("/", "proc"), ("/", "sys"), ("/", "dev"), ("/", "usr"), ("/", "lib"), ("/", "lib64"), ("/", "etc")))
    for name in sorted(directories + files):
        path = os.path.join(top, name)
        one = os.lstat(path)
        attributes = {} if os.path.islink(path) else {
            key: os.getxattr(path, key, follow_symlinks=False).hex()
            for key in os.listxattr(path, follow_symlinks=False) if not key.startswith("user.overlay.")}
        found[path] = [one.st_mode, one.st_uid, one.st_gid, one.st_rdev, one.st_size, int(one.st_mtime), attributes]
found["/hole"].append(os.stat("/hole").st_blocks * 512 <= 2 << 20)
found["links"] = os.path.samefile("/one", "/bin/two") and os.stat("/one").st_nlink
print(json.dumps(found))
"""


def program(box: Box, text: str, stack: Sequence[LayerSource]) -> Ran:
    ran = box.run("/usr/bin/python3", "-I", "-S", "-c", text, stack=stack)
    assert ran.status.ok, ran.err
    return ran


def bases(box: Box) -> list[LayerSource]:
    files = tar_of(
        [
            directory("base"),
            regular("base/same", b"abc"),
            regular("base/type", b""),
            directory("base/full"),
            regular("base/full/a", b""),
            regular("base/full/b", b""),
        ]
    )
    return [box.base, box.layer(python_layer("os,stat,json")), box.layer(files)]


@pytest.fixture(params=["root-overlay", "root-fuse", "root-copy"])
def made_box(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Box]:
    """Make boxes that keep their trees in every way there is."""
    need_root("needs root: devices")
    if request.param == "root-fuse":
        need_tool("fuse-overlayfs")
        need(os.path.exists("/dev/fuse"), "needs /dev/fuse")
    (tmp_path / "store").mkdir()
    with opened(tmp_path / "store", Path(need_tool("busybox")), *request.param.split("-")) as box:
        yield box


def test_files_of_every_kind(made_box: Box) -> None:
    stack = bases(made_box)
    ran = program(made_box, MAKE, stack)
    assert ran.source is not None
    assert ran.layer is not None
    found = {member.name: member for member in ran.members}
    kinds = {name: found[name].type for name in ("null", "disk", "pipe", "sticky")}
    assert kinds == {"null": tarfile.CHRTYPE, "disk": tarfile.BLKTYPE, "pipe": tarfile.FIFOTYPE, "sticky": b"5"}
    assert (found["null"].devmajor, found["null"].devminor, found["disk"].devmajor) == (1, 3, 7)
    owned = {name: (found[name].mode, found[name].uid, found[name].gid) for name in ("bin/su-id", "bin/sg-id")}
    assert owned == {"bin/su-id": (0o4755, 5, 6), "bin/sg-id": (0o2711, 0, 6)}
    assert found["sticky"].mode == 0o1777
    headers = found["bin/ping"].pax_headers
    assert headers["SCHILY.xattr.security.capability"].encode() == CAPABILITY
    assert found["bin/sub"].pax_headers["SCHILY.xattr.user.mine"] == "1"
    assert (found["one"].type, found["one"].linkname) == (tarfile.LNKTYPE, "bin/two")
    assert found["hole"].size == SPARSE
    assert found["base/same"].mtime == OLD
    names = [name for name in ran.names if name.startswith(("base/full", "base/type"))]
    assert names == [
        "base/full",
        "base/full/.wh.a",
        "base/full/.wh.b",
        "base/full/new",
        "base/type",
        "base/type/inside",
    ]

    # The next step sees the same, whether the layer was kept as it was made or is unpacked somewhere else.
    kept = json.loads(program(made_box, LOOK, [*stack, ran.source]).out)
    # A plain tree and fuse-overlayfs have to part them beforehand, as an overlay does when a step writes to one.
    assert (kept.pop("links") == 2) == (made_box.sandbox.snapshotter == "overlay")
    assert kept["/hole"][-1], "the hole takes no space"
    assert kept["/bin/ping"][6] == {"security.capability": CAPABILITY.hex()}
    assert stat.S_ISBLK(kept["/disk"][0])
    assert {path for path in kept if path.startswith("/base/full/")} == {"/base/full/new"}
    other = made_box.root.parent / "other"
    other.mkdir()
    with_unpacked = Box(other, made_box.busybox)
    try:
        unpacked = json.loads(program(with_unpacked, LOOK, [*stack, ran.source]).out)
    finally:
        with_unpacked.close()
    assert unpacked.pop("links") == 2
    assert unpacked == kept


def test_parents_of_mount_points_keep_their_times(box: Box) -> None:
    ran = box.run(
        "stat -c %Y /etc; echo x > /etc/new; touch -d @5 /etc",
        mounts=(SecretMount(target="/etc/token", data=b"x"), SecretMount(target="/made/deep/token", data=b"x")),
    )
    assert ran.out.strip() == str(OLD)
    assert {member.name: member.mtime for member in ran.members if member.name == "etc"} == {"etc": 5}
    assert ran.names == ["etc", "etc/new"]


def test_a_secret_is_not_on_the_disk_while_it_is_used(fresh_box: Box) -> None:
    value = b"planted-value-" + os.urandom(8).hex().encode()
    searched: list[Path] = []

    def search(_stream: str, _data: bytes) -> None:
        for place, _, names in os.walk(fresh_box.root):
            for name in names:
                path = Path(place, name)
                if path.is_file() and not path.is_symlink():
                    searched.append(path)
                    assert value not in path.read_bytes(), path

    fresh_box.sandbox.run(
        RunSpec(
            args=("/bin/sh", "-c", "echo x > /witness; cat /secret > /dev/null; echo up; sleep 0.5"),
            env=(("PATH", "/bin"),),
            mounts=(SecretMount(target="/secret", data=value),),
        ),
        [fresh_box.base],
        on_output=search,
        cancel=threading.Event(),
        pack_to=PackTarget(fresh_box.root / "o", fresh_box.root / "t"),
    )
    assert any(path.name == "witness" for path in searched), "the step's own directory was not among what was searched"


def test_the_layer_on_many(fresh_box: Box) -> None:
    count = 499
    tars = [tar_of([directory("d"), regular(f"d/f{number}", b"")]) for number in range(count - 1)]
    stack = [fresh_box.base, *map(fresh_box.layer, tars)]
    ran = fresh_box.run("ls /d | wc -l; rm /d/f0 /d/f250; echo x > /d/f497; chmod 644 /d/f1", stack=stack)
    assert ran.out.strip() == str(count - 1)
    assert ran.names == ["d", "d/.wh.f0", "d/.wh.f250", "d/f497"]
    assert ran.source is not None
    assert fresh_box.run("ls /d | wc -l", stack=[*stack, ran.source]).out.strip() == str(count - 3)

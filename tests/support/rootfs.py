"""Small and real root filesystems to build on: busybox, and Debian made by mmdebstrap."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.commands import run
from tests.support.need import machine_cache, need, need_root, need_tool

_BUSYBOX = Path("/usr/bin/busybox")
_SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
    "app:x:1000:1000:App:/home/app:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\ndaemon:x:1:\nstaff:x:50:app\napp:x:1000:\nnogroup:x:65534:\n",
    "etc/hostname": "busybox\n",
    "etc/os-release": 'ID=busybox\nPRETTY_NAME="busybox for tests"\n',
}


@contextmanager
def once(path: Path) -> Iterator[bool]:
    """Hold the lock of ``path``, and say whether it is still to be made: one process makes, others wait."""
    with open(path.with_name(path.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not path.exists()


def make_busybox(target: Path) -> Path:
    """Fill ``target`` with a root filesystem of Debian's static busybox; return it."""
    program = shutil.which("busybox") or str(_BUSYBOX)
    need(os.path.exists(program), "needs busybox-static")
    need(_is_static(Path(program)), "needs busybox-static, not the dynamic busybox")
    target.chmod(0o755)
    for name in ("bin", "etc", "home/app", "root", "usr/bin", "usr/sbin", "var/lib", "dev", "proc", "sys"):
        (target / name).mkdir(parents=True, exist_ok=True)
    for name in ("sbin", "lib"):
        (target / name).symlink_to(f"usr/{name}")
    (target / "usr/lib").mkdir()
    for name, mode in (("tmp", 0o1777), ("var/tmp", 0o1777), ("root", 0o700)):
        (target / name).mkdir(exist_ok=True)
        (target / name).chmod(mode)
    (target / "var/run").symlink_to("/run")
    (target / "run").mkdir()
    for name, text in _FILES.items():
        (target / name).write_text(text)
    shutil.copy(program, target / "bin/busybox")
    (target / "bin/busybox").chmod(0o755)
    for applet in run([program, "--list"]).stdout.split():
        if applet != "busybox":
            (target / "bin" / applet).symlink_to("busybox")
    if os.geteuid() == 0:
        os.chown(target / "home/app", 1000, 1000)
    _settle(target)
    return target


def _is_static(program: Path) -> bool:
    """True for an executable without an interpreter; PT_INTERP's text would be in its first page."""
    with program.open("rb") as stream:
        return b"/ld-linux" not in stream.read(4096)


def _settle(root: Path) -> None:
    """Give every file one old mtime, so that the tree is the same whenever it is made."""
    for directory, names, files in os.walk(root, topdown=False):
        for name in (*names, *files):
            os.utime(os.path.join(directory, name), (1577836800, 1577836800), follow_symlinks=False)
    os.utime(root, (1577836800, 1577836800))


def debian_rootfs_tar() -> Path:
    """Return a tar of a minimal Debian 12, made once a machine (a minute, and needs the package mirror)."""
    need_root("needs root: mmdebstrap")
    program = need_tool("mmdebstrap")
    sources = next((path for path in _SOURCES if path.exists()), None)
    need(sources, "needs a Debian whose package sources mmdebstrap can use")
    path = machine_cache() / "debian-12-minbase.tar"
    with once(path) as missing:
        if missing:
            unfinished = path.with_name("unfinished.tar")
            unfinished.unlink(missing_ok=True)
            environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
            command = [program, "--quiet", "--variant=minbase", "bookworm", unfinished, sources]
            run(command, env=environment)
            unfinished.rename(path)
    return path

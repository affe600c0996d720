"""Base images of the benchmarks: OCI layouts with the tag ``latest``, made of Debian packages."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.support.measuring import done
from tests.support import images, rootfs
from tests.support.need import machine_cache

# Enough for a root filesystem of about 250 MB.
_PACKAGES = "perl,python3,git,file,xz-utils"
_SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))


def busybox(work: Path) -> Path:
    """Return the layout, in ``work``, of an image with busybox only."""
    root, layout = work / "busybox", work / "small"
    root.mkdir()
    images.write_layout(layout, [images.tar_directory(rootfs.make_busybox(root))], container={"Cmd": ["sh"]})
    return layout


def debian() -> Path:
    """Return the layout of a minimal Debian, the one of the tests."""
    layout = machine_cache() / "debian-12-layout"
    with rootfs.once(layout) as missing:
        if missing:
            unfinished = layout.with_name(f"{layout.name}.{os.getpid()}")
            images.write_layout(unfinished, [rootfs.debian_rootfs_tar().read_bytes()], container={"Cmd": ["bash"]})
            unfinished.rename(layout)
    return layout


def debian_with_tar(work: Path, scale: float) -> Path:
    """Return the layout, in ``work``, of Debian with a second layer: /rootfs.tar, 250 MB times ``scale``."""
    layout = work / "debian-with-tar"
    size, small = int(250e6 * scale), rootfs.debian_rootfs_tar()
    tar = _part_of(small if size < small.stat().st_size else _large_tar(), size)
    layers = [small.read_bytes(), images.layer(images.file("rootfs.tar", tar))]
    images.write_layout(layout, layers, container={"Cmd": ["bash"]})
    return layout


def _large_tar() -> Path:
    """Return a tar of a Debian with a few packages more, made once a machine."""
    path = machine_cache() / "debian-12-large.tar"
    with rootfs.once(path) as missing:
        if missing:
            unfinished = path.with_name("unfinished-large.tar")
            unfinished.unlink(missing_ok=True)
            sources = next(str(one) for one in _SOURCES if one.exists())
            command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}", "bookworm"]
            done([*command, str(unfinished), sources], {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"})
            unfinished.rename(path)
    return path


def _part_of(tar: Path, size: int) -> bytes:
    """Return the first members of a tar, up to ``size`` bytes; without devices, which not every sandbox makes."""
    target = io.BytesIO()
    with tarfile.open(tar) as source, tarfile.open(fileobj=target, mode="w") as part:
        for member in source:
            if member.isdev() or member.name.startswith("./dev/"):
                continue
            if target.tell() > size:
                break
            stream = source.extractfile(member) if member.isfile() else None
            part.addfile(member, stream)
    return target.getvalue()


def remove(path: Path) -> None:
    """Remove a tree, and first what is mounted in it: builders that were killed leave that behind."""
    below = f"{path.resolve()}/"
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for point in reversed([one for one in mounted if one.startswith(below)]):
        subprocess.run(["umount", "--lazy", point], check=False)
    shutil.rmtree(path, ignore_errors=True)


@contextmanager
def working(where: str) -> Iterator[Path]:
    """Yield a directory in ``where`` that goes away, also when the benchmark is told to end."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: what follows is the cleaning
        sys.exit(143)

    signal.signal(signal.SIGTERM, end)
    folder = Path(tempfile.mkdtemp(prefix="pybuild-bench-", dir=where))
    try:
        yield folder
    finally:
        remove(folder)

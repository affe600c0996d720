"""A busybox image and a sandbox to run commands in it; also a program, so that other users can do the same.

As a program: ``runbox.py STORE BUSYBOX STEPS [SNAPSHOTTER]``; STEPS is a JSON list of arguments of ``Box.run``, and a
list of results is printed.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import sys
import tarfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.errors import BuilderError
from builder.image.digest import ChainID, DiffID, Digest, chain_id
from builder.run.sandbox import Sandbox
from builder.run.spec import ExitStatus, LayerSource, PackTarget, RunSpec

PASSWD = b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n"
GROUP = b"root:x:0:\napp:x:1001:\nwheel:x:10:app\n"
OLD = 1_000_000_000  # the mtime of everything in the base


@dataclass
class Ran:
    """What came of one command; ``entries`` is the layer's table of (name, type, uid, gid, mode), None without one."""

    status: ExitStatus
    out: str
    err: str
    layer: bytes | None = None
    source: LayerSource | None = None
    members: list[tarfile.TarInfo] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [member.name for member in self.members]


def tar_of(entries: Sequence[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries:
            info.mtime = OLD
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def directory(name: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    return info, b""


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
    return info, b""


def regular(name: str, data: bytes, mode: int = 0o644, owner: int = 0) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid = mode, owner, owner
    return info, data


CAPABILITY = "\1\0\0\2\0\x20" + "\0" * 14  # version 2, effective, NET_RAW


def capable(name: str) -> tuple[tarfile.TarInfo, bytes]:
    info, data = regular(name, b"", 0o755)
    info.pax_headers = {"SCHILY.xattr.security.capability": CAPABILITY}
    return info, data


class Box:
    """One store, one sandbox, one base image."""

    def __init__(self, root: Path, busybox: Path, isolation: str = "auto", snapshotter: str = "auto") -> None:
        self.root = root
        self.busybox = busybox
        self._counter = 0
        self.sandbox = Sandbox(
            root, scratch=self._scratch, stale=self.leftovers, isolation=isolation, snapshotter=snapshotter
        )
        self.base = self.bare_base()

    def _scratch(self) -> Path:
        path = self.root / "tmp" / f"{os.getpid()}-{self.next()}.run"
        path.mkdir(parents=True)
        return path

    def leftovers(self) -> list[Path]:
        mine = f"{os.getpid()}-"
        tmp = self.root / "tmp"
        return [path for path in tmp.iterdir() if not path.name.startswith(mine)] if tmp.exists() else []

    def next(self) -> int:
        self._counter += 1
        return self._counter

    def bare_base(self) -> LayerSource:
        """Only what a shell needs: none of the mount points of the sandbox exists."""
        entries = [
            directory("bin"),
            regular("bin/busybox", self.busybox.read_bytes(), 0o755),
            *(link(f"bin/{name}", "busybox") for name in APPLETS),
            directory("etc"),
            regular("etc/passwd", PASSWD),
            regular("etc/group", GROUP),
            capable("capable"),
        ]
        return self.layer(tar_of(entries))

    def layer(self, tar: bytes, below: Sequence[LayerSource] = ()) -> LayerSource:
        path = self.root / f"blob-{self.next()}"
        path.write_bytes(gzip.compress(tar, 1))
        diff_id = DiffID(Digest.of(tar))
        chain = chain_id([*(each.diff_id for each in below), diff_id])
        return LayerSource(diff_id=diff_id, chain_id=ChainID(chain), path=lambda: path, stands_alone=True)

    def run(
        self,
        *args: str,
        stack: Sequence[LayerSource] | None = None,
        cancel: threading.Event | None = None,
        **spec: Any,
    ) -> Ran:
        """Run ``args``, one argument meaning a shell script."""
        spec.setdefault("env", (("PATH", "/bin"),))
        command = ("/bin/sh", "-c", args[0]) if len(args) == 1 else args
        streams = {"stdout": bytearray(), "stderr": bytearray()}
        number = self.next()
        blob, toc = self.root / f"out-{number}", self.root / f"toc-{number}"
        result = self.sandbox.run(
            RunSpec(args=tuple(command), **spec),
            [self.base] if stack is None else stack,
            on_output=lambda stream, data: streams[stream].extend(data),
            cancel=cancel or threading.Event(),
            pack_to=PackTarget(blob, toc),
        )
        ran = Ran(result.status, streams["stdout"].decode(), streams["stderr"].decode())
        if result.packed is not None:
            diff_ids = [*(each.diff_id for each in (stack or [self.base])), result.packed.diff_id]
            ran.source = LayerSource(
                diff_id=result.packed.diff_id, chain_id=chain_id(diff_ids), path=lambda: blob, stands_alone=True
            )
            ran.layer = gzip.decompress(blob.read_bytes())
            with tarfile.open(fileobj=io.BytesIO(ran.layer)) as tar:
                ran.members = tar.getmembers()
        return ran

    def close(self) -> None:
        self.sandbox.close()


_WORDS = """
cat chgrp chmod chown cp cut date echo env false find grep head hostname id ifconfig kill ln ls mkdir mkfifo mknod mv
nc ps pwd readlink rm rmdir setsid sh sleep stat su tail touch tr true umount mount unshare wc xargs
"""
APPLETS = _WORDS.split()


@contextlib.contextmanager
def opened(root: Path, busybox: Path, isolation: str = "auto", snapshotter: str = "auto") -> Iterator[Box]:
    box = Box(root, busybox, isolation, snapshotter)
    try:
        yield box
    finally:
        box.close()


def main() -> None:
    root, busybox = Path(sys.argv[1]), Path(sys.argv[2])
    results: list[dict[str, Any]] = []
    with opened(root, busybox, snapshotter=sys.argv[4] if len(sys.argv) > 4 else "auto") as box:
        stack = [box.base]
        for request in json.loads(sys.argv[3]):
            keep = request.pop("keep", False)
            try:
                ran = box.run(*request.pop("args"), stack=stack, **request)
            except BuilderError as error:
                results.append({"error": error.message, "mode": box.sandbox.mode})
                continue
            if keep and ran.source is not None:
                stack.append(ran.source)
            results.append(
                {
                    "mode": box.sandbox.mode,
                    "code": ran.status.code,
                    "out": ran.out,
                    "err": ran.err,
                    "members": [
                        [each.name, each.type.decode(), each.uid, each.gid, each.mode, dict(each.pax_headers)]
                        for each in ran.members
                    ],
                }
            )
    json.dump(results, sys.stdout)


def busybox() -> str | None:
    return shutil.which("busybox", path=os.environ.get("PATH", "") + ":/usr/bin:/bin:/usr/sbin:/sbin")


if __name__ == "__main__":
    main()

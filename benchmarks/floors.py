#!/usr/bin/env python3
"""What nobody can be faster than on this machine: the part of a workload that is left when a builder does nothing else.

    .venv/bin/python benchmarks/floors.py [--rows W2,W4,W6,W7] [--repeat N] [--scale 0.1]

    W2      the shortest Python program that makes the layer and uploads it: no key, no cache, no table of contents
    W4, W7  the command of the RUN alone, on a kernel overlay: nothing is looked for, packed or sent
    W6      the layer, packed before, in one PUT

Beside it buildah's whole row, which takes turns with it, and the fraction that a builder with no work of its own would
have. Needs root, docker-registry, buildah, umoci, busybox-static and mmdebstrap.
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
    from benchmarks.support import bases
    from benchmarks.support.measuring import Measured, done, measure, median, take_turns
    from benchmarks.support.rivals import Buildah, environment
    from benchmarks.support.workloads import WORKLOADS, Context
    from tests.support.registry import serve

if TYPE_CHECKING:
    from tests.support.registry import TestRegistry

CHUNK = 1 << 20
GOALS = {"W2": 0.09, "W4": 0.13, "W6": 0.18, "W7": 0.34}


def layer(folder: str, target: str) -> str:
    """Write the files of ``folder`` as a layer to ``target``: what has to be done, and no more. Return its digest."""
    import hashlib
    from concurrent.futures import Future, ThreadPoolExecutor

    import deflate

    diff_id, digest = hashlib.sha256(), hashlib.sha256()
    pending: list[Future[bytes]] = []
    parts: list[bytes] = []
    size = 0
    with open(target, "wb") as blob, ThreadPoolExecutor(2) as pool:

        def pack(*, last: bool) -> None:
            nonlocal parts, size
            data = b"".join(parts)
            for at in range(0, len(data) if last else len(data) - CHUNK + 1, CHUNK):
                chunk = data[at : at + CHUNK]
                diff_id.update(chunk)
                pending.append(pool.submit(deflate.gzip_compress, chunk, 1))
            parts = [] if last else [data[len(data) // CHUNK * CHUNK :]]
            size = sum(map(len, parts))
            while pending and (last or len(pending) > 6):
                done = pending.pop(0).result()
                digest.update(done)
                blob.write(done)

        for directory, below, names in os.walk(folder):
            below.sort()
            for name in sorted(names):
                fd = os.open(f"{directory}/{name}", os.O_RDONLY)
                info = os.fstat(fd)
                data = os.read(fd, info.st_size)
                os.close(fd)
                path = f"src{directory[len(folder) :]}/{name}".encode()
                numbers = (info.st_mode & 0o7777, 0, 0, len(data), int(info.st_mtime))
                head = path.ljust(100, b"\0") + b"%07o\0%07o\0%07o\0%011o\0%011o\0        0" % numbers
                head = (head.ljust(257, b"\0") + b"ustar\00000").ljust(512, b"\0")
                head = head[:148] + b"%06o\0 " % sum(head) + head[156:]
                parts += head, data, bytes(-len(data) % 512)
                size += 512 + len(data) + -len(data) % 512
                if size >= CHUNK:
                    pack(last=False)
        parts.append(bytes(1024))
        pack(last=True)
    return digest.hexdigest()


def put(blob: str, digest: str, host: str) -> None:
    """Upload a file in one request."""
    with closing(http.client.HTTPConnection(host)) as connection, open(blob, "rb") as stream:
        connection.request("POST", "/v2/floor/blobs/uploads/")
        answer = connection.getresponse()
        answer.read()
        place = urlsplit(answer.getheader("Location") or "")
        connection.putrequest("PUT", f"{place.path}?{place.query}&digest=sha256:{digest}")
        left, sent = os.path.getsize(blob), 0
        connection.putheader("Content-Length", str(left))
        connection.endheaders()
        while sent < left:
            sent += os.sendfile(connection.sock.fileno(), stream.fileno(), sent, left - sent)
        if (status := connection.getresponse().status) != 201:
            sys.exit(f"PUT ended with {status}")


def command_of(dockerfile: Path) -> str:
    """Return the command of the first RUN."""
    found = re.search(r"^RUN ((?:.*\\\n)*.*)", dockerfile.read_text(), re.MULTILINE)
    assert found is not None
    return found[1].replace("\\\n", " ")


def alone(command: str, lower: Path, upper: Path) -> list[str]:
    """Return the command that runs ``command`` on an overlay over ``lower``."""
    place = upper / "root"
    lines = [
        f"mkdir -p {upper}/upper {upper}/work {place}",
        f"mount -t overlay -o lowerdir={lower},upperdir={upper}/upper,workdir={upper}/work overlay {place}",
        f"exec chroot {place} sh -c {shlex.quote(command)}",
    ]
    return ["unshare", "--mount", "sh", "-ec", "\n".join(lines)]


class Yard:
    """One row: a directory, a registry, the context, buildah, and what is left of its work."""

    def __init__(self, row: str, work: Path, registry: TestRegistry, scale: float) -> None:
        self._row, self._work, self._registry, self._count = row, work, registry, 0
        name = "W3" if row == "W6" else row
        made: dict[str, Callable[[], Path]] = {
            "busybox": partial(bases.busybox, work),
            "debian": bases.debian,
            "debian-with-tar": partial(bases.debian_with_tar, work, scale),
        }
        layout = made[WORKLOADS[name].base]()
        base = registry.push(layout, "base:1")
        self._context = Context(name, work / "context", base, scale)
        self._buildah = Buildah("buildah", work)
        self._buildah.pull(base)
        if row in ("W4", "W7"):
            done(["umoci", "raw", "unpack", "--image", f"{layout}:latest", str(work / "lower")])
        done(self._buildah.build(self._context, self._name, push=True), self._buildah.env)

    @property
    def _name(self) -> str:
        return f"{self._registry.host}/theirs:1"

    def theirs(self) -> Measured:
        """Measure buildah's row."""
        self._context.fresh()
        if self._row != "W6":
            return measure(self._buildah.build(self._context, self._name, push=True), self._buildah.env)
        done(self._buildah.build(self._context, self._name, push=False), self._buildah.env)
        with tempfile.TemporaryDirectory(dir=self._work) as empty, serve(Path(empty)) as other:
            return measure(self._buildah.push(self._name, f"{other.host}/theirs:1"), self._buildah.env)

    def least(self) -> Measured:
        """Measure what is left."""
        self._context.fresh()
        self._count += 1
        folder, blob = str(self._context.path), str(self._work / "blob")
        env = {**environment(self._work), "PYTHONPATH": ":".join(sys.path)}
        again = [sys.executable, "-S", str(Path(__file__).resolve())]
        match self._row:
            case "W2":
                return measure([*again, "layer+put", folder, blob, self._registry.host], env)
            case "W6":
                return measure([*again, "put", blob, layer(folder, blob), self._registry.host], env)
            case _:
                upper = self._work / f"upper-{self._count}"
                return measure(alone(command_of(self._context.dockerfile), self._work / "lower", upper), env)


def main() -> None:
    """Measure the rows that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(GOALS))
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    print("| row | least | buildah | of buildah | goal |\n|---|---|---|---|---|", flush=True)
    for row in options.rows.split(","):
        with bases.working("/var/tmp") as work, serve(work / "registry") as registry:
            yard = Yard(row, work, registry, options.scale)
            runs = take_turns({"least": yard.least, "theirs": yard.theirs}, options.repeat)
            least, theirs = (median(runs[who]).wall for who in ("least", "theirs"))
            print(f"| {row} | {least:.2f} s | {theirs:.2f} s | {least / theirs:.3f} | {GOALS[row]:.2f} |", flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case "layer+put", folder, blob, host:
            put(blob, layer(folder, blob), host)
        case "put", blob, digest, host:
            put(blob, digest, host)
        case _:
            main()

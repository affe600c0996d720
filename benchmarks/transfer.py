#!/usr/bin/env python3
"""Pushing an image of four layers (1 GiB unless told otherwise) to a registry here and pulling it, next to skopeo.

    .venv/bin/python benchmarks/transfer.py [--pybuild PROGRAM] [--mib N] [--rounds N] [--json FILE]

Runs in the environment that scripts/test makes, with docker-registry and skopeo. PROGRAM should be the command of an
installed wheel, with compiled bytecode (PYTHONDONTWRITEBYTECODE unset). Both push from one OCI layout to an empty
registry, and pull from a registry to an empty place: a store, an OCI layout. They take turns, and who begins takes
turns too. Reports medians of wall time, and peak resident sets in MB (10**6 bytes), which cannot be less than the
benchmark's own. Ends with status 1 if pybuild takes more than 1.3 times as long, or more than 120 MB.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.support.command import Arguments
from tests.support.registry import TestRegistry, serve

MIB = 1 << 20
LAYERS = 4
LIMIT_RATIO = 1.3
LIMIT_MEGABYTES = 120.0


@dataclass(frozen=True)
class Measured:
    """One command: who, what, seconds of wall and processor time, and the largest resident set in MB."""

    who: str
    what: str
    seconds: float
    processor: float
    megabytes: float


class _Random:
    """``size`` bytes that do not compress."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int = -1) -> bytes:
        data = os.urandom(min(self._left, MIB if size < 0 else size))
        self._left -= len(data)
        return data


def make_layout(folder: Path, mib: int) -> None:
    """Write an OCI layout of one image, ``latest``; its layers are gzip, stored: compressing is not measured."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    layers, diff_ids = [], []
    for number in range(LAYERS):
        path = folder / f"layer-{number}"
        with (
            gzip.GzipFile(path, "wb", compresslevel=0, mtime=0) as packed,
            tarfile.open(mode="w|", fileobj=packed) as tar,
        ):
            member = tarfile.TarInfo(f"file-{number}")
            member.size = mib * MIB // LAYERS
            tar.addfile(member, _Random(member.size))  # type: ignore[arg-type]  # all that is needed of a file
        with gzip.open(path) as stream:
            diff_ids.append("sha256:" + hashlib.file_digest(stream, "sha256").hexdigest())
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        size = path.stat().st_size
        path.rename(blobs / digest)
        kind = "application/vnd.oci.image.layer.v1.tar+gzip"
        layers.append({"mediaType": kind, "digest": f"sha256:{digest}", "size": size})
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **put(json.dumps(config).encode())},
        "layers": layers,
    }
    entry = {
        "mediaType": manifest["mediaType"],
        **put(json.dumps(manifest).encode()),
        "annotations": {"org.opencontainers.image.ref.name": "latest"},
    }
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def measure(who: str, what: str, command: list[str], env: dict[str, str]) -> Measured:
    """Run a command to its end; what others still had to write to disk is written before."""
    os.sync()
    started = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            sys.exit(f"{command} ended with {process.returncode}:\n{said.read().decode()}")
    return Measured(who, what, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6)


def pushes(pybuild: str, layout: Path, registry: TestRegistry) -> dict[str, list[str]]:
    """Return the commands that push the layout."""
    return {
        "pybuild": [pybuild, "push", f"oci-layout://{layout}:latest", f"{registry.host}/image:1"],
        "skopeo": [*_SKOPEO, "--dest-tls-verify=false", f"oci:{layout}:latest", f"docker://{registry.host}/image:1"],
    }


def pulls(pybuild: str, folder: Path, registry: TestRegistry) -> dict[str, list[str]]:
    """Return the commands that pull what was pushed."""
    return {
        "pybuild": [
            pybuild,
            "pull",
            "--root",
            str(folder / "store"),
            "--platform",
            "linux/amd64",
            f"{registry.host}/image:1",
        ],
        "skopeo": [*_SKOPEO, "--src-tls-verify=false", f"docker://{registry.host}/image:1", f"oci:{folder}/layout:1"],
    }


_SKOPEO = ["skopeo", "--insecure-policy", "copy", "--quiet"]


def rounds(pybuild: str, layout: Path, folder: Path, count: int) -> Iterator[Measured]:
    """Yield every measurement; each is of an empty registry, or into an empty place."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env |= {"PYBUILD_ROOT": str(folder / "store"), "HOME": str(folder)}
    for number in range(count):
        for who in ("pybuild", "skopeo") if number % 2 else ("skopeo", "pybuild"):
            place = folder / f"{who}-{number}"
            with serve(place / "registry") as registry:
                yield measure(who, "push", pushes(pybuild, layout, registry)[who], env)
                yield measure(who, "pull", pulls(pybuild, place, registry)[who], env)
            shutil.rmtree(place)


def report(found: list[Measured]) -> bool:
    """Print medians side by side; return whether pybuild is within its limits."""
    good = True
    for what in ("push", "pull"):
        seconds = {}
        for who in ("skopeo", "pybuild"):
            own = [one for one in found if (one.who, one.what) == (who, what)]
            seconds[who] = statistics.median(one.seconds for one in own)
            peak = max(one.megabytes for one in own)
            processor = statistics.median(one.processor for one in own)
            spread = f"{min(one.seconds for one in own):.2f}-{max(one.seconds for one in own):.2f}"
            print(f"{what} {who:8} {seconds[who]:6.2f} s ({spread}), processor {processor:5.2f} s, peak {peak:6.1f} MB")
            good &= who != "pybuild" or peak <= LIMIT_MEGABYTES
        ratio = seconds["pybuild"] / seconds["skopeo"]
        print(f"{what} pybuild / skopeo = {ratio:.2f}, limit {LIMIT_RATIO}")
        good &= ratio <= LIMIT_RATIO
    return good


def main() -> int:
    """Measure, print, judge."""
    parser = Arguments(__doc__, root=False)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.ready()
    found: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="pybuild-transfer-", dir="/var/tmp") as name:
        folder = Path(name)
        make_layout(folder / "image", options.mib)
        for one in rounds(options.pybuild, folder / "image", folder, options.rounds):
            found.append(one)
            print(f"  {one.what} {one.who:8} {one.seconds:6.2f} s {one.megabytes:6.1f} MB", flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n")
    return int(not report(found))


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Peak memory of building, saving, pushing and pulling an image with one large layer (1 GiB unless told otherwise).

    .venv/bin/python benchmarks/memory.py [--pybuild PROGRAM] [--mib N] [--limit MB] [--json FILE]

Runs in the environment that scripts/test makes. PROGRAM should be the command of an installed wheel, with compiled
bytecode (PYTHONDONTWRITEBYTECODE unset). The figure of a command is the largest resident set of any process it
started (the worker of RUN too), as the kernel counted it. Ends with status 1 if one is over the limit. RUN needs root
here, and pushing needs docker-registry; they are left out without.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.support.command import Arguments
from tests.support.registry import serve

MIB = 1 << 20


@dataclass(frozen=True)
class Measured:
    """One command: peak resident set of its largest process in MB (10**6 bytes), and seconds."""

    name: str
    megabytes: float
    seconds: float


def measure(name: str, command: list[str], env: dict[str, str]) -> Measured:
    """Run a command to its end; wait4 answers with the largest of the process and of all that it waited for."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            sys.exit(f"{command} ended with {process.returncode}:\n{said.read().decode()}")
    return Measured(name, used.ru_maxrss * 1024 / 1e6, time.monotonic() - started)


def fill(path: Path, mib: int) -> None:
    """Write a file of ``mib`` MiB: runs of random bytes and runs of zeros by turns."""
    with open(path, "wb") as stream:
        for number in range(mib):
            stream.write(os.urandom(MIB) if number % 16 < 8 else bytes(MIB))


@contextmanager
def registry(folder: Path) -> Iterator[str | None]:
    """Yield the host of a registry, None where docker-registry is missing."""
    if shutil.which("docker-registry") is None:
        yield None
        return
    with serve(folder) as running:
        yield running.host


def steps(pybuild: str, folder: Path, mib: int, host: str | None) -> Iterator[Measured]:
    """Carry out every step and yield what it took."""
    context, root = folder / "context", str(folder / "store")
    (context / "few").mkdir(parents=True)
    fill(context / "few/big", mib)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env |= {"PYBUILD_ROOT": root, "HOME": str(folder)}
    (context / "Dockerfile").write_text("FROM scratch\nCOPY few /few\n")
    name = f"{host or 'localhost'}/big:1"
    yield measure("build with COPY", [pybuild, "-t", name, str(context)], env)
    yield measure("the same again, cached", [pybuild, "-t", name, str(context)], env)
    yield measure("save, docker archive", [pybuild, "save", name, "-o", str(folder / "saved.tar")], env)
    yield measure("save, OCI layout", [pybuild, "save", "--type=oci", name, "-o", str(folder / "saved.tar")], env)
    yield measure("validate the archive", [pybuild, "validate", str(folder / "saved.tar")], env)
    local = f"type=local,dest={folder / 'tree'}"
    yield measure("build, local output", [pybuild, "-o", local, str(context)], env)
    shutil.rmtree(folder / "tree")
    if host is not None:
        yield measure("push", [pybuild, "push", name], env)
    busybox = shutil.which("busybox")
    if os.geteuid() != 0 or busybox is None:
        return
    shutil.copy(busybox, context / "busybox")
    lines = ["FROM scratch", "COPY busybox /bin/sh", "COPY few /few", "RUN cat /few/big > /copy"]
    (context / "Dockerfile").write_text("\n".join(lines) + "\n")
    yield measure("build with RUN that writes as much", [pybuild, str(context)], env)
    if host is None:
        return
    shutil.rmtree(root)
    lines = [f"FROM {name}", "COPY busybox /bin/sh", "RUN echo > /new", "FROM scratch", "COPY --from=0 /few/ /few/"]
    (context / "Dockerfile").write_text("\n".join(lines) + "\n")
    yield measure(
        "pull as base, unpack, COPY --from", [pybuild, "-o", f"type=docker,dest={folder}/x", str(context)], env
    )


def main() -> int:
    """Measure, print, judge."""
    parser = Arguments(__doc__, root=False)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--limit", type=float, default=100.0)
    parser.add_argument("--json", type=Path)
    options = parser.ready()
    found: list[Measured] = []
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="pybuild-memory-", dir="/var/tmp")))
        host = held.enter_context(registry(folder / "registry"))
        for one in steps(options.pybuild, folder, options.mib, host):
            found.append(one)
            print(f"{one.name:36} {one.megabytes:7.1f} MB {one.seconds:7.1f} s", flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n")
    worst = max(found, key=lambda one: one.megabytes)
    print(f"peak {worst.megabytes:.1f} MB ({worst.name}); limit {options.limit:.0f} MB")
    return int(worst.megabytes > options.limit)


if __name__ == "__main__":
    sys.exit(main())

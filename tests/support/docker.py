"""A real Docker engine of our own: no bridge, no packet filter, everything in a temporary directory."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.commands import run, stop
from tests.support.need import need_root, need_tool

_START_SECONDS = 120


class DockerEngine:
    """A running engine, spoken to by Docker's own command line. It has no bridge: ``--network host`` or ``none``."""

    def __init__(self, socket: Path) -> None:
        self.host = f"unix://{socket}"
        self._program = need_tool("docker")

    def run(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``docker`` with ``arguments``; a failure raises AssertionError unless ``check`` is off."""
        return run([self._program, "-H", self.host, *arguments], check=check)

    def inspect(self, name: str) -> dict[str, Any]:
        """Return what ``docker inspect`` says of one image or container."""
        (found,) = json.loads(self.run("inspect", name).stdout)
        return dict(found)

    def export(self, image: str, target: Path) -> Path:
        """Write the root filesystem of ``image`` as a tar to ``target``; Docker adds a few empty files to it."""
        container = self.run("create", "--network", "none", image, "none").stdout.strip()
        try:
            self.run("export", "--output", target, container)
        finally:
            self.run("rm", container)
        return target


@contextmanager
def engine() -> Iterator[DockerEngine]:
    """Run an engine until the block ends."""
    need_root("needs root: dockerd")
    program = need_tool("dockerd")
    need_tool("containerd")
    # Not below pytest's own directory: the path of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="pbdocker-", dir="/var/tmp", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        socket = directory / "S"
        log = directory / "log"
        command = [
            program,
            "--data-root",
            directory / "data",
            "--exec-root",
            directory / "exec",
            "-H",
            f"unix://{socket}",
        ]
        command += ["--pidfile", directory / "pid", "--bridge", "none", "--iptables=false", "--ip-masq=false"]
        environment = {**os.environ, "PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"}
        with log.open("wb") as stream:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment)
        try:
            running = DockerEngine(socket)
            _wait(running, process, log)
            yield running
        finally:
            stop(process, _START_SECONDS)
            _unmount_below(directory)


def _wait(running: DockerEngine, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while running.run("version", check=False).returncode != 0:
        assert process.poll() is None, f"dockerd ended: {log.read_text(errors='replace')}"
        assert time.monotonic() < deadline, f"dockerd does not start: {log.read_text(errors='replace')}"
        time.sleep(0.1)


def _unmount_below(directory: Path) -> None:
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((mount for mount in mounts if mount.startswith(f"{directory}/")), reverse=True):
        run([need_tool("umount"), "--lazy", mount], check=False)

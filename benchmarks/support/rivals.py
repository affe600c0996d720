"""The builders that are compared, each with a store of its own in a directory that goes away.

``pull`` brings a base into the store, ``build`` and ``push`` are the commands that are measured. Every builder gets
the fastest of its usual settings: buildah no sandbox of runc's, BuildKit a daemon that runs already.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from benchmarks.support.measuring import done
from benchmarks.support.workloads import Context
from tests.support.commands import stop

_START_SECONDS = 30


class Builder(Protocol):
    """A builder under test."""

    name: str
    daemon: int | None  # the process that works for the commands, if not they themselves do
    env: dict[str, str]

    def pull(self, base: str) -> None:
        """Bring ``base`` into the store."""

    def build(self, context: Context, name: str, *, push: bool) -> list[str]:
        """Return the command that builds an image called ``name``, and pushes it if told so."""

    def push(self, name: str, target: str) -> list[str] | None:
        """Return the command that pushes an image of the store as ``target``; None if there is none to be had."""


def environment(work: Path) -> dict[str, str]:
    """Return an environment in which nobody finds settings or accounts, and Python may use its bytecode."""
    left_out = ("PYTHONDONTWRITEBYTECODE", "SOURCE_DATE_EPOCH", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "PYTHONPATH")
    kept = {k: v for k, v in os.environ.items() if k not in left_out and not k.startswith(("PYBUILD_", "XDG_"))}
    return {**kept, "HOME": str(work), "PYBUILD_ROOT": str(work / "pybuild")}


@dataclass
class Pybuild:
    """What this is about."""

    program: str
    work: Path
    name: str = "pybuild"
    daemon: int | None = None
    env: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.env = environment(self.work)

    def pull(self, base: str) -> None:
        done([self.program, "--progress=quiet", "pull", base], self.env)

    def build(self, context: Context, name: str, *, push: bool) -> list[str]:
        options = ["--progress=quiet", f"--file={context.dockerfile}", f"--tag={name}", *(["--push"] if push else [])]
        return [self.program, *options, str(context.path)]

    def push(self, name: str, target: str) -> list[str] | None:
        return [self.program, "--progress=quiet", "push", name, target]


@dataclass
class Buildah:
    """Buildah with a cache of layers, on overlay with native diffs where it can."""

    program: str
    work: Path
    name: str = "buildah"
    daemon: int | None = None
    env: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.env = environment(self.work)
        where = ["--root", f"{self.work}/{self.name}", "--runroot", f"{self.work}/run-{self.name}"]
        self._command = [self.program, *where, "--storage-driver", "overlay"]

    def pull(self, base: str) -> None:
        done([*self._command, "pull", "--quiet", "--tls-verify=false", base], self.env)

    def build(self, context: Context, name: str, *, push: bool) -> list[str]:
        options = ["--layers", "--quiet", "--isolation=chroot", "--pull-never", f"--tag={name}"]
        command = [*self._command, "bud", *options, f"--file={context.dockerfile}", str(context.path)]
        return _both(command, [*self._command, "push", "--quiet", "--tls-verify=false", name]) if push else command

    def push(self, name: str, target: str) -> list[str] | None:
        return [*self._command, "push", "--quiet", "--tls-verify=false", name, f"docker://{target}"]


@dataclass
class BuildKit:
    """``buildctl`` with a ``buildkitd`` that was started before; it has no image store to push from."""

    program: str
    work: Path
    daemon: int | None
    name: str = "BuildKit"
    env: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.env = environment(self.work)

    def pull(self, base: str) -> None:
        folder = self.work / "buildkit-pull"
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text(f"FROM {base}\nRUN true\n")
        done(self._build(folder, folder, "type=image,name=pulled"), self.env)

    def build(self, context: Context, name: str, *, push: bool) -> list[str]:
        return self._build(context.path, context.dockerfile.parent, f"type=image,name={name},push={str(push).lower()}")

    def push(self, name: str, target: str) -> list[str] | None:  # noqa: ARG002  # the others' signature
        return None

    def _build(self, context: Path, dockerfile: Path, output: str) -> list[str]:
        command = [self.program, "--addr", _socket(self.work), "build", "--progress=plain", "--frontend=dockerfile.v0"]
        local = [f"--local=context={context}", f"--local=dockerfile={dockerfile}"]
        return [*command, *local, f"--output={output},registry.insecure=true"]


@contextmanager
def buildkit(buildctl: str, buildkitd: str, work: Path) -> Iterator[BuildKit]:
    """Run a daemon until the block ends."""
    command = [buildkitd, "--addr", _socket(work), "--root", str(work / "buildkit"), "--containerd-worker=false"]
    with (work / "buildkitd.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(work))
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not (work / "buildkitd.sock").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"buildkitd does not start:\n{(work / 'buildkitd.log').read_text()}")
            time.sleep(0.05)
        yield BuildKit(buildctl, work, process.pid)
    finally:
        stop(process, _START_SECONDS)


@dataclass
class Kaniko:
    """kaniko's executor, in a root directory of its own: it builds in /, and removes what is there.

    It has no store: it pulls every time, and pushes every time.
    """

    program: str
    work: Path
    name: str = "kaniko"
    daemon: int | None = None
    env: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.env = environment(self.work)
        self._root = self.work / "kaniko"
        (self._root / "kaniko").mkdir(parents=True)
        shutil.copy(self.program, self._root / "kaniko/executor")

    def pull(self, base: str) -> None:
        """Do nothing: there is no place for it."""

    def build(self, context: Context, name: str, *, push: bool) -> list[str]:  # noqa: ARG002  # it always does
        for found in self._root.iterdir():
            if found.name != "kaniko":
                shutil.rmtree(found, ignore_errors=True)
        for folder in ("workspace", "proc", "dev", "etc", "kaniko/file"):
            (self._root / folder).mkdir(exist_ok=True)
        repository = name.rsplit(":", 1)[0]
        options = ["--force", "--context=dir:///workspace", "--dockerfile=/kaniko/file/Dockerfile", "--insecure"]
        options += ["--insecure-pull", f"--destination={name}", "--cache=true", f"--cache-repo={repository}/cache"]
        mounts = [
            f"mount --bind {context.path} {self._root}/workspace",
            f"mount --bind {context.dockerfile.parent} {self._root}/kaniko/file",
            f"mount --rbind /proc {self._root}/proc",
            f"mount --rbind /dev {self._root}/dev",
            f"exec chroot {self._root} /kaniko/executor {' '.join(options)}",
        ]
        return ["unshare", "--mount", "sh", "-ec", "\n".join(mounts)]

    def push(self, name: str, target: str) -> list[str] | None:  # noqa: ARG002  # the others' signature
        return None


def _socket(work: Path) -> str:
    return f"unix://{work}/buildkitd.sock"


def _both(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Return one command that runs two."""
    return ["sh", "-c", f"{shlex.join(first)} && exec {shlex.join(second)}"]

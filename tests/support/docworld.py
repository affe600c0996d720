"""The world that pages of the documentation speak of: registries under the names the pages give them, and a machine.

Every name of a host leads, through a proxy, to one registry on the loopback, which has a certificate for all of them.
So commands run as they stand, over TLS. Which programs stand in for what cannot be here is at the end.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import registry as registries
from tests.support.certificates import make_authority
from tests.support.cli import CHECKOUT
from tests.support.docpages import Block, script_of
from tests.support.need import need_tool
from tests.support.tunnels import http_proxy
from tests.support.wheels import write_examples_wheels

HOSTS = (
    *("registry.example", "mirror.example", "ghcr.example", "quay.io", "git.example"),
    *("docker.io", "registry-1.docker.io", "index.docker.io"),
)
"""The names that the pages use, docker.io for its images without a host."""

_BASES = (
    "debian:12",
    "debian:12-slim",
    "busybox:latest",
    "alpine:3",
    "alpine:3.20",
    "golang:1.23",
    "golang:1.24",
    "python:3.13-slim",
)
_CONTEXT = {
    "Dockerfile": "FROM debian:12-slim AS base\nCOPY . /app\nFROM base AS test\nRUN test -e /app/main.py\nFROM base\n",
    "main.py": "print('hello')\n",
}


class World:
    """Where pages are read: ``environment`` is that of a machine whose way to every registry is the proxy's."""

    def __init__(self, folder: Path, proxy: str, authority: Path) -> None:
        self._folder = folder
        programs = folder / "bin"
        programs.mkdir()
        for name, text in _STANDING_IN.items():
            path = programs / name
            path.write_text("#!/bin/sh\n" + text.format(checkout=shlex.quote(str(CHECKOUT)), python=sys.executable))
            path.chmod(0o755)
        self._common = {
            "PATH": f"{programs}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HTTPS_PROXY": f"http://{proxy}",
            "SSL_CERT_FILE": str(authority),
            "LC_ALL": "C.UTF-8",
            "PYBUILD_STORE_MAX_SIZE": "none",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(write_examples_wheels(folder / "wheels")),
            "PIP_ROOT_USER_ACTION": "ignore",
        }

    def machine(self, name: str) -> Machine:
        """Return a machine of its own, with a context to build in its working directory."""
        home = self._folder / name
        work = home / "app"
        for path, text in _CONTEXT.items():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).write_text(text)
        (work / "ci").mkdir()
        return Machine(home, work, {**self._common, "HOME": str(home)})


class Machine:
    """A user's shell that goes on from block to block: variables and the directory stay."""

    def __init__(self, home: Path, work: Path, variables: dict[str, str]) -> None:
        self.work = work
        self._variables = variables
        self._state = home / ".state"
        self._state.write_text(f"cd {shlex.quote(str(work))}\n")

    def run(self, block: Block) -> subprocess.CompletedProcess[str]:
        """Run the commands of a block, and stop at the first that fails."""
        keep = f'{{ export -p; printf "cd %q\\n" "$PWD"; }} >{shlex.quote(str(self._state))}'
        text = script_of(block)
        for absolute, here in self._places().items():
            text = text.replace(absolute, here)
        return subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", f". {shlex.quote(str(self._state))}\n{text}\n{keep}\n"],
            env=self._variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=_SECONDS,
        )

    def write(self, block: Block) -> None:
        """Write the file that a block shows, below the working directory."""
        path = self.work / block.title
        assert path.resolve().is_relative_to(self.work.resolve()), block
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text + "\n")

    def _places(self) -> dict[str, str]:
        """Return what stands in for directories of the root that are not ours to write."""
        places = {f"{before}{name}": f"{before}{self.work}{name}" for name in _PLACES for before in ' =:"'}
        return {**places, "https://git.example/team/app.git": str(self.work)}


@contextmanager
def served(folder: Path) -> Iterator[World]:
    """Run the registry and the proxy until the block ends; bases are there."""
    need_tool("bash")
    authority = make_authority(folder / "authority")
    pair = authority.server([*HOSTS, "localhost", "127.0.0.1"])
    with registries.serve(folder / "registry", tls=pair) as registry, http_proxy(registry.host) as proxy:
        yield World(folder, proxy.host, authority.ca_file)


def bases(world: World, rootfs: Path) -> None:
    """Push what FROM names: one small root filesystem for two platforms under every name."""
    machine = world.machine("bases")
    (machine.work / "Dockerfile").write_text('FROM scratch\nCOPY --from=rootfs / /\nCMD ["sh"]\n')
    tags = " ".join(f"-t {name}" for name in _BASES)
    command = f"pybuild --platform linux/amd64,linux/arm64 --build-context rootfs={rootfs} {tags} --push ."
    done = machine.run(Block("bases", 1, "first", command))
    assert done.returncode == 0, done.stdout


_SECONDS = 120
"""No block takes longer; what waits for an answer that nobody gives would."""

_PLACES = ("/ci/", "/warm", "/store", "/credentials")

# A name, and the script in its place.
_STANDING_IN = {
    "pybuild": 'PYTHONPATH={checkout} exec {python} -m builder.cli.main "$@"\n',
    # The other machine is this one.
    "ssh": 'for word; do command=$word; done\nexec sh -c "$command"\n',
    # We may be root already; who is not has no password here.
    "sudo": '[ "$1" != -E ] || shift\nexec "$@"\n',
    # There is no Docker daemon; what one would save, or have been given, is what our store has.
    "docker": 'case $1 in save) exec pybuild save "$2" ;; load) exec cat >/dev/null ;; *) exit 1 ;; esac\n',
}

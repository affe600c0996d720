"""The world that pages of the documentation speak of: registries under the names the pages give them, and a machine.

Every name of a host leads, through a proxy, to one registry on the loopback, which has a certificate for all of them.
So commands run as they stand, over TLS. ``files.example`` has files of ours, and what comes from Python's
package registry lies in a directory. Which programs stand in for what cannot be here is at the end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

from tests.support import registry as registries
from tests.support.certificates import make_authority
from tests.support.cli import CHECKOUT
from tests.support.commands import run
from tests.support.docpages import Block, script_of
from tests.support.httpd import serving
from tests.support.need import need_tool
from tests.support.tunnels import http_proxy, tls_front
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

    def __init__(self, folder: Path, proxy: str, authority: Path, registry: str) -> None:
        self._folder = folder
        self._registry = registry
        self._docker = ""
        self.files = folder / "files"
        programs = folder / "bin"
        programs.mkdir()
        standing = {
            "checkout": shlex.quote(str(CHECKOUT)),
            "python": sys.executable,
            "kubectl": shutil.which("kubectl") or "true",
        }
        for name, text in _STANDING_IN.items():
            path = programs / name
            path.write_text("#!/bin/sh\n" + text.format(**standing))
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
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_CONFIG_FILE": os.devnull,
            "SOURCES": str(CHECKOUT),
            "FILES": str(self.files),
        }

    def with_docker(self, host: str) -> None:
        """Let ``docker`` on machines made from now on be the real one, which speaks to the engine at ``host``."""
        self._common["DOCKER_HOST"] = host
        program = self._folder / "bin/docker"
        program.write_text(f"#!/bin/sh\n{_REAL_DOCKER.format(docker=need_tool('docker'))}")

    def with_wheels(self) -> None:
        """Let machines made from now on install pybuild; needs Python's package registry, once."""
        if not list(self.files.glob("pybuild_oci-*.whl")):
            # Where the reader's pip looks nothing up, and what a build of ours and pipx need is there too.
            wheels = [*_PACKAGES, str(CHECKOUT)]
            run([sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", self.files, *wheels])
            self._common["PIP_FIND_LINKS"] += f" {self.files}"

    def machine(self, name: str) -> Machine:
        """Return a machine of its own, with a context to build in its working directory."""
        home = self._folder / name
        work = home / "app"
        for path, text in _CONTEXT.items():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).write_text(text)
        for name in ("ci", "system"):
            (work / name).mkdir()
        # What users install for themselves comes first.
        path = f"{home}/.local/bin:{self._common['PATH']}"
        return Machine(
            home, work, {**self._common, "HOME": str(home), "PATH": path}, {"localhost:5000": self._registry}
        )


class Machine:
    """A user's shell that goes on from block to block: variables and the directory stay."""

    def __init__(self, home: Path, work: Path, variables: dict[str, str], places: Mapping[str, str]) -> None:
        self.work = work
        self._elsewhere = places
        self._variables = variables
        self._state = home / ".state"
        self._state.write_text(f"cd {shlex.quote(str(work))}\n")

    def run(self, block: Block) -> subprocess.CompletedProcess[str]:
        """Run the commands of a block, and stop at the first that fails."""
        keep = f'{{ export -p; printf "cd %q\\n" "$PWD"; }} >{shlex.quote(str(self._state))}'
        text = script_of(block)
        for absolute, here in self._places().items():
            text = text.replace(absolute, here)
        shell = ["bash", "-e", "-o", "pipefail", "-c", f". {shlex.quote(str(self._state))}\n{text}\n{keep}\n"]
        if block.typed:
            when, _, keys = block.typed.partition(" => ")
            return _in_terminal(shell, self._variables, when.encode(), keys)
        return subprocess.run(
            shell,
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
        places |= {"dir:///workspace": f"dir://{self.work}", "> /usr/share/": f"> {self.work}/system/"}
        return {**places, **self._elsewhere, "https://git.example/team/app.git": str(self.work)}


def _in_terminal(
    shell: list[str], variables: Mapping[str, str], when: bytes, keys: str
) -> subprocess.CompletedProcess[str]:
    """Run a shell in a terminal of its own, and type ``keys`` each time that it shows ``when``."""
    typed = b"\x03" if keys == "^C" else keys.encode() + b"\n"
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *shell],
        env={**variables, "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen, after, end = b"", 0, time.monotonic() + _SECONDS
    try:
        while (left := end - time.monotonic()) > 0 and select.select([ours], [], [], left)[0]:
            try:
                data = os.read(ours, 1 << 16)
            except OSError as error:
                # What Linux answers when nobody has the other side open any more.
                if error.errno != errno.EIO:
                    raise
                data = b""
            if not data:
                return subprocess.CompletedProcess(shell, process.wait(), seen.decode(errors="replace"))
            seen += data
            if when in seen[after:]:
                after = len(seen)
                os.write(ours, typed)
        raise AssertionError(f"nothing more came after {seen.decode(errors='replace')}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
        os.close(ours)


@contextmanager
def served(folder: Path) -> Iterator[World]:
    """Run the registry and the proxy until the block ends; bases are there."""
    need_tool("bash")
    authority = make_authority(folder / "authority")
    pair = authority.server([*HOSTS, "files.example", "localhost", "127.0.0.1"])
    (folder / "files").mkdir()
    with (
        registries.serve(folder / "registry", tls=pair, elsewhere="^https://files.example/") as registry,
        _files(folder / "files") as files,
        tls_front(files, pair) as front,
        http_proxy(registry.host, others={"files.example:443": front.host}) as proxy,
    ):
        yield World(folder, proxy.host, authority.ca_file, registry.host)


@contextmanager
def _files(folder: Path) -> Iterator[str]:
    """Serve a directory over http."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with serving(partial(Handler, directory=str(folder))) as port:
        yield f"127.0.0.1:{port}"


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

_PACKAGES = ("editables", "hatchling", "pip", "setuptools", "wheel")
"""What installing needs besides what pybuild is made of."""

# A name, and the script in its place.
_STANDING_IN = {
    "pybuild": 'PYTHONPATH={checkout} exec {python} -m builder.cli.main "$@"\n',
    # The other machine is this one.
    "ssh": 'for word; do command=$word; done\nexec sh -c "$command"\n',
    # We may be root already; who is not has no password here. Nothing is done to the machine: its accounts are copies.
    "sudo": """\
given() {{ grep -q "^$USER:100000:65536$" "$accounts/etc/$1"; }}
accounts=$HOME/accounts
case $1 in
-E) shift && exec "$@" ;;
apt-get) shift && exec apt-get --simulate "$@" ;;
usermod)
    shift && mkdir -p "$accounts/etc" && echo "$USER:x:1:1::/:/bin/sh" >"$accounts/etc/passwd"
    touch "$accounts/etc/subuid" "$accounts/etc/subgid"
    PATH=$PATH:/usr/sbin usermod --prefix "$accounts" "$@" && given subuid && given subgid
    ;;
*) exec "$@" ;;
esac
""",
    # There is no Docker daemon; what one would save, or have been given, is what our store has.
    "docker": 'case $1 in save) exec pybuild save "$2" ;; load) exec cat >/dev/null ;; *) exit 1 ;; esac\n',
    # There is no cluster: what it would be asked to make is looked at by the program itself, and by tests of its own.
    "kubectl": """\
case $1 in
create) exec {kubectl} "$@" --dry-run=client -o name ;;
apply) test -s "$3" ;;
logs) ;;
*) exit 1 ;;
esac
""",
}

# The engine of the tests has no bridge.
_REAL_DOCKER = 'case $1 in run) shift; exec {docker} run --network none "$@" ;; *) exec {docker} "$@" ;; esac\n'

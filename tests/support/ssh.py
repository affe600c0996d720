"""SSH keys and agents for tests, and the programs a step needs to ask an agent something."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.commands import run
from tests.support.need import need_tool


def make_key(
    path: Path, comment: str, passphrase: str = "", *, kind: str = "ed25519", options: Sequence[str] = ()
) -> Path:
    """Make a key without asking anybody."""
    run([need_tool("ssh-keygen"), "-q", "-t", kind, "-N", passphrase, "-C", comment, "-f", path, *options])
    return path


@contextmanager
def agent(directory: Path, *keys: Path) -> Iterator[Path]:
    """Run an agent with ``keys``; yield its socket."""
    socket = directory / "agent.sock"
    process = subprocess.Popen([need_tool("ssh-agent"), "-D", "-a", socket], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        process.stdout.readline()  # it tells its socket once it listens
        for key in keys:
            run([need_tool("ssh-add"), "-q", key], env={**os.environ, "SSH_AUTH_SOCK": str(socket)})
        yield socket
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def keys_of(socket: Path) -> str:
    """Return what ``ssh-add -l`` says of an agent."""
    return run([need_tool("ssh-add"), "-l"], env={**os.environ, "SSH_AUTH_SOCK": str(socket)}, check=False).stdout


def client(directory: Path) -> Path:
    """Put ssh-add and its libraries into ``directory``; a step that mounts it at /tools runs it as CLIENT."""
    directory.mkdir()
    program = need_tool("ssh-add")
    shutil.copy(program, directory / "ssh-add")
    for line in run([need_tool("ldd"), program]).stdout.splitlines():
        found = re.search(r"(/\S+) \(0x", line)
        if found:
            name = "loader" if "ld-linux" in found[1] or "ld-musl" in found[1] else Path(found[1]).name
            shutil.copy(found[1], directory / name)
    return directory


CLIENT = "/tools/loader --library-path /tools /tools/ssh-add"

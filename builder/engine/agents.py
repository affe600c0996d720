"""SSH agents for ``RUN --mount=type=ssh``: a step gets a socket of its own, behind which we let through two questions.

dockerfile.md 1.7. The command may list keys and have something signed; whatever else agents can do (adding, removing,
locking, forwarding) is answered with a failure, as BuildKit does. Private keys given as files go into an agent that is
started when the first step needs it and lives as long as a pipe to us; they are never written anywhere.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from builder.engine.request import AgentSource
from builder.errors import ContextError, OutputError

if TYPE_CHECKING:
    import subprocess

_FAILURE = b"\x05"
_ALLOWED = (11, 13)  # list the keys, sign with one
_LONGEST = 256 << 10  # bytes of a message; the same limit as OpenSSH's
_KEY_LIMIT = 64 << 10
_SECONDS = 30.0
# Ends the agent when its standard input does: that is when we close it, and also when we are killed.
_LIFE = 'echo ready; cat > /dev/null; kill "$SSH_AGENT_PID"'


class Agents:
    """The agents of one build, by the ids that mounts use. Thread-safe."""

    def __init__(
        self, sources: Mapping[str, AgentSource], scratch: Callable[[], Path], environment: Mapping[str, str]
    ) -> None:
        """``scratch`` makes a directory in the store; ``environment`` says where programs are."""
        self._sources = sources
        self._scratch = scratch
        self._path = environment.get("PATH", os.defpath)
        self._mutex = threading.Lock()
        self._started: dict[str, _Started] = {}

    def __contains__(self, identity: str) -> bool:
        """Say whether the command line gives this agent."""
        return identity in self._sources

    @contextlib.contextmanager
    def socket(self, identity: str) -> Iterator[Path]:
        """Serve the agent on a new socket until the block ends.

        Raises ContextError for one that does not answer, OutputError for a store that takes no sockets.
        """
        upstream = self._upstream(identity)
        try:
            _connect(upstream).close()
        except OSError as error:
            hint = "start an agent, or name its socket: --ssh ID=SOCKET"
            raise ContextError(f"--ssh {identity}: {upstream}: {error.strerror}", hint=hint) from error
        place = self._scratch()
        proxy = _Proxy(place / "agent", upstream)
        try:
            proxy.open()
            yield place / "agent"
        finally:
            proxy.close()
            shutil.rmtree(place, ignore_errors=True)

    def close(self) -> None:
        """End the agents that were started."""
        with self._mutex:
            started, self._started = self._started, {}
        for one in started.values():
            one.close()

    def _upstream(self, identity: str) -> Path:
        source = self._sources[identity]
        if source.socket is not None:
            return source.socket
        with self._mutex:
            if identity not in self._started:
                self._started[identity] = _start(identity, source.keys, self._scratch(), self._path)
            return self._started[identity].place / "agent"


class _Started:
    """An agent of ours."""

    def __init__(self, place: Path, process: subprocess.Popen[bytes]) -> None:
        self.place = place
        self._process = process

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        shutil.rmtree(self.place, ignore_errors=True)


def _start(identity: str, keys: tuple[Path, ...], place: Path, path: str) -> _Started:
    """Start an agent in the empty directory ``place`` and give it the keys. Raises ContextError."""
    import subprocess

    try:
        # By a relative name: the whole one may be longer than a socket's can be.
        process = subprocess.Popen(
            ["ssh-agent", "-a", "agent", "/bin/sh", "-c", _LIFE],
            cwd=place,
            env={"PATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)
        hint = "install OpenSSH's client, or give the socket of an agent: --ssh ID=SOCKET"
        raise ContextError(f"--ssh {identity}: cannot start ssh-agent: {error.strerror}", hint=hint) from error
    started = _Started(place, process)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise ContextError(f"--ssh {identity}: ssh-agent did not start")
        for key in keys:
            _add(identity, key, place, path)
    except BaseException:
        started.close()
        raise
    return started


def _add(identity: str, key: Path, place: Path, path: str) -> None:
    import subprocess

    try:
        with open(key, "rb") as stream:
            data = stream.read(_KEY_LIMIT)
        done = subprocess.run(
            ["ssh-add", "-q", "-"],
            cwd=place,
            env={"PATH": path, "SSH_AUTH_SOCK": "agent", "SSH_ASKPASS_REQUIRE": "never"},
            input=data,
            capture_output=True,
            start_new_session=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) else "it takes too long"
        raise ContextError(f"--ssh {identity}: cannot add the key {key}: {reason}") from error
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["it was refused"]
        hint = "keys with a passphrase belong into an agent of yours: ssh-add FILE, then --ssh ID"
        raise ContextError(f"--ssh {identity}: cannot add the key {key}: {lines[-1]}", hint=hint)


class _Proxy:
    """Listens on ``path`` for one step; a thread accepts, and one serves each connection. ``close`` in any case."""

    def __init__(self, path: Path, upstream: Path) -> None:
        self._path = path
        self._upstream = upstream
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._mutex = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._closed = False
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        try:
            directory = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._listener.bind(f"/proc/self/fd/{directory}/{self._path.name}")
            finally:
                os.close(directory)
            os.chmod(self._path, 0o600)
        except OSError as error:
            hint = "put the store on a local file system, with --root"
            raise OutputError(f"cannot make a socket in {self._path.parent}: {error.strerror}", hint=hint) from error
        self._listener.listen(16)
        self._thread = threading.Thread(target=self._accept, name="pybuild-ssh", daemon=True)
        self._thread.start()

    def close(self) -> None:
        with self._mutex:
            self._closed = True
            connections = list(self._connections)
        for each in (self._listener, *connections):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        if self._thread is not None:
            self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="pybuild-ssh", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, _connect(self._upstream) as agent:
                with self._mutex:
                    if self._closed:
                        return
                    self._connections |= {client, agent}
                try:
                    while (request := _receive(client)) is not None:
                        answer: bytes | None = _FAILURE
                        if request and request[0] in _ALLOWED:
                            _send(agent, request)
                            answer = _receive(agent)
                        if answer is None:
                            return
                        _send(client, answer)
                finally:
                    with self._mutex:
                        self._connections -= {client, agent}
        except OSError:
            pass  # either side has gone; the command hears of it by the end of its connection


def _connect(path: Path) -> socket.socket:
    """Connect to a socket whose path may be longer than the kernel takes. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.connect(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.close(directory)
    except BaseException:
        connection.close()
        raise
    return connection


def _send(connection: socket.socket, message: bytes) -> None:
    connection.sendall(len(message).to_bytes(4, "big") + message)


def _receive(connection: socket.socket) -> bytes | None:
    """Return the next message; None at the end, and for one that is too long."""
    header = _exactly(connection, 4)
    size = -1 if header is None else int.from_bytes(header, "big")
    return _exactly(connection, size) if 0 <= size <= _LONGEST else None


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        chunk = connection.recv(size - len(parts))
        if not chunk:
            return None
        parts += chunk
    return bytes(parts)

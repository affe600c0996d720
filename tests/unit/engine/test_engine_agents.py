"""Sockets of SSH agents for steps: what goes through, what is answered with a failure, and what is left."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.engine.agents import Agents
from builder.engine.request import AgentSource
from builder.errors import ContextError
from tests.support import ssh
from tests.support.need import need_tool

FAILURE = b"\x00\x00\x00\x01\x05"
LIST, SIGN, ADD, REMOVE_ALL, LOCK, EXTENSION = 11, 13, 17, 19, 22, 27


@contextlib.contextmanager
def echo(place: Path) -> Iterator[list[bytes]]:
    """Be an agent that answers every message with itself, and yield what it gets."""
    got: list[bytes] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place))
    listener.listen()

    def serve(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(1 << 20):
                got.append(data)
                connection.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield got
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


class Desk:
    """Agents with a scratch area."""

    def __init__(self, root: Path, **sources: AgentSource) -> None:
        self.root = root / "scratch"
        self.root.mkdir()
        self.agents = Agents(sources, self.scratch, {"PATH": os.environ["PATH"]})

    def scratch(self) -> Path:
        path = self.root / os.urandom(8).hex()
        path.mkdir()
        return path


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory with a short name, because those of sockets are short."""
    with tempfile.TemporaryDirectory(prefix="pb-") as name:
        yield Path(name)


def frame(kind: int, body: bytes = b"") -> bytes:
    return (len(body) + 1).to_bytes(4, "big") + bytes([kind]) + body


def ask(place: Path, *messages: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(place))
        for message in messages:
            client.sendall(message)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(1 << 16), b""))


def test_lists_and_signatures_pass_and_nothing_else(tmp_path: Path) -> None:
    desk = Desk(tmp_path, a=AgentSource(tmp_path / "real"))
    with echo(tmp_path / "real") as got, desk.agents.socket("a") as place:
        refused = [frame(kind, b"x") for kind in (ADD, REMOVE_ALL, LOCK, EXTENSION, 0, 255)]
        assert ask(place, *refused) == FAILURE * len(refused)
        assert ask(place, b"\0\0\0\0") == FAILURE
        assert got == []
        sign = frame(SIGN, b"k" * 1000)
        assert ask(place, frame(LIST)) + ask(place, sign) == frame(LIST) + sign
        assert got == [frame(LIST), sign]
        with contextlib.suppress(ConnectionResetError):  # longer than agents take
            assert ask(place, (300 << 10).to_bytes(4, "big") + b"\x0b") == b""
        assert ask(place, b"\0\0\0\5\x0b") == b""  # cut short
        assert place.stat().st_mode & 0o777 == 0o600
    assert os.listdir(desk.root) == []


def test_connections_end_with_the_step(tmp_path: Path) -> None:
    desk = Desk(tmp_path, a=AgentSource(tmp_path / "real"))
    with echo(tmp_path / "real"), socket.socket(socket.AF_UNIX) as client:
        with desk.agents.socket("a") as place:
            client.connect(str(place))
            client.sendall(frame(LIST))
            assert client.recv(100) == frame(LIST)
        assert client.recv(100) == b""
        with pytest.raises(FileNotFoundError):
            ask(place, frame(LIST))


def test_several_at_once_and_sockets_with_long_names(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 150)
    deep.mkdir()
    desk = Desk(deep, a=AgentSource(tmp_path / "real"))
    with echo(tmp_path / "real"), desk.agents.socket("a") as one, desk.agents.socket("a") as two:
        assert one != two
        results: list[bytes] = []

        def work(place: Path) -> None:
            folder = os.open(place.parent, os.O_PATH)
            results.append(ask(Path(f"/proc/self/fd/{folder}/{place.name}"), *[frame(LIST, b"x" * 500)] * 20))
            os.close(folder)

        threads = [threading.Thread(target=work, args=(place,)) for place in (one, two) * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [frame(LIST, b"x" * 500) * 20] * 8
    assert os.listdir(desk.root) == []


def test_an_agent_that_does_not_answer_is_named(tmp_path: Path) -> None:
    desk = Desk(tmp_path, a=AgentSource(tmp_path / "gone"))
    assert "a" in desk.agents
    assert "b" not in desk.agents
    with pytest.raises(ContextError, match=r"--ssh a: .*gone: No such file"), desk.agents.socket("a"):
        pass
    assert os.listdir(desk.root) == []


def test_keys_get_an_agent_that_is_started_once(tmp_path: Path) -> None:
    need_tool("ssh-agent")
    desk = Desk(
        tmp_path, k=AgentSource(keys=(ssh.make_key(tmp_path / "one", "c-1"), ssh.make_key(tmp_path / "two", "c-2")))
    )
    (tmp_path / "one").chmod(0o644)  # what a checkout makes of it
    with desk.agents.socket("k") as place:
        assert [name for name in ("c-1", "c-2") if name not in ssh.keys_of(place)] == []
    (agent,) = desk.root.iterdir()
    with desk.agents.socket("k") as place:
        assert "c-1" in ssh.keys_of(place)
        assert len(os.listdir(desk.root)) == 2
    desk.agents.close()
    assert os.listdir(desk.root) == []
    assert not agent.exists()


def test_keys_that_are_none_and_machines_without_agents(tmp_path: Path) -> None:
    need_tool("ssh-agent")
    (tmp_path / "bad").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
    secret = ssh.make_key(tmp_path / "locked", "locked", "word")
    for number, key in enumerate((tmp_path / "bad", secret)):
        (tmp_path / f"d{number}").mkdir()
        desk = Desk(tmp_path / f"d{number}", k=AgentSource(keys=(key,)))
        with pytest.raises(ContextError, match=f"cannot add the key {key}"), desk.agents.socket("k"):
            pass
        assert os.listdir(desk.root) == []
        desk.agents = Agents({"k": AgentSource(keys=(key,))}, desk.scratch, {"PATH": str(tmp_path)})
        with (
            pytest.raises(ContextError, match="cannot start ssh-agent: No such file") as caught,
            desk.agents.socket("k"),
        ):
            pass
        assert "--ssh ID=SOCKET" in (caught.value.hint or "")
        assert os.listdir(desk.root) == []

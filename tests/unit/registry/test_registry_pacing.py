"""Answers that come a byte at a time are given up, honest slow lines are not."""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpcore
import pytest

from builder.image import descriptor as media
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest
from builder.image.reference import Reference
from builder.registry.client import Registry
from builder.registry.errors import SLOW, STALLED, TransientRegistryError
from builder.registry.pacing import PACE_BYTES, PACE_SECONDS, PacedStream, TooSlowError
from builder.registry.retry import RetryPolicy
from builder.registry.transport import Body, Transport
from tests.support.blobs import MemoryBlobs
from tests.support.fake_registry import digest_of


class Line(httpcore.NetworkStream):
    """Gives ``size`` bytes after ``seconds``, of a clock that it moves itself."""

    def __init__(self) -> None:
        self.now, self.seconds, self.size = 1000.0, 0.0, 0

    def read(self, max_bytes: int, *_: Any) -> bytes:
        self.now += self.seconds
        return bytes(min(self.size, max_bytes))

    def write(self, *_: Any) -> None:
        pass

    def start_tls(self, *_: Any) -> httpcore.NetworkStream:
        return self


def reading(line: Line, seconds: float, size: int, times: int, stream: httpcore.NetworkStream | None = None) -> None:
    stream = stream or PacedStream(line, lambda: line.now)
    line.seconds, line.size = seconds, size
    for _ in range(times):
        stream.read(1 << 18)


@pytest.mark.parametrize(
    ("seconds", "size"), [(1.0, 1), (59.0, 1), (59.0, 2000), (10.0, 500), (299.0, PACE_BYTES // 2 - 1)]
)
def test_less_than_any_line_carries(seconds: float, size: int) -> None:
    line = Line()
    with pytest.raises(TooSlowError):
        reading(line, seconds, size, 1000)
    assert line.now - 1000.0 < 2 * PACE_SECONDS + seconds


def test_the_end_of_an_answer_is_not_too_slow() -> None:
    reading(Line(), 400.0, 0, 3)


@pytest.mark.parametrize(("seconds", "size"), [(1.0, 60), (59.0, 3500), (0.0, 1), (299.0, 1 << 18), (0.001, 1)])
def test_slow_lines(seconds: float, size: int) -> None:
    reading(Line(), seconds, size, 20_000)


def test_the_first_bytes_may_take_as_long_as_the_timeout_says() -> None:
    """Whoever stores a blob answers after minutes; and what we do between two reads is not the line's fault."""
    line = Line()
    stream = PacedStream(line, lambda: line.now)
    for _ in range(5):
        stream.write(b"x")
        reading(line, 299.0, 100, 1, stream)
    for _ in range(100):
        reading(line, 0.1, 100, 1, stream)
        line.now += 100.0


def test_tls_on_it_is_looked_at_as_well() -> None:
    line = Line()
    secured = PacedStream(line, lambda: line.now).start_tls(ssl.create_default_context())
    with pytest.raises(TooSlowError):
        reading(line, 1.0, 1, 1000, secured)


# --- a server that does so


@pytest.fixture
def trickling() -> Iterator[Callable[[bytes], str]]:
    """Make a server that sends this at once, and then spaces without end, each by itself; returns its host."""
    over = threading.Event()
    threads: list[threading.Thread] = []
    listening: list[socket.socket] = []

    def send(connection: socket.socket, head: bytes) -> None:
        with connection:
            try:
                connection.recv(1 << 16)
                connection.sendall(head)
                while not over.wait(0.01):
                    connection.sendall(b" ")
            except OSError:
                pass

    def accept(listener: socket.socket, head: bytes) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=send, args=(connection, head)))
            threads[-1].start()

    def start(head: bytes) -> str:
        listening.append(socket.create_server(("127.0.0.1", 0)))
        threads.append(threading.Thread(target=accept, args=(listening[-1], head)))
        threads[-1].start()
        return f"127.0.0.1:{listening[-1].getsockname()[1]}"

    yield start
    over.set()
    for one in listening:
        one.shutdown(socket.SHUT_RDWR)
        one.close()
    for thread in threads:
        thread.join()


HEADS = {"headers": b"HTTP/1.1 200 OK\r\nX-Slow: ", "body": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nx"}


@pytest.mark.parametrize("part", HEADS)
def test_a_server_that_sends_a_byte_now_and_then(
    trickling: Callable[[bytes], str], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builder.registry.pacing.PACE_SECONDS", 0.3)
    host = trickling(HEADS[part])
    slept: list[float] = []
    blob = Descriptor(media_type=media.OCI_LAYER, digest=Digest.parse(digest_of(b"")), size=100000)

    def fetch(registry: Registry) -> Any:
        return registry.fetch_blob(Reference.parse(f"{host}/a/b:1"), blob, MemoryBlobs())

    def resolve(registry: Registry) -> Any:
        return registry.manifest(Reference.parse(f"{host}/a/b:1"))

    for ask in (fetch, resolve):
        slept.clear()
        problem = pytest.raises(TransientRegistryError, match=f"{host} answers too slowly: fewer than 16384 bytes")
        with Registry(retry=RetryPolicy(sleep=slept.append)) as registry, problem as caught:
            ask(registry)
        assert {STALLED, SLOW} <= set(caught.value.codes)
        assert len(slept) == 2


def test_a_slow_line_takes_a_while_before_it_takes_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's buffers are full, and go out slowly: longer than silence may last when nothing is sent."""
    monkeypatch.setattr("builder.registry.transport.READ_SECONDS", 0.2)
    size = 16 << 20
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def take() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as stream:
                while stream.readline().strip():
                    pass
                threading.Event().wait(0.6)
                stream.read(size)
                connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=take)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        body = Body(size, lambda: io.BytesIO(bytes(size)))
        with contextlib.closing(Transport()) as transport, transport.exchange("PUT", url, {}, body) as response:
            assert response.status_code == 201
        thread.join()

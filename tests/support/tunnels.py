"""Ways to a server that are not the direct one: proxies of http and SOCKS, and TLS in front of what speaks plain http.

Proxies lead every name to the server they were told of, so that tests can use names that no one resolves.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.httpd import running

Pair = tuple[Path, Path]


@dataclass
class Tunnel:
    """A running one at ``host``; ``asked`` are the first lines (or names) and ``accounts`` what clients sent."""

    host: str = ""
    asked: list[str] = field(default_factory=list)
    accounts: list[str] = field(default_factory=list)
    connections: int = 0


def _relay(left: socket.socket, right: socket.socket) -> None:
    """Copy both ways until both sides are done."""

    def copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    back = threading.Thread(target=copy, args=(right, left), daemon=True)
    back.start()
    copy(left, right)
    back.join()


def _connect(target: str) -> socket.socket:
    name, _, port = target.rpartition(":")
    return socket.create_connection((name, int(port)), timeout=30)


def _server_context(pair: Pair, client_authority: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    if client_authority is not None:
        context.load_verify_locations(client_authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@contextmanager
def _serve(
    tunnel: Tunnel, handle: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None, answer: bytes = b""
) -> Iterator[Tunnel]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            tunnel.connections += 1
            # Clients that do not trust us or hang up are what some tests are about.
            with contextlib.suppress(OSError):
                if tls is not None and self.request.recv(1, socket.MSG_PEEK) != b"\x16":
                    _head(self.request)
                    self.request.sendall(answer)
                    return
                accepted = tls.wrap_socket(self.request, server_side=True) if tls else self.request
                with accepted:
                    handle(accepted)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with running(Server(("127.0.0.1", 0), Handler)) as port:
        tunnel.host = f"127.0.0.1:{port}"
        yield tunnel


FORGOTTEN_TLS = b"HTTP/1.0 400 Bad Request\r\n\r\n"
"""What most TLS servers answer to plain http; others send an alert of TLS, or hang up."""


@contextmanager
def tls_front(
    target: str,
    pair: Pair,
    client_authority: Path | None = None,
    *,
    plain: bytes = FORGOTTEN_TLS,
    ciphers: str = "",
) -> Iterator[Tunnel]:
    """Speak TLS in front of ``target``; with ``client_authority`` only to clients that it vouches for.

    ``plain`` is the answer to who forgot it, ``ciphers`` are all that it knows, of TLS 1.2.
    """
    context = _server_context(pair, client_authority)
    if ciphers:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(ciphers)

    def handle(client: socket.socket) -> None:
        with _connect(target) as server:
            _relay(client, server)

    with _serve(Tunnel(), handle, context, plain) as tunnel:
        yield tunnel


@contextmanager
def relay(target: str) -> Iterator[Tunnel]:
    """Lead to ``target``, and count connections."""

    def handle(client: socket.socket) -> None:
        with _connect(target) as server:
            _relay(client, server)

    with _serve(Tunnel(), handle) as tunnel:
        yield tunnel


def _head(client: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and len(head) < 1 << 16:
        data = client.recv(1)
        if not data:
            break
        head += data
    return head


@contextmanager
def http_proxy(
    target: str,
    *,
    account: str = "",
    answer: str = "",
    pair: Pair | None = None,
    others: Mapping[str, str] | None = None,
) -> Iterator[Tunnel]:
    """A proxy that leads everything to ``target``, but for what ``others`` says of a name and port.

    ``account`` is user:password, ``answer`` a status line instead.
    """
    tunnel = Tunnel()
    wanted = "Basic " + base64.b64encode(account.encode()).decode()

    def handle(client: socket.socket) -> None:
        head = _head(client)
        if not head:
            return
        lines = head.decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        given = {name.lower(): value for name, value in fields.items()}.get("proxy-authorization", "")
        tunnel.asked.append(lines[0])
        tunnel.accounts.append(given)
        refusal = answer or ("407 Proxy Authentication Required" if account and given != wanted else "")
        if refusal:
            client.sendall(f"HTTP/1.1 {refusal}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            return
        with _connect((others or {}).get(lines[0].split()[1], target)) as server:
            if lines[0].startswith("CONNECT "):
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                method, url, version = lines[0].split(" ")
                path = "/" + url.split("://", 1)[1].partition("/")[2]
                server.sendall(f"{method} {path} {version}\r\n".encode() + head.split(b"\r\n", 1)[1])
            _relay(client, server)

    with _serve(tunnel, handle, _server_context(pair) if pair else None) as running:
        yield running


@contextmanager
def socks_proxy(target: str) -> Iterator[Tunnel]:
    """A SOCKS 5 proxy without accounts that leads everything to ``target``."""
    tunnel = Tunnel()

    def take(client: socket.socket, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = client.recv(count - len(data))
            if not more:
                raise OSError("hung up")
            data += more
        return data

    def handle(client: socket.socket) -> None:
        _, methods = take(client, 2)
        take(client, methods)
        client.sendall(b"\x05\x00")
        kind = take(client, 4)[3]
        name = take(client, take(client, 1)[0]).decode() if kind == 3 else str(take(client, 4 if kind == 1 else 16))
        (port,) = struct.unpack("!H", take(client, 2))
        tunnel.asked.append(f"{name}:{port}")
        with _connect(target) as server:
            client.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
            _relay(client, server)

    with _serve(tunnel, handle) as running:
        yield running

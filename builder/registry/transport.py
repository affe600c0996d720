"""HTTP as the registry client needs it: pooled connections, the system's trust, proxies, errors in our words.

The only module of the package that imports httpx, so it is imported at the first request. Redirects, logins and
retries are decided above it, in ``session`` and ``retry``. Messages name hosts, never URLs: those may be signed.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import httpx

from builder import __version__
from builder.image.digest import DigestMismatchError
from builder.registry.errors import UNREACHABLE, UNTRUSTED, RegistryError, TransientRegistryError
from builder.registry.hosts import is_loopback
from builder.registry.proxies import Proxies

USER_AGENT = f"pybuild/{__version__}"
CONNECT_SECONDS = 15.0
READ_SECONDS = 60.0
UPLOAD_READ_SECONDS = 300.0
"""A registry that keeps blobs in an object store may take minutes to answer after the last byte."""

_UPLOAD_CHUNK = 1 << 18
_KEPT_CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Body:
    """``size`` bytes to send, read from the start each time; ``progress`` is told how many have gone out."""

    size: int
    open: Callable[[], BinaryIO] = field(repr=False)
    progress: Callable[[int], None] | None = None


class _Stream(httpx.SyncByteStream):
    def __init__(self, body: Body) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        sent = 0
        with self._body.open() as source:
            while chunk := source.read(_UPLOAD_CHUNK):
                sent += len(chunk)
                if sent > self._body.size:
                    break
                yield chunk
                if self._body.progress is not None:
                    self._body.progress(sent)
        if sent != self._body.size:
            raise DigestMismatchError(f"a blob to be pushed does not have the {self._body.size} bytes it should have")


class Transport:
    """Sends single requests. Thread-safe; ``close`` ends the pooled connections.

    ``unverified`` says for which ``host[:port]`` any certificate will do.
    """

    def __init__(
        self,
        proxies: Proxies | None = None,
        *,
        ca_file: Path | None = None,
        unverified: Callable[[str], bool] = lambda _host: False,
    ) -> None:
        self._proxies = proxies or Proxies()
        self._ca_file = ca_file
        self._unverified = unverified
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str], httpx.Client] = {}

    def close(self) -> None:
        """Close all connections; requests under way fail."""
        with self._lock:
            clients = list(self._clients.values())
            self._clients.clear()
        for client in clients:
            client.close()

    @contextlib.contextmanager
    def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | bytes | None = None
    ) -> Iterator[httpx.Response]:
        """Send a request and yield the response with its body unread; follows nothing, judges no status.

        Raises RegistryError and TransientRegistryError, also for what happens to the body inside the block.
        """
        host = urlsplit(url).netloc.rpartition("@")[2]
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        if isinstance(body, Body):
            sent["Content-Length"] = str(body.size)
        elif body is None and method in ("POST", "PUT", "PATCH"):
            sent["Content-Length"] = "0"
        try:
            response = self._send(method, url, sent, body)
            try:
                yield response
            finally:
                response.close()
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise _translate(error, host) from error

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: Body | bytes | None) -> httpx.Response:
        client = self._client(url)
        content = body if isinstance(body, bytes) else None
        try:
            request = client.build_request(
                method, url, headers=headers, content=content, extensions={"timeout": _timeouts(method)}
            )
            if isinstance(body, Body):
                request.stream = _Stream(body)
            return client.send(request, stream=True)
        except UnicodeError:
            # A host name here or in a redirect, or credentials: not chained, so that these stay unseen.
            host = urlsplit(url).netloc.rpartition("@")[2]
            raise RegistryError(f"a request to {host[:100]!a} or its redirect has a name that cannot be sent") from None

    def _client(self, url: str) -> httpx.Client:
        parts = urlsplit(url)
        if parts.scheme == "http":
            trust = "none"
        else:
            trust = "unverified" if self._unverified(parts.netloc) else "system"
        proxy = self._proxies.choose(url) or ""
        with self._lock:
            client = self._clients.get((trust, proxy))
            if client is None:
                client = self._clients[trust, proxy] = self._make_client(trust, proxy)
            return client

    def _make_client(self, trust: str, proxy: str) -> httpx.Client:
        verify: ssl.SSLContext | bool = False
        if trust == "system":
            try:
                # The system's store (SSL_CERT_FILE and SSL_CERT_DIR replace it), not the one a Python package brings.
                verify = ssl.create_default_context(cafile=self._ca_file)
            except OSError as error:
                raise RegistryError(f"cannot read the certificates in {self._ca_file}: {error}") from error
        try:
            return httpx.Client(
                verify=verify,
                trust_env=False,
                proxy=proxy or None,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=_KEPT_CONNECTIONS),
            )
        except ImportError as error:
            raise RegistryError(
                f"the proxy {_without_account(proxy)} speaks SOCKS, which is not installed",
                hint="pip install 'httpx[socks]', or name an http proxy",
            ) from error
        except (ValueError, httpx.InvalidURL) as error:
            raise RegistryError(f"{_without_account(proxy)} is no URL of a proxy") from error


def _timeouts(method: str) -> dict[str, float | None]:
    read = UPLOAD_READ_SECONDS if method in ("PUT", "PATCH", "POST") else READ_SECONDS
    return {"connect": CONNECT_SECONDS, "read": read, "write": READ_SECONDS, "pool": None}


def _without_account(url: str) -> str:
    head, slashes, rest = url.partition("://")
    return f"{head}{slashes}{rest.rpartition('@')[2]}"


def read_body(response: httpx.Response, limit: int) -> bytes:
    """Return the first ``limit`` bytes of a body, as they were sent."""
    parts: list[bytes] = []
    left = limit
    for chunk in response.iter_raw():
        parts.append(chunk[:left])
        left -= len(chunk)
        if left <= 0:
            break
    return b"".join(parts)


def _translate(error: httpx.TransportError | httpx.InvalidURL, host: str) -> RegistryError:
    cause = _root_cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return RegistryError(
            f"the certificate of {host} is not trusted: {cause.verify_message}",
            host=host,
            codes=(UNTRUSTED,),
            hint="add its CA to the system's store or name it in SSL_CERT_FILE",
        )
    if isinstance(cause, ssl.SSLError) and isinstance(error, httpx.ConnectError):
        return RegistryError(f"{host} does not speak TLS as we do: {cause.reason or 'handshake failed'}", host=host)
    if isinstance(error, httpx.ProxyError):
        return RegistryError(f"the proxy does not lead to {host}: {_brief(error)}", host=host)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        text = f"cannot connect to {host}: no connection in time"
        if isinstance(cause, socket.gaierror):
            text = f"the name {host} cannot be resolved: {cause.strerror}"
        elif isinstance(cause, OSError) and cause.strerror:
            text = f"cannot connect to {host}: {cause.strerror}"
        hint = "is the registry running?" if is_loopback(host) else None
        return TransientRegistryError(text, host=host, codes=(UNREACHABLE,), hint=hint)
    if isinstance(error, httpx.TimeoutException):
        return TransientRegistryError(f"{host} stopped answering", host=host)
    if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
        return TransientRegistryError(f"the connection to {host} broke: {_brief(error)}", host=host)
    return RegistryError(f"cannot talk to {host}: {type(error).__name__}", host=host)


def _root_cause(error: BaseException) -> BaseException:
    seen = error
    while (cause := seen.__cause__ or seen.__context__) is not None:
        seen = cause
        if isinstance(seen, ssl.SSLError | socket.gaierror):
            break
    return seen


def _brief(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__

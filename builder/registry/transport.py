"""HTTP as the registry client needs it: pooled connections, the system's trust, proxies, errors in our words.

With ``pacing`` the only module of the package that needs httpx, so it is imported at the first request. Redirects,
logins and retries are decided above it, in ``session`` and ``retry``. Messages name hosts, never URLs: those may be
signed.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO
from urllib.parse import urlsplit

import httpcore
import httpx

from builder import __version__
from builder.image.digest import DigestMismatchError
from builder.patterns import pattern
from builder.registry.errors import SLOW, STALLED, TLS, UNREACHABLE, RegistryError, TransientRegistryError
from builder.registry.hosts import is_loopback
from builder.registry.pacing import PACE_BYTES, PACE_SECONDS, PacedBackend, TooSlowError
from builder.registry.proxies import Proxies, without_account
from builder.registry.trust import SYSTEM, Trust, missing_store
from builder.values import dataclass, field

USER_AGENT = f"pybuild/{__version__}"
CONNECT_SECONDS = 15.0
READ_SECONDS = 60.0
UPLOAD_SECONDS = 300.0
"""A registry that keeps blobs in an object store may take minutes to answer after the last byte; and on a slow line the
kernel waits until a good part of what it holds has gone, before it takes more."""

_UPLOAD_CHUNK = 1 << 18
_DOWNLOAD_CHUNK = 1 << 18
httpcore.HTTP11Connection.READ_NUM_BYTES = _DOWNLOAD_CHUNK
"""httpcore reads 64 KiB at a time: every read costs a turn at Python's lock, for which the transfers queue."""

_KEPT_CONNECTIONS = 32
_KEPT_SECONDS = 30.0
_SHORT_BODY = 64 << 10
_BUSY_PROXY = pattern(r"50[234]\b")
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")
"""What OpenSSL says when the other side answers a handshake with text."""
_ABOUT_OURS = ("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "ALERT_UNKNOWN_CA", "ALERT_CERTIFICATE_", "ACCESS_DENIED")
"""What it says when the other side tells something about the certificate that we showed, or did not."""
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})
_WRONG_TIME = frozenset({9, 10})
"""X509_V_ERR_* numbers."""


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

    ``trust`` says what to believe of the certificate of a ``host[:port]``, an https proxy's too.
    """

    def __init__(self, proxies: Proxies | None = None, trust: Callable[[str], Trust] = lambda _host: SYSTEM) -> None:
        self._proxies = proxies or Proxies()
        self._trust = trust
        self._lock = threading.Lock()
        self._clients: dict[tuple[Trust | None, str], httpx.Client] = {}

    def close(self) -> None:
        """Close all connections; requests under way fail."""
        with self._lock:
            clients = list(self._clients.values())
            self._clients.clear()
        for client in clients:
            client.close()

    @contextlib.contextmanager
    def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | bytes | None = None,
        trust: Trust | None = None,
        seconds: float | None = None,
    ) -> Iterator[httpx.Response]:
        """Send a request and yield the response with its body unread; follows nothing, judges no status.

        ``trust`` replaces what is otherwise believed of the host, ``seconds`` how long bytes are waited for. Raises
        RegistryError and TransientRegistryError, also for what happens to the body inside the block.
        """
        host = urlsplit(url).netloc.rpartition("@")[2]
        proxy = self._proxies.choose(url) or ""
        sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        if isinstance(body, Body):
            sent["Content-Length"] = str(body.size)
        elif body is None and method in ("POST", "PUT", "PATCH"):
            sent["Content-Length"] = "0"
        try:
            response = self._send(self._client(url, proxy, trust), method, url, sent, body, seconds)
            try:
                yield response
                _finish(response)
            finally:
                response.close()
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise _translate(error, host, without_account(proxy)) from error

    def _send(
        self,
        client: httpx.Client,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | bytes | None,
        seconds: float | None,
    ) -> httpx.Response:
        content = body if isinstance(body, bytes) else None
        try:
            request = client.build_request(
                method, url, headers=headers, content=content, extensions={"timeout": _timeouts(method, seconds)}
            )
            if isinstance(body, Body):
                request.stream = _Stream(body)
            return client.send(request, stream=True)
        except UnicodeError:
            # A host name here or in a redirect, or credentials: not chained, so that these stay unseen.
            host = urlsplit(url).netloc.rpartition("@")[2]
            raise RegistryError(f"a request to {host[:100]!a} or its redirect has a name that cannot be sent") from None

    def _client(self, url: str, proxy: str, trust: Trust | None) -> httpx.Client:
        parts = urlsplit(url)
        believed = None if parts.scheme == "http" else trust or self._trust(parts.netloc.rpartition("@")[2])
        with self._lock:
            client = self._clients.get((believed, proxy))
            if client is None:
                client = self._clients[believed, proxy] = self._make_client(believed, proxy)
            return client

    def _make_client(self, trust: Trust | None, proxy: str) -> httpx.Client:
        """Return a pool of connections that are all made alike; without ``trust`` for plain http."""
        verify: ssl.SSLContext | bool = False if trust is None else trust.context()
        try:
            through = httpx.Proxy(proxy) if proxy else None
            if through is not None and through.url.scheme == "https":
                netloc = through.url.netloc.decode("ascii")
                through = httpx.Proxy(proxy, ssl_context=self._trust(netloc).context())
            limits = httpx.Limits(
                max_connections=None,
                max_keepalive_connections=_KEPT_CONNECTIONS,
                keepalive_expiry=_KEPT_SECONDS,
            )
            transport = httpx.HTTPTransport(verify=verify, trust_env=False, limits=limits, proxy=through)
            # httpcore takes it as an argument, but httpx does not pass one on.
            transport._pool._network_backend = PacedBackend()
            return httpx.Client(transport=transport, trust_env=False)
        except ImportError as error:
            raise RegistryError(
                f"the proxy {without_account(proxy)} speaks SOCKS, which is not installed",
                hint="pip install socksio, or name an http proxy",
            ) from error
        except (ValueError, httpx.InvalidURL):
            # Not chained: the cause's message has the URL with its account.
            raise RegistryError(
                f"{without_account(proxy)} is no URL of a proxy", hint="check HTTP_PROXY and HTTPS_PROXY"
            ) from None


def _finish(response: httpx.Response) -> None:
    """Read a short body that nobody wanted: a connection is used again only once its answer has ended."""
    if response.is_closed or response.is_stream_consumed:
        return
    length = response.headers.get("content-length", "")
    if response.request.method == "HEAD" or (length.isdecimal() and len(length) < 6 and int(length) <= _SHORT_BODY):
        with contextlib.suppress(httpx.TransportError):
            for _ in response.iter_raw():
                pass


def _timeouts(method: str, seconds: float | None) -> dict[str, float | None]:
    if seconds is not None:
        return {"connect": min(seconds, CONNECT_SECONDS), "read": seconds, "write": seconds, "pool": None}
    patience = UPLOAD_SECONDS if method in ("PUT", "PATCH", "POST") else READ_SECONDS
    return {"connect": CONNECT_SECONDS, "read": patience, "write": patience, "pool": None}


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


def _translate(error: httpx.TransportError | httpx.InvalidURL, host: str, proxy: str) -> RegistryError:
    cause = _root_cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _untrusted(cause, host, proxy)
    if isinstance(cause, ssl.SSLError) and any(word in (cause.reason or "") for word in _ABOUT_OURS):
        return RegistryError(
            f"{host} refuses this client's certificate or misses one: {cause.reason}",
            host=host,
            codes=(TLS,),
            hint=f"it is ~/.config/pybuild/certs.d/{host}/client.cert, with client.key",
        )
    if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError) and isinstance(error, httpx.ConnectError):
        return TransientRegistryError(f"{host} hung up in the TLS handshake", host=host)
    if isinstance(cause, ssl.SSLError) and isinstance(error, httpx.ConnectError):
        none = cause.reason in _NO_TLS
        return RegistryError(
            f"{host} does not speak TLS as we do: {cause.reason or 'handshake failed'}",
            host=host,
            codes=() if none else (TLS,),
            hint=f"if it speaks plain http: --insecure-registry {host}" if none else None,
        )
    if isinstance(error, httpx.ProxyError):
        return _refused_by_proxy(_brief(error), host, proxy)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return _unreachable(cause, host, proxy)
    if isinstance(cause, TooSlowError):
        text = f"{host} answers too slowly: fewer than {PACE_BYTES} bytes in {PACE_SECONDS:.0f} s"
        return TransientRegistryError(text, host=host, codes=(STALLED, SLOW))
    if isinstance(error, httpx.TimeoutException):
        return TransientRegistryError(f"{host} stopped answering", host=host, codes=(STALLED,))
    if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
        return TransientRegistryError(f"the connection to {host} broke: {_brief(error)}", host=host)
    return RegistryError(f"cannot talk to {host}: {type(error).__name__}", host=host)


def _untrusted(cause: ssl.SSLCertVerificationError, host: str, proxy: str) -> RegistryError:
    also = f" or of the proxy {proxy}" if proxy.startswith("https:") else ""
    hint: str | None = None
    if cause.verify_code in _UNKNOWN_AUTHORITY:
        hint = missing_store() or (
            "put its authority into the system's store, name it in SSL_CERT_FILE, or make it "
            f"~/.config/pybuild/certs.d/{host}/ca.crt"
        )
    elif cause.verify_code in _WRONG_TIME:
        hint = "is this machine's clock right? otherwise it has to be renewed there"
    return RegistryError(
        f"the certificate of {host}{also} is not trusted: {cause.verify_message}",
        host=host,
        codes=(TLS,),
        hint=hint,
    )


def _refused_by_proxy(said: str, host: str, proxy: str) -> RegistryError:
    text = f"the proxy {proxy} does not lead to {host}: {said}"
    if _BUSY_PROXY.match(said):
        return TransientRegistryError(text, host=host, codes=(UNREACHABLE,))
    hint = "or except the host in NO_PROXY"
    if said.startswith("407"):
        hint = f"the proxy wants a user name and a password in its URL, http://USER:PASSWORD@PROXY; {hint}"
    return RegistryError(text, host=host, hint=hint.removeprefix("or "))


def _unreachable(cause: BaseException, host: str, proxy: str) -> RegistryError:
    # Behind a proxy it is the proxy that we connect to.
    name = f"the proxy {proxy}" if proxy else host
    text = f"cannot connect to {name}: no connection in time"
    if isinstance(cause, socket.gaierror):
        text = f"the name of {name} cannot be resolved: {cause.strerror}"
        if not proxy:
            text = f"the name {host} cannot be resolved: {cause.strerror}"
    elif isinstance(cause, OSError) and cause.strerror:
        text = f"cannot connect to {name}: {cause.strerror}"
    if proxy:
        hint: str | None = f"check HTTP_PROXY and HTTPS_PROXY, or except {host} in NO_PROXY"
    else:
        unknown = isinstance(cause, socket.gaierror)
        hint = "is there a network? mirrors: --registry-mirror, proxies: HTTPS_PROXY" if unknown else None
        hint = "is the server running?" if is_loopback(host) else hint
    return TransientRegistryError(text, host=host, codes=(UNREACHABLE,), hint=hint)


def _root_cause(error: BaseException) -> BaseException:
    seen = error
    while (cause := seen.__cause__ or seen.__context__) is not None:
        seen = cause
        if isinstance(seen, ssl.SSLError | socket.gaierror):
            break
    return seen


def _brief(error: Exception) -> str:
    """Return what went wrong as the system or the library says it, without the number that Python puts before it."""
    said = str(error)
    if said.startswith("[Errno "):
        said = said.partition("] ")[2] or said
    return said[:200] or type(error).__name__

"""One request to a registry, seen through: its base URL, its login, its redirects and its warnings.

Authorization goes to the registry's own origin only: a redirect or upload location elsewhere gets none, and nothing
ever goes from https to http. Retries are the callers' business.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from builder.errors import InterruptedBuildError
from builder.events import Reporter, SilentReporter, Warned
from builder.registry.auth import TOKEN_LIMIT, Exchange, Login, TokenAnswer, TokenRequest
from builder.registry.credentials import CredentialSource
from builder.registry.errors import (
    ERROR_BODY_LIMIT,
    UNTRUSTED,
    RegistryError,
    TransientRegistryError,
    error_from_response,
)
from builder.registry.hosts import api_host, is_loopback, origin, split_host
from builder.registry.proxies import Proxies

if TYPE_CHECKING:
    import httpx

    from builder.registry.transport import Body, Transport

_HOP_LIMIT = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_WARNING = re.compile(r'299 - "((?:[^"\\]|\\.){1,500})"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request as the protocol has it. ``target`` is a path under the registry, or an absolute URL it gave us.

    ``action`` begins the message of an error. A call that is not ``replayable`` is not sent again after a 401.
    """

    action: str
    method: str
    registry: str
    repository: str
    target: str = field(repr=False)
    scopes: frozenset[str] = frozenset()
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    body: Body | bytes | None = field(default=None, repr=False)
    replayable: bool = True
    anonymous: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """How to reach registries. ``insecure`` hosts may have any certificate, or none and plain http."""

    insecure: frozenset[str] = frozenset()
    ca_file: Path | None = None
    proxies: Proxies = field(default_factory=Proxies)


class Session:
    """Logins, connections and schemes by host, shared by all threads of a build."""

    def __init__(
        self,
        credentials: CredentialSource,
        settings: SessionSettings,
        reporter: Reporter | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        self._credentials = credentials
        self._settings = settings
        self._reporter = reporter or SilentReporter()
        self._cancel = cancel or threading.Event()
        self._lock = threading.Lock()
        self._transport: Transport | None = None
        self._logins: dict[str, Login] = {}
        self._bases: dict[str, str] = {}
        self._plain: set[str] = set()
        self._probing = threading.Lock()
        self._warned: set[str] = set()

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def go_on(self) -> None:
        """Raise InterruptedBuildError if whoever waits for us wants to stop."""
        if self._cancel.is_set():
            raise InterruptedBuildError("interrupted while talking to a registry")

    @contextlib.contextmanager
    def open(self, call: Call) -> Iterator[httpx.Response]:
        """Send ``call`` and yield the final response, body unread, whatever its status; see ``expect``."""
        self.go_on()
        base = self.base(call.registry)
        url = call.target if "://" in call.target else base + call.target
        authorization = self._authorize(call, base, url)
        refusals = 0
        for _ in range(_HOP_LIMIT):
            headers = {**call.headers, "Authorization": authorization} if authorization else call.headers
            with self._connect().exchange(call.method, url, headers, call.body) as response:
                self._report_warnings(call.registry, response)
                following: tuple[str, str] | None = None
                if response.status_code == 401 and refusals < 2 and self._is_own(call, base, url):
                    refusals += 1
                    following = self._log_in(call, url, authorization, response)
                elif response.status_code in _REDIRECTS:
                    following = self._redirected(call, base, url, authorization, response)
                elif self._wants_tls(call, base, response):
                    url, base = url.replace(base, self.base(call.registry), 1), self.base(call.registry)
                    following = url, self._authorize(call, base, url)
                if following is None:
                    yield response
                    return
                _drain(response)
            url, authorization = following
        raise RegistryError(
            f"{call.action}: {call.registry} redirects without end", host=call.registry, repository=call.repository
        )

    def expect(self, call: Call, response: httpx.Response, *statuses: int) -> None:
        """Raise the fitting RegistryError unless the response has one of ``statuses``."""
        if response.status_code in statuses:
            return
        raise error_from_response(
            call.action,
            host=call.registry,
            repository=call.repository,
            status=response.status_code,
            headers=response.headers,
            body=_drain(response),
        )

    def location(self, call: Call, response: httpx.Response) -> str:
        """Return the absolute URL of a Location header, where an upload goes on. Raises RegistryError."""
        text = response.headers.get("location", "")
        base = self.base(call.registry)
        url = _absolute(base, str(response.url), text) if text else None
        if url is None:
            raise RegistryError(
                f"{call.action}: {call.registry} gave no usable address for the upload",
                host=call.registry,
                repository=call.repository,
            )
        return url

    def base(self, registry: str) -> str:
        """Return ``scheme://host`` of a registry: https, but plain http for loopback and insecure ones without TLS."""
        host = api_host(registry)
        with self._lock:
            known = self._bases.get(host)
        if known is not None:
            return known
        try:
            origin(f"https://{host}")
        except ValueError as error:
            raise RegistryError(f"{registry} is no host and port of a registry", host=registry) from error
        if host in self._settings.insecure:
            base = self._probe(host)
        elif is_loopback(host) and split_host(host)[1] != 443:
            base = f"http://{host}"
        else:
            base = f"https://{host}"
        with self._lock:
            return self._bases.setdefault(host, base)

    def _probe(self, host: str) -> str:
        try:
            with self._connect().exchange("GET", f"https://{host}/v2/", {}):
                return f"https://{host}"
        except RegistryError:
            return f"http://{host}"

    def _wants_tls(self, call: Call, base: str, response: httpx.Response) -> bool:
        """Say whether a loopback registry turned out to speak TLS: such servers answer plain http with 400."""
        host = api_host(call.registry)
        if not base.startswith("http:") or call.anonymous or host in self._plain:
            return False
        with self._probing:
            if response.status_code == 400 and host not in self._plain and self.base(call.registry) == base:
                try:
                    with self._connect().exchange("GET", f"https://{host}/v2/", {}), self._lock:
                        self._bases[host] = f"https://{host}"
                except RegistryError as error:
                    if UNTRUSTED in error.codes:
                        raise
            if self.base(call.registry) != base:
                return response.status_code == 400
            self._plain.add(host)
        return False

    def _connect(self) -> Transport:
        with self._lock:
            if self._transport is None:
                # Imports httpx, which takes longer than a warm build: only when a request is due.
                from builder.registry.transport import Transport

                self._transport = Transport(
                    self._settings.proxies,
                    ca_file=self._settings.ca_file,
                    unverified=lambda host: host in self._settings.insecure,
                )
            return self._transport

    def _login(self, registry: str) -> Login:
        with self._lock:
            if registry not in self._logins:
                self._logins[registry] = Login(registry, self._credentials, trusted=self._trusted)
            return self._logins[registry]

    def _trusted(self, host: str) -> bool:
        return is_loopback(host) or host in self._settings.insecure

    def _is_own(self, call: Call, base: str, url: str) -> bool:
        return not call.anonymous and origin(url) == origin(base)

    def _authorize(self, call: Call, base: str, url: str) -> str:
        if not self._is_own(call, base, url):
            return ""
        return self._drive(self._login(call.registry).authorize(call.repository, call.scopes))

    def _log_in(self, call: Call, url: str, refused: str, response: httpx.Response) -> tuple[str, str] | None:
        headers = response.headers.get_list("www-authenticate")
        login = self._login(call.registry)
        answer = self._drive(login.challenged(call.repository, call.scopes, headers, refused))
        if answer == refused:
            return None
        if not call.replayable:
            raise TransientRegistryError(
                f"{call.action}: the login expired on the way",
                host=call.registry,
                repository=call.repository,
                status=401,
            )
        return url, answer

    def _redirected(
        self, call: Call, base: str, url: str, authorization: str, response: httpx.Response
    ) -> tuple[str, str] | None:
        if call.method not in ("GET", "HEAD"):
            return None
        target = _absolute(base, url, response.headers.get("location", ""))
        if target is None:
            return None
        return target, authorization if self._is_own(call, base, target) else ""

    def _drive(self, exchange: Exchange) -> str:
        try:
            request = next(exchange)
            while True:
                request = exchange.send(self._ask(request))
        except StopIteration as end:
            return str(end.value)
        finally:
            exchange.close()

    def _ask(self, request: TokenRequest) -> TokenAnswer:
        from builder.registry.transport import read_body

        headers = {"Authorization": request.authorization} if request.authorization else {}
        if request.form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        method = "GET" if request.form is None else "POST"
        with self._connect().exchange(method, request.url, headers, request.form) as response:
            return TokenAnswer(response.status_code, dict(response.headers), read_body(response, TOKEN_LIMIT))

    def _report_warnings(self, registry: str, response: httpx.Response) -> None:
        for text in response.headers.get_list("warning"):
            found = _WARNING.match(text)
            with self._lock:
                if found is None or found[1] in self._warned or len(self._warned) > 100:
                    continue
                self._warned.add(found[1])
            self._reporter.emit(Warned(f"{registry}: {found[1]}", "registry"))


def _drain(response: httpx.Response) -> bytes:
    """Read a small body, so that the connection can be used again."""
    from builder.registry.transport import read_body

    return read_body(response, ERROR_BODY_LIMIT)


def _absolute(base: str, url: str, location: str) -> str | None:
    """Return where ``location`` leads from ``url``; None where we do not go: no http(s), or from https to http."""
    try:
        target = urljoin(url, location)
        scheme, host, port = origin(target)
        if not location or urlsplit(target).username is not None:
            return None
        if scheme == "http" and url.startswith("https:"):
            _, own, own_port = origin(base)
            if host != own or port not in (80, own_port):
                return None
            # A registry behind a TLS proxy that does not know of it.
            parts = urlsplit(target)
            return base + parts.path + (f"?{parts.query}" if parts.query else "")
    except ValueError:
        return None
    return target

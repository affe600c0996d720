"""One request to a registry, seen through: who is asked, its base URL, its login, its redirects and its warnings.

Authorization goes to the server's own origin only: a redirect or upload location elsewhere gets none, and nothing
ever goes from https to http. Who may be asked is ``routes``' business, retries are the callers'.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from builder.errors import ImageError, InterruptedBuildError
from builder.events import Reporter, SilentReporter, Warned
from builder.patterns import pattern
from builder.registry.answers import absolute, drain, is_web_page
from builder.registry.auth import TOKEN_LIMIT, Exchange, Login, TokenAnswer, TokenRequest
from builder.registry.credentials import CredentialSource
from builder.registry.errors import (
    LOST,
    UNREACHABLE,
    AuthenticationError,
    RegistryError,
    TransientRegistryError,
    error_from_response,
)
from builder.registry.hosts import is_loopback, origin, origin_or_none
from builder.registry.proxies import Proxies
from builder.registry.routes import Capability, Endpoint, Routes
from builder.registry.schemes import Schemes
from builder.registry.together import is_over
from builder.values import dataclass, field, replace

if TYPE_CHECKING:
    import httpx

    from builder.registry.transport import Body, Transport

_HOP_LIMIT = 10
_WARNINGS_LIMIT = 100
_ASKED = "pybuild.call"
_ANSWERS = frozenset({200, 206, 416})
"""What a mirror's answer is taken for one with; everything else leads to the next server."""
_REFUSED = frozenset({401, 403})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MIRRORED = pattern(r"/(manifests|blobs|referrers)/")
_TAGGED = pattern(r"/manifests/[^:]+\Z")
_WARNING = pattern(r'(?:\A|,)\s*299 - "((?:[^"\\]|\\.){1,500})"')
_ESCAPED = pattern(r"\\(.)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request as the protocol has it. ``target`` is a path under the registry, or an absolute URL it gave us.

    ``action`` begins the message of an error. A call that is not ``replayable`` is not sent again after a 401, an
    ``anonymous`` one has no login, a ``direct`` one goes to no mirror.
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
    direct: bool = False

    @property
    def capability(self) -> Capability:
        """What it takes of a server to answer; whoever asks with the rights of a push means the pushed-to server."""
        if self.method not in ("GET", "HEAD") or any(scope.endswith("push") for scope in self.scopes):
            return "push"
        return "resolve" if _TAGGED.search(self.target) else "pull"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """How to reach registries."""

    proxies: Proxies = field(default_factory=Proxies)
    routes: Routes = field(default_factory=Routes)


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
        self.routes = settings.routes
        self._reporter = reporter or SilentReporter()
        self._cancel = cancel or threading.Event()
        self._lock = threading.Lock()
        self._connected: list[Transport] = []
        """At most one, which those that are ``varied`` share, whoever of them makes it."""
        self._schemes = Schemes(self._connect, self.routes.is_insecure)
        self._logins: dict[str, Login] = {}
        self._warned: set[str] = set()
        self._passed_over: set[str] = set()
        self._answered: set[tuple[str, str, int]] = set()
        """Origins that have."""
        self._seconds: float | None = None

    def varied(
        self, seconds: float | None = None, cancel: threading.Event | None = None, reporter: Reporter | None = None
    ) -> Session:
        """Return this session with another patience (seconds to wait for bytes), end or listener; closed with it."""
        import copy

        varied = copy.copy(self)
        varied._seconds, varied._cancel = seconds or self._seconds, cancel or self._cancel
        varied._reporter = reporter or self._reporter
        return varied

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            connected = self._connected[:]
            self._connected.clear()
        for transport in connected:
            transport.close()

    def go_on(self) -> None:
        """Raise InterruptedBuildError if whoever waits for us wants to stop, or what we belong to has failed."""
        if self._cancel.is_set():
            raise InterruptedBuildError("interrupted while talking to a registry")
        if is_over():
            raise InterruptedBuildError("another transfer failed")

    @contextlib.contextmanager
    def open(self, call: Call) -> Iterator[httpx.Response]:
        """Send ``call`` and yield the final response, body unread, whatever its status; see ``expect``.

        A mirror that has no good answer is passed over. One whose answer turns out to be bad inside the block is not
        asked again; that is a TransientRegistryError, so that the next attempt asks somebody else.
        """
        self.go_on()
        *mirrors, last = self._endpoints(call)
        for mirror in mirrors:
            answered = False
            try:
                with self._open_at(mirror, call) as response:
                    if response.status_code in _ANSWERS:
                        answered = True
                        yield response
                        return
                    if response.status_code != 404:
                        self._warn(f"{mirror.host} answered {response.status_code} for {call.registry}")
            except (RegistryError, ImageError) as error:
                self._pass_over(mirror, call, error.message)
                if answered:
                    raise TransientRegistryError(error.message, host=mirror.host, retry_after=0.0) from error
        with self._open_at(last, call) as response:
            yield response

    @contextlib.contextmanager
    def _open_at(self, endpoint: Endpoint, call: Call) -> Iterator[httpx.Response]:
        base = self._schemes.base(endpoint)
        call = _routed(call, endpoint, login=base.startswith("https:") or self._trusted(endpoint.host))
        url = call.target if "://" in call.target else base + call.target
        authorization = self._authorize(call, base, url)
        refusals = 0
        for _ in range(_HOP_LIMIT):
            with self._exchange(call, endpoint, base, url, authorization) as response:
                self._report_warnings(call, response)
                following: tuple[str, str] | None = None
                if response.status_code in _REFUSED and refusals < 2 and self._is_own(call, base, url):
                    refusals += 1
                    following = self._log_in(call, url, authorization, response)
                elif response.status_code in _REDIRECTS:
                    following = self._redirected(call, base, url, authorization, response)
                elif origin(url) == origin(base) and self._schemes.turned_out_tls(endpoint, base, response.status_code):
                    url, base = url.replace(base, self._schemes.base(endpoint), 1), self._schemes.base(endpoint)
                    following = url, self._authorize(call, base, url)
                if following is None:
                    response.extensions[_ASKED] = call
                    yield response
                    return
                drain(response)
            url, authorization = following
        raise RegistryError(
            f"{call.action}: {call.registry} redirects without end", host=call.registry, repository=call.repository
        )

    @contextlib.contextmanager
    def _exchange(
        self, call: Call, endpoint: Endpoint, base: str, url: str, authorization: str
    ) -> Iterator[httpx.Response]:
        """Send one request; what was meant for the server itself goes to no other."""
        own = origin(url) == origin(base)
        headers = {**call.headers, **endpoint.headers} if own and endpoint.headers else call.headers
        if authorization:
            headers = {**headers, "Authorization": authorization}
        trust = endpoint.trust if own else None
        try:
            with self._connect().exchange(call.method, url, headers, call.body, trust, self._seconds) as response:
                self._answered.add(origin(url))
                yield response
        except TransientRegistryError as error:
            if UNREACHABLE in error.codes and origin(url) in self._answered:
                # An outage: whoever restarts a registry has it back soon.
                error.codes += (LOST,)
            if own:
                self._schemes.broke(endpoint, base, error)
            raise

    def _endpoints(self, call: Call) -> tuple[Endpoint, ...]:
        """Return whom to ask, in this order, at least one."""
        found = self.routes.candidates(call.registry, call.repository, call.capability)
        if "://" in call.target:
            # It came from one of them, or leads away from all.
            at = origin_or_none(call.target)
            return (next((one for one in found if origin(self._schemes.base(one)) == at), found[-1]),)
        if call.direct or not _MIRRORED.search(call.target):
            return found[-1:]
        with self._lock:
            return (*(one for one in found[:-1] if one.host not in self._passed_over), found[-1])

    def _pass_over(self, mirror: Endpoint, call: Call, why: str) -> None:
        with self._lock:
            self._passed_over.add(mirror.host)
        self._warn(f"{mirror.host} is not asked for {call.registry} any more: {why}")

    def _warn(self, text: str) -> None:
        with self._lock:
            if text in self._warned or len(self._warned) > _WARNINGS_LIMIT:
                return
            self._warned.add(text)
        self._reporter.emit(Warned(text, "registry"))

    def expect(self, call: Call, response: httpx.Response, *statuses: int) -> None:
        """Raise the fitting RegistryError unless the response has one of ``statuses``, and is no web page."""
        # As it was asked: a map leads to another server, with another login.
        call = response.extensions.get(_ASKED, call)
        if response.status_code in statuses:
            if not is_web_page(response):
                return
            raise RegistryError(
                f"{call.action}: {call.registry} answered with a web page",
                host=call.registry,
                repository=call.repository,
                hint="is that a registry? Login and maintenance pages in between answer like this too",
            )
        error = error_from_response(
            call.action,
            host=call.registry,
            repository=call.repository,
            status=response.status_code,
            headers=response.headers,
            body=drain(response),
        )
        login = self._known_login(call.registry)
        if login is not None:
            error.hide(lambda text: login.hidden_in(call.repository, text))
            account = login.account(call.repository)
            if account is not None and isinstance(error, AuthenticationError):
                error.hint = (
                    f"that was the account from {account.source}; pybuild login --check {call.registry} tries it"
                )
        raise error

    def _known_login(self, registry: str) -> Login | None:
        with self._lock:
            return self._logins.get(registry)

    def location(self, call: Call, response: httpx.Response) -> str:
        """Return the absolute URL of a Location header, where an upload goes on. Raises RegistryError."""
        text = response.headers.get("location", "")
        base = self._schemes.base(self._endpoints(call)[-1])
        url = absolute(base, str(response.url), text) if text else None
        if url is None:
            raise RegistryError(
                f"{call.action}: {call.registry} gave no usable address for the upload",
                host=call.registry,
                repository=call.repository,
            )
        return url

    def _connect(self) -> Transport:
        with self._lock:
            if not self._connected:
                # Imports httpx, which takes longer than a warm build: only when a request is due.
                from builder.registry.transport import Transport

                trust = functools.partial(self.routes.trust, stranger=True)
                self._connected.append(Transport(self._settings.proxies, trust))
            return self._connected[0]

    def _login(self, registry: str) -> Login:
        with self._lock:
            if registry not in self._logins:
                self._logins[registry] = Login(registry, self._credentials, trusted=self._trusted)
            return self._logins[registry]

    def _trusted(self, host: str) -> bool:
        return is_loopback(host) or self.routes.is_insecure(host)

    def _is_own(self, call: Call, base: str, url: str) -> bool:
        return not call.anonymous and origin(url) == origin(base)

    def _authorize(self, call: Call, base: str, url: str) -> str:
        if not self._is_own(call, base, url):
            return ""
        return self._drive(self._login(call.registry).authorize(call.repository, call.scopes))

    def _log_in(self, call: Call, url: str, refused: str, response: httpx.Response) -> tuple[str, str] | None:
        login = self._login(call.registry)
        if response.status_code == 403:
            answer = login.forbidden(call.repository, refused)
        else:
            headers = response.headers.get_list("www-authenticate")
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
        target = absolute(base, url, response.headers.get("location", ""))
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
        with self._connect().exchange(method, request.url, headers, request.form, seconds=self._seconds) as response:
            return TokenAnswer(response.status_code, dict(response.headers), read_body(response, TOKEN_LIMIT))

    def _report_warnings(self, call: Call, response: httpx.Response) -> None:
        for text in response.headers.get_list("warning"):
            for found in _WARNING.finditer(text):
                said, login = _ESCAPED.sub(r"\1", found[1]), self._known_login(call.registry)
                said = said if login is None else login.hidden_in(call.repository, said)
                self._warn(f"{call.registry}: {said}")


def _routed(call: Call, endpoint: Endpoint, *, login: bool) -> Call:
    """Return ``call`` as ``endpoint`` is asked; without ``login`` it gets no account."""
    target = call.target
    return replace(
        call,
        registry=endpoint.registry,
        repository=endpoint.repository,
        target=target if "://" in target else endpoint.path(call.repository, target),
        scopes=endpoint.scopes(call.repository, call.scopes),
        anonymous=call.anonymous or not login,
    )

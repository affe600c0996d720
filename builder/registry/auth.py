"""Logging in to a registry: Basic and the token protocol (distribution-spec auth: token, oauth2), as plain values.

:class:`Login` is a generator over :class:`TokenRequest` and :class:`TokenAnswer`: no socket here, ``session``
carries the messages. Tokens are kept in memory only. Secrets never appear in an error or a ``repr``.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from urllib.parse import urlencode, urljoin, urlsplit

from builder.patterns import pattern
from builder.registry.challenges import Challenge, parse_challenges
from builder.registry.credentials import Credential, CredentialSource
from builder.registry.errors import AuthenticationError, RegistryError, error_from_response, without_account
from builder.registry.hosts import is_loopback, origin
from builder.values import dataclass, field, replace

TOKEN_LIMIT = 1 << 20
"""Bytes of a token server's answer."""

_DEFAULT_LIFE = 60.0
_MARGIN = 10.0
_HOPELESS_SECONDS = 30.0
_MOVES = 3
_CLEAN_TOKEN = pattern(r"[\x21-\x7e]+", re.ASCII)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REFUSALS = frozenset({400, 401, 403})
"""An account or token that is not (any longer) valid; OAuth2 says 400 (RFC 6749 5.2)."""

_WRONG_METHOD = frozenset({404, 405})
"""Token servers know GET, POST or both; these say so (distribution-spec oauth2: 404; others 405)."""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What to ask a token server: a GET, or a POST of ``form``. ``authorization`` may be empty."""

    url: str
    authorization: str = field(default="", repr=False)
    form: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """What it said; ``headers`` in lower case, ``body`` already limited."""

    status: int
    headers: Mapping[str, str] = field(hash=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str = field(repr=False)
    scopes: frozenset[str]
    expires: float


Exchange = Generator[TokenRequest, TokenAnswer, str]
"""Yields requests to a token server, is sent its answers, and returns the Authorization header ("" for none)."""


class Login:
    """What we know about getting into one registry host. Thread-safe; concurrent requests share one token exchange.

    ``trusted`` says whether credentials may go to a URL over plain http: loopback and what the user called insecure.
    """

    def __init__(
        self,
        host: str,
        credentials: CredentialSource,
        *,
        trusted: Callable[[str], bool] = is_loopback,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.host = host
        self._credentials = credentials
        self._trusted = trusted
        self._clock = clock
        self._lock = threading.Lock()
        self._challenge: Challenge | None = None
        self._tokens: list[_Token] = []
        self._rotated: dict[str, str] = {}
        self._hopeless: Credential | None = None
        self._hopeless_until = 0.0

    def authorize(self, repository: str, scopes: frozenset[str]) -> Exchange:
        """Authorise a request before it is sent, with what earlier answers taught; nothing is known at first."""
        with self._lock:
            if self._challenge is None:
                return ""
            return (yield from self._answer(self._challenge, repository, scopes, frozenset(), ""))

    def challenged(self, repository: str, scopes: frozenset[str], headers: Iterable[str], refused: str) -> Exchange:
        """Answer a 401 to a request that carried the Authorization ``refused``.

        Returns the same text again when there is nothing better to offer.
        """
        offered = parse_challenges(headers)
        challenge = next((one for one in offered if one.scheme == "bearer" and "realm" in one.parameters), None)
        challenge = challenge or next((one for one in offered if one.scheme == "basic"), None)
        with self._lock:
            # Some servers ask only once, and say no more than 401 when what we sent has ended.
            challenge = challenge or self._challenge
            if challenge is None:
                return refused
            self._challenge = challenge
            self._tokens = [one for one in self._tokens if f"Bearer {one.text}" != refused]
            wanted = frozenset(challenge.parameters.get("scope", "").split())
            return (yield from self._answer(challenge, repository, scopes, wanted, refused))

    def forbidden(self, repository: str, refused: str) -> str:
        """Answer a 403 likewise: some registries (ECR) say so of a password that has expired, and not 401."""
        if not refused:
            return refused
        with self._lock:
            credential = self._credentials.find(self.host, repository)
            if credential is not None and refused.startswith("Basic ") and refused != _basic(credential):
                # Another thread was refused as well, and has renewed it since.
                return _basic(credential)
            if credential is None or refused not in (_basic(credential), _ready(credential)):
                return refused
            return self._offer(credential, repository, refused)

    def account(self, repository: str) -> Credential | None:
        """Return whose account it is that gets in, None for nobody's."""
        with self._lock:
            return self._credentials.find(self.host, repository) if self._challenge is not None else None

    def hidden_in(self, repository: str, text: str) -> str:
        """Return ``text``, which the server wrote, without what we sent it."""
        account = self.account(repository)
        if account is not None:
            text = account.hidden_in(text)
        with self._lock:
            for token in self._tokens:
                text = text.replace(token.text, "***")
        return text

    def _answer(
        self, challenge: Challenge, repository: str, scopes: frozenset[str], demanded: frozenset[str], refused: str
    ) -> Exchange:
        if challenge.scheme == "basic":
            credential = self._credentials.find(self.host, repository)
            return "" if credential is None else self._offer(credential, repository, refused)
        needed = scopes | demanded
        now = self._clock()
        self._tokens = [one for one in self._tokens if one.expires > now]
        for token in self._tokens:
            if needed <= token.scopes:
                return f"Bearer {token.text}"
        credential = self._credentials.find(self.host, repository)
        if credential is not None and credential.registry_token:
            if _ready(credential) == refused:
                credential = self._renew(credential, repository)
                if credential is None:
                    return refused
            if credential.registry_token:
                return _ready(credential)
        token = yield from self._exchange(challenge, repository, needed, credential)
        self._tokens.append(token)
        return f"Bearer {token.text}"

    def _offer(self, credential: Credential, repository: str, refused: str) -> str:
        """Return what an account gives without a token server; if that is what was refused, a newer account's."""
        text = _ready(credential) or _basic(credential)
        if text == refused and text:
            newer = self._renew(credential, repository)
            return refused if newer is None else _ready(newer) or _basic(newer) or refused
        return text

    def _renew(self, credential: Credential, repository: str) -> Credential | None:
        if credential.same_account(self._hopeless) and self._clock() < self._hopeless_until:
            return None
        newer = self._credentials.renew(credential, self.host, repository)
        if newer is None:
            # Helpers take their time; they are not asked again for every blob, but for a program's next push.
            self._hopeless, self._hopeless_until = credential, self._clock() + _HOPELESS_SECONDS
        return newer

    def _exchange(
        self, challenge: Challenge, repository: str, scopes: frozenset[str], credential: Credential | None
    ) -> Generator[TokenRequest, TokenAnswer, _Token]:
        realm, service = challenge.parameters["realm"], challenge.parameters.get("service", "")
        self._check_realm(realm, secret=credential is not None)
        answer = yield from self._obtain(realm, service, sorted(scopes), credential)
        if answer.status in _REFUSALS and credential is not None:
            newer = self._renew(credential, repository)
            if newer is not None:
                credential = newer
                answer = yield from self._obtain(realm, service, sorted(scopes), credential)
        if answer.status != 200:
            raise self._failure(realm, repository, answer, credential)
        token, rotated = self._read(answer, scopes)
        if rotated and credential is not None and credential.identity_token:
            self._rotated[credential.identity_token] = rotated
        return token

    def _obtain(
        self, realm: str, service: str, scopes: list[str], credential: Credential | None
    ) -> Generator[TokenRequest, TokenAnswer, TokenAnswer]:
        """Ask for a token in the way the account is for, then in the other if the server knows only that."""
        if credential is None or not credential.identity_token:
            answer = yield from self._ask(_query(realm, service, scopes, credential))
            if answer.status in _WRONG_METHOD and credential is not None:
                answer = yield _form(realm, service, scopes, _password_grant(credential))
            return answer
        held = credential.identity_token
        current = self._rotated.get(held, held)
        answer = yield _form(realm, service, scopes, _refresh_grant(current))
        if current != held and answer.status in _REFUSALS:
            del self._rotated[held]
            answer = yield _form(realm, service, scopes, _refresh_grant(held))
        if answer.status in _WRONG_METHOD or (answer.status in _REFUSALS and credential.password):
            password = credential.password or current
            basic = replace(credential, username=credential.username or "<token>", password=password)
            answer = yield from self._ask(_query(realm, service, scopes, basic))
        return answer

    def _ask(self, request: TokenRequest) -> Generator[TokenRequest, TokenAnswer, TokenAnswer]:
        """Send a GET, and follow redirects on the same origin; to another one goes no account."""
        for _ in range(_MOVES):
            answer = yield request
            if answer.status not in _REDIRECTS:
                return answer
            target = _target(request, answer)
            if target is None:
                raise AuthenticationError(
                    f"the token server of {self.host} sends us to another server, where credentials do not go",
                    host=self.host,
                )
            request = replace(request, url=target)
        raise AuthenticationError(f"the token server of {self.host} redirects without end", host=self.host)

    def _failure(
        self, realm: str, repository: str, answer: TokenAnswer, credential: Credential | None
    ) -> RegistryError:
        error = error_from_response(
            f"cannot get a token for {self.host}/{repository}" if repository else f"cannot log in to {self.host}",
            host=urlsplit(realm).netloc.rpartition("@")[2],
            repository=repository,
            status=answer.status,
            headers=answer.headers,
            body=answer.body,
        )
        if credential is None:
            if isinstance(error, AuthenticationError):
                error.hint = without_account(self.host)
            return error
        error.hide(credential.hidden_in)
        if answer.status == 400:
            error = AuthenticationError(error.message, host=error.host, repository=repository, status=400)
        if isinstance(error, AuthenticationError):
            error.hint = f"the credentials from {credential.source} were refused"
        return error

    def _check_realm(self, realm: str, *, secret: bool) -> None:
        try:
            parts = urlsplit(realm)
            usable = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.username is None
        except ValueError:
            usable = False
        if not usable:
            raise AuthenticationError(f"{self.host} names a token server that is no http(s) URL", host=self.host)
        if secret and parts.scheme != "https" and not self._trusted(parts.netloc):
            raise AuthenticationError(
                f"{self.host} wants the password sent in clear text to {parts.netloc}",
                host=self.host,
                hint="credentials only go to https and to loopback addresses",
            )

    def _read(self, answer: TokenAnswer, scopes: frozenset[str]) -> tuple[_Token, str]:
        """Return the token, and a refresh token that takes the place of the one sent, if there is one."""
        try:
            value = json.loads(answer.body)
        except (ValueError, RecursionError):
            value = None
        fields = value if isinstance(value, dict) else {}
        text = fields.get("token") or fields.get("access_token")
        if not isinstance(text, str) or not _CLEAN_TOKEN.fullmatch(text):
            raise AuthenticationError(f"the token server of {self.host} sent no usable token", host=self.host)
        life = fields.get("expires_in")
        seconds = float(life) if isinstance(life, int | float) and 0 < life < 1e9 else _DEFAULT_LIFE
        seconds = max(0.0, seconds - _age(fields.get("issued_at"), answer.headers.get("date", "")))
        refresh = fields.get("refresh_token")
        # Short-lived tokens are used for half their life, so that a slow request still arrives with a valid one.
        return (
            _Token(text, scopes, self._clock() + max(seconds - _MARGIN, seconds / 2)),
            refresh if isinstance(refresh, str) else "",
        )


def _age(issued: object, date: str) -> float:
    """Return for how many seconds the server has had a token that it gave us, by its own clock."""
    if not isinstance(issued, str) or not date:
        return 0.0
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        since, now = datetime.fromisoformat(issued), parsedate_to_datetime(date)
        return max(0.0, (now.astimezone(UTC) - (since if since.tzinfo else since.replace(tzinfo=UTC))).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _target(request: TokenRequest, answer: TokenAnswer) -> str | None:
    try:
        target = urljoin(request.url, answer.headers.get("location", ""))
        here, there = origin(request.url), origin(target)
    except ValueError:
        return None
    return target if here == there or not (request.authorization or there[0] == "http") else None


def _basic(credential: Credential) -> str:
    if not credential.password:
        return ""
    # JSON can hold what is no text; the registry then refuses the account.
    pair = f"{credential.username}:{credential.password}".encode(errors="replace")
    return "Basic " + base64.b64encode(pair).decode()


def _ready(credential: Credential) -> str:
    return f"Bearer {credential.registry_token}" if credential.registry_token else ""


def _query(realm: str, service: str, scopes: list[str], credential: Credential | None) -> TokenRequest:
    query = [("service", service)] if service else []
    query += [("scope", scope) for scope in scopes]
    if credential is not None:
        query.append(("account", credential.username))
    url = realm + ("&" if "?" in realm else "?") + urlencode(query, errors="replace") if query else realm
    return TokenRequest(url, _basic(credential) if credential is not None else "")


def _form(realm: str, service: str, scopes: list[str], grant: Mapping[str, str]) -> TokenRequest:
    form = {**grant, "service": service, "client_id": "pybuild", "scope": " ".join(scopes)}
    return TokenRequest(realm, form=urlencode(form, errors="replace").encode())


def _refresh_grant(identity_token: str) -> Mapping[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": identity_token}


def _password_grant(credential: Credential) -> Mapping[str, str]:
    return {"grant_type": "password", "username": credential.username, "password": credential.password}

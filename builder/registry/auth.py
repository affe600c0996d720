"""Logging in to a registry: Basic and the token protocol (distribution-spec auth: token, oauth2), as plain values.

:class:`Login` is a generator over :class:`TokenRequest` and :class:`TokenAnswer`: no socket here, ``transport``
carries the messages. Tokens are kept in memory only. Secrets never appear in an error or a ``repr``.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from builder.registry.credentials import Credential, CredentialSource
from builder.registry.errors import AuthenticationError, error_from_response
from builder.registry.hosts import is_loopback

TOKEN_LIMIT = 1 << 20
"""Bytes of a token server's answer."""

_DEFAULT_LIFE = 60.0
_MARGIN = 10.0
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_CLEAN_TOKEN = re.compile(r"[\x21-\x7e]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in that a WWW-Authenticate header offers; ``scheme`` and parameter names are in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict, hash=False)


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Read WWW-Authenticate headers (RFC 9110 11.6.1); what cannot be understood is left out."""
    return tuple(challenge for header in headers for challenge in _challenges(header))


def _challenges(text: str) -> Iterator[Challenge]:
    scheme, parameters, position = "", {}, 0
    while position < len(text):
        if text[position] in " \t,":
            position += 1
            continue
        name = _NAME.match(text, position)
        if name is None:
            break
        position = name.end()
        rest = text[position:].lstrip(" \t")
        if rest.startswith("=") and scheme:
            position = len(text) - len(rest) + 1
            value, position = _value(text, position)
            parameters[name[0].lower()] = value
            continue
        if scheme:
            yield Challenge(scheme, parameters)
        scheme, parameters = name[0].lower(), {}
    if scheme:
        yield Challenge(scheme, parameters)


def _value(text: str, position: int) -> tuple[str, int]:
    while position < len(text) and text[position] in " \t":
        position += 1
    quoted = _QUOTED.match(text, position)
    if quoted is not None:
        return re.sub(r"\\(.)", r"\1", quoted[1]), quoted.end()
    end = position
    while end < len(text) and text[end] not in " \t,":
        end += 1
    return text[position:end], end


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

    def authorize(self, repository: str, scopes: frozenset[str]) -> Exchange:
        """Authorise a request before it is sent, with what earlier answers taught; nothing is known at first."""
        with self._lock:
            if self._challenge is None:
                return ""
            return (yield from self._answer(self._challenge, repository, scopes, frozenset()))

    def challenged(self, repository: str, scopes: frozenset[str], headers: Iterable[str], refused: str) -> Exchange:
        """Answer a 401 to a request that carried the Authorization ``refused``.

        Returns the same text again when there is nothing better to offer.
        """
        offered = parse_challenges(headers)
        challenge = next((one for one in offered if one.scheme == "bearer" and "realm" in one.parameters), None)
        challenge = challenge or next((one for one in offered if one.scheme == "basic"), None)
        if challenge is None:
            return refused
        with self._lock:
            self._challenge = challenge
            self._tokens = [one for one in self._tokens if f"Bearer {one.text}" != refused]
            wanted = frozenset(challenge.parameters.get("scope", "").split())
            return (yield from self._answer(challenge, repository, scopes, wanted))

    def _answer(
        self, challenge: Challenge, repository: str, scopes: frozenset[str], demanded: frozenset[str]
    ) -> Exchange:
        if challenge.scheme == "basic":
            credential = self._credentials.find(self.host, repository)
            if credential is None or not credential.password:
                return ""
            return _basic(credential)
        needed = scopes | demanded
        now = self._clock()
        self._tokens = [one for one in self._tokens if one.expires > now]
        for token in self._tokens:
            if needed <= token.scopes:
                return f"Bearer {token.text}"
        credential = self._credentials.find(self.host, repository)
        if credential is not None and credential.registry_token:
            return f"Bearer {credential.registry_token}"
        token = yield from self._exchange(challenge, repository, needed, credential)
        self._tokens.append(token)
        return f"Bearer {token.text}"

    def _exchange(
        self, challenge: Challenge, repository: str, scopes: frozenset[str], credential: Credential | None
    ) -> Generator[TokenRequest, TokenAnswer, _Token]:
        realm, service = challenge.parameters["realm"], challenge.parameters.get("service", "")
        self._check_realm(realm, secret=credential is not None)
        answer = yield _token_request(realm, service, sorted(scopes), credential)
        if answer.status != 200:
            error = error_from_response(
                f"cannot get a token for {self.host}/{repository}" if repository else f"cannot log in to {self.host}",
                host=urlsplit(realm).netloc.rpartition("@")[2],
                repository=repository,
                status=answer.status,
                headers=answer.headers,
                body=answer.body,
            )
            if isinstance(error, AuthenticationError) and credential is not None:
                error.hint = f"the credentials from {credential.source} were refused"
            raise error
        return self._read(answer.body, scopes)

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

    def _read(self, body: bytes, scopes: frozenset[str]) -> _Token:
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            value = None
        fields = value if isinstance(value, dict) else {}
        text = fields.get("token") or fields.get("access_token")
        if not isinstance(text, str) or not _CLEAN_TOKEN.fullmatch(text):
            raise AuthenticationError(f"the token server of {self.host} sent no usable token", host=self.host)
        life = fields.get("expires_in")
        seconds = float(life) if isinstance(life, int | float) and 0 < life < 1e9 else _DEFAULT_LIFE
        # Short-lived tokens are used for half their life, so that a slow request still arrives with a valid one.
        return _Token(text, scopes, self._clock() + max(seconds - _MARGIN, seconds / 2))


def _basic(credential: Credential) -> str:
    # JSON can hold what is no text; the registry then refuses the account.
    pair = f"{credential.username}:{credential.password}".encode(errors="replace")
    return "Basic " + base64.b64encode(pair).decode()


def _token_request(realm: str, service: str, scopes: list[str], credential: Credential | None) -> TokenRequest:
    if credential is not None and credential.identity_token:
        form = {
            "grant_type": "refresh_token",
            "service": service,
            "client_id": "pybuild",
            "scope": " ".join(scopes),
            "refresh_token": credential.identity_token,
        }
        return TokenRequest(realm, form=urlencode(form, errors="replace").encode())
    query = [("service", service)] if service else []
    query += [("scope", scope) for scope in scopes]
    if credential is not None:
        query.append(("account", credential.username))
    url = realm + ("&" if "?" in realm else "?") + urlencode(query, errors="replace") if query else realm
    return TokenRequest(url, _basic(credential) if credential is not None else "")

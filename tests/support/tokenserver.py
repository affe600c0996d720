"""A token server (distribution-spec auth: token, oauth2) on loopback, whose tokens Debian's docker-registry believes.

Tokens are JWTs signed by the openssl tool. Accounts, rights and lives are a test's to set at any time, also between
two requests; every request is recorded.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.commands import run
from tests.support.httpd import Quiet, running
from tests.support.need import need_tool

# The registry takes tokens for this long after they expired.
_LEEWAY = 60
_WHOLE = 10_000


@dataclass(frozen=True)
class Asked:
    """A request for a token; ``account`` is whose credentials were right, empty for nobody's."""

    method: str
    path: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    account: str
    scopes: tuple[str, ...]

    @property
    def form(self) -> dict[str, str]:
        """The parameters of the query or of the form, the last of each name."""
        text = self.body.decode() if self.method == "POST" else urlsplit(self.path).query
        return {name: values[-1] for name, values in parse_qs(text).items()}


Answer = tuple[int, dict[str, str], bytes]


class TokenServer:
    """The state behind the server; made by ``serve``.

    ``rights`` has, per account, patterns of repositories and what may be done to them; "" is everybody.
    ``interrupt`` may answer a request itself; None lets the server do it.
    """

    service = "test registry"
    issuer = "test issuer"

    def __init__(self, certificate: Path, key: Path) -> None:
        self.certificate = certificate
        self.accounts: dict[str, str] = {}
        self.rights: dict[str, dict[str, set[str]]] = {}
        self.refresh_tokens: dict[str, str] = {}
        self.life = 300
        self.announced: int | None = 300
        """What expires_in says; None leaves it out."""
        self.posts = True
        """Whether it speaks OAuth2; one that does not answers a POST with 404 or 405, as many do."""
        self.interrupt: Callable[[Asked], Answer | None] = lambda _: None
        self.asked: list[Asked] = []
        self.issued: list[str] = []
        self.host = ""
        self.lock = threading.RLock()
        self._key = key
        self._numbers = itertools.count()
        self._key_id = _key_id(certificate)

    @property
    def realm(self) -> str:
        """The URL that a challenge names."""
        return f"http://{self.host}/token"

    def add_account(self, name: str, password: str, rights: dict[str, set[str]] | None = None) -> None:
        """Make an account that may do what ``rights`` say; without any, everything everywhere."""
        self.accounts[name] = password
        self.rights[name] = {"*": {"pull", "push", "delete", "*"}} if rights is None else rights

    def token(self, account: str, scopes: tuple[str, ...], life: float | None = None) -> str:
        """Return a token for whatever the account may do of ``scopes``; a negative ``life`` is one that has expired."""
        now = int(time.time())
        granted = [one for one in (self._granted(account, scope) for scope in scopes) if one is not None]
        claims = {
            "iss": self.issuer,
            "aud": self.service,
            "sub": account,
            "iat": now,
            "nbf": now - _WHOLE,
            "exp": now + int(self.life if life is None else life) - _LEEWAY,
            "jti": hashlib.sha256(f"{next(self._numbers)}{account}{scopes}".encode()).hexdigest()[:16],
            "access": granted,
        }
        text = self._signed(claims)
        with self.lock:
            self.issued.append(text)
        return text

    def expired(self, token: str) -> str:
        """Return the same token, but expired."""
        claims = json.loads(_unpack(token.split(".")[1]))
        return self._signed({**claims, "exp": int(time.time()) - 10 * _LEEWAY})

    def bearer(self, repository: str, actions: str = "pull") -> str:
        """Return an Authorization header with which a test looks at the registry itself."""
        claims = [{"type": "repository", "name": repository, "actions": actions.split(",")}]
        now = int(time.time())
        base = {"iss": self.issuer, "aud": self.service, "sub": "test", "iat": now, "nbf": now - _WHOLE}
        return "Bearer " + self._signed({**base, "exp": now + _WHOLE, "jti": f"test-{now}", "access": claims})

    def answer(self, asked: Asked, wanted: bool) -> Answer:
        """Answer a request; ``wanted`` says whether credentials came with it."""
        if asked.method == "POST" and not self.posts:
            return _error(404, "NOT_FOUND")
        if wanted and not asked.account:
            return _error(401, "UNAUTHORIZED")
        text = self.token(asked.account, asked.scopes)
        document: dict[str, Any] = {"access_token": text} if asked.method == "POST" else {"token": text}
        if self.announced is not None:
            document["expires_in"] = self.announced
        if asked.account and (asked.form.get("offline_token") == "true" or asked.form.get("access_type") == "offline"):
            document["refresh_token"] = self.refresh_token(asked.account)
        return 200, {"Content-Type": "application/json"}, json.dumps(document).encode()

    def refresh_token(self, account: str) -> str:
        """Return a refresh token for an account."""
        with self.lock:
            text = f"refresh-{account}-{hashlib.sha256(f'{account}{len(self.refresh_tokens)}'.encode()).hexdigest()}"
            self.refresh_tokens[text] = account
        return text

    def known(self, method: str, headers: dict[str, str], form: dict[str, str]) -> tuple[str, bool]:
        """Return whose credentials a request has ("" if they are wrong), and whether it has any."""
        if method == "POST":
            if form.get("grant_type") == "refresh_token":
                return self.refresh_tokens.get(form.get("refresh_token", ""), ""), True
            return self._checked(form.get("username", ""), form.get("password", "")), True
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if not scheme:
            return "", False
        name, _, password = base64.b64decode(secret).decode().partition(":")
        return self._checked(name, password), True

    def _checked(self, name: str, password: str) -> str:
        return name if name and self.accounts.get(name) == password else ""

    def _granted(self, account: str, scope: str) -> dict[str, object] | None:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        allowed: set[str] = set()
        for pattern, may in {**self.rights.get("", {}), **self.rights.get(account, {})}.items():
            if fnmatchcase(name, pattern):
                allowed |= may
        granted = [one for one in actions.split(",") if one in allowed]
        return {"type": kind, "name": name, "actions": granted} if granted else None

    def _signed(self, claims: dict[str, Any]) -> str:
        header = {"typ": "JWT", "alg": "RS256", "kid": self._key_id}
        text = ".".join(_pack(json.dumps(one).encode()) for one in (header, claims))
        signature = subprocess.run(
            [need_tool("openssl"), "dgst", "-sha256", "-sign", self._key],
            input=text.encode(),
            capture_output=True,
            check=True,
        )
        return f"{text}.{_pack(signature.stdout)}"


class _Handler(Quiet):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_state: TokenServer

    def do_GET(self) -> None:
        state = self.server_state
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, body, "", ())
        form = asked.form
        account, wanted = state.known(self.command, headers, form)
        scopes = parse_qs(body.decode() if self.command == "POST" else urlsplit(self.path).query).get("scope", [])
        asked = Asked(self.command, self.path, headers, body, account, tuple(" ".join(scopes).split()))
        with state.lock:
            state.asked.append(asked)
        status, fields, answer = state.interrupt(asked) or state.answer(asked, wanted)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(answer)), **fields}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET


def _error(status: int, code: str) -> Answer:
    body = {"errors": [{"code": code, "message": "incorrect username or password"}]}
    return status, {"Content-Type": "application/json"}, json.dumps(body).encode()


def _pack(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unpack(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _key_id(certificate: Path) -> str:
    """Return the registry's name for a key: 240 bits of the hash of the public key, in groups of four."""
    text = run([need_tool("openssl"), "x509", "-in", certificate, "-noout", "-pubkey"]).stdout
    der = base64.b64decode("".join(text.splitlines()[1:-1]))
    packed = base64.b32encode(hashlib.sha256(der).digest()[:30]).decode()
    return ":".join(packed[n : n + 4] for n in range(0, len(packed), 4))


@contextmanager
def serve(directory: Path) -> Iterator[TokenServer]:
    """Run a token server with a key of its own, kept in ``directory``, until the block ends."""
    directory.mkdir(parents=True, exist_ok=True)
    certificate, key = directory / "token.pem", directory / "token.key"
    new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=token server"]
    run([need_tool("openssl"), *new, "-keyout", key, "-out", certificate])
    state = TokenServer(certificate, key)
    handler = type("Handler", (_Handler,), {"server_state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    state.host = f"localhost:{server.server_address[1]}"
    with running(server):
        yield state

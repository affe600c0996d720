"""A proxy in front of the real registry in which things go wrong: on a test's word, or by chance from a seed.

It has two origins: the registry's own, and ``elsewhere``, where an object store would be. What the client sends to
either is recorded, byte for byte, so that a test can look for what should not be there. Nothing here waits, but for
bodies that trickle for some hundredths of a second.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import secrets
import socket
import ssl
import struct
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import ThreadingHTTPServer
from pathlib import Path
from random import Random
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.support.httpd import Quiet, running
from tests.support.registry import TestRegistry
from tests.support.tokenserver import Asked

_REDIRECTS = (301, 302, 303, 307, 308)
_TRICKLE_SECONDS = 0.005
_SILENCE_SECONDS = 10
_LAST = 1 << 62
_TLS = b"\x16"
# Closing a socket with this set is a reset, not an end.
_RESET = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@dataclass(frozen=True)
class Seen:
    """A request as it arrived at "registry" or "elsewhere"; ``fault`` is what was done to it."""

    origin: str
    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    fault: str = ""

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the URL."""
        return dict(parse_qsl(urlsplit(self.path).query))

    def header(self, name: str) -> str:
        """Return a header's value, empty for none."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    @property
    def kind(self) -> str:
        """The resource: manifests, blobs, uploads, or something else."""
        path = urlsplit(self.path).path
        return next((kind for kind in ("uploads", "blobs", "manifests") if f"/{kind}/" in path), "other")

    @property
    def key(self) -> str:
        """What makes it the same request in another run: without the names that the registry makes up."""
        query = "&".join(f"{name}={value}" for name, value in self.query.items() if name in ("digest", "mount", "from"))
        path = re.sub(r"/uploads/.*|/signed/.*", "/uploads/", urlsplit(self.path).path)
        return f"{self.origin} {self.method} {path} {query}"


@dataclass(frozen=True)
class Answer:
    """What the registry said, on its way to the client."""

    status: int
    headers: dict[str, str]
    body: bytes
    short: bool = False
    """Has fewer bytes than it says: docker-registry does so when asked for a range beyond the end."""


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong, by name, with a random number of its own for all that it leaves open."""

    name: str
    number: int = 0

    @property
    def random(self) -> Random:
        """The same random numbers each time."""
        return Random(f"{self.name} {self.number}")


Schedule = Callable[[Seen], Fault | None]


def _any(_: Seen) -> bool:
    return True


def _has_body(seen: Seen) -> bool:
    return seen.method in ("PUT", "PATCH")


def _reads(seen: Seen) -> bool:
    return seen.method == "GET"


def _uploads(seen: Seen) -> bool:
    return seen.method == "POST" and seen.origin == "registry"


def _own(seen: Seen) -> bool:
    return seen.origin == "registry"


def _fetches_blob(seen: Seen) -> bool:
    return seen.origin == "registry" and seen.method == "GET" and seen.kind in ("blobs", "manifests")


FAULTS: Mapping[str, Callable[[Seen], bool]] = {
    # The connection.
    "reset": _any,
    "close": _any,
    "no-http": _any,
    "reset-midway": _has_body,
    "lost-answer": _any,
    "cut-head": _any,
    "stale": _any,
    # The status.
    **{f"status-{status}": _any for status in (408, 500, 502, 503, 504)},
    **{f"early-{status}": _has_body for status in (413, 500, 503)},
    **{f"done-{status}": _any for status in (500, 502, 503, 504)},
    "busy-zero": _any,
    "busy-one": _any,
    "busy-date": _any,
    "busy-garbage": _any,
    "busy-for-days": _any,
    "html": _any,
    "portal": lambda seen: seen.method in ("GET", "HEAD"),
    "long-error": _any,
    # Who may.
    "expired": lambda seen: _own(seen) and bool(seen.header("authorization")),
    "unauthorized": _any,
    "unauthorized-basic": _any,
    "unauthorized-bare": _any,
    "forbidden": _any,
    # The body.
    "cut": _reads,
    "flip": _reads,
    "flip-sent": _has_body,
    "longer": _reads,
    "shorter": _reads,
    "length-garbage": _any,
    "no-length": _reads,
    "chunked": _reads,
    "trickle": _reads,
    "whole-range": lambda seen: _fetches_blob(seen) and bool(seen.header("range")),
    "wrong-range": lambda seen: _fetches_blob(seen) and bool(seen.header("range")),
    "no-range": lambda seen: _fetches_blob(seen) and bool(seen.header("range")),
    # What headers claim.
    "digest-wrong": _own,
    "digest-garbage": _own,
    "digest-absent": _own,
    "type-absent": _own,
    # Where it goes on.
    "elsewhere": _fetches_blob,
    "elsewhere-head": lambda seen: _own(seen) and seen.method == "HEAD" and seen.kind == "blobs",
    "redirect-loop": _fetches_blob,
    "redirect-nowhere": _own,
    "redirect-write": lambda seen: _own(seen) and seen.method in ("POST", "PUT", "PATCH"),
    "location-relative": _uploads,
    "location-sibling": _uploads,
    "location-query": _uploads,
    "location-opaque": _uploads,
    "location-elsewhere": _uploads,
    "location-absent": _uploads,
    "location-bad": _uploads,
    "mount-refused": lambda seen: _uploads(seen) and "mount" in seen.query,
    "mount-error": lambda seen: _uploads(seen) and "mount" in seen.query,
    "mount-lie": lambda seen: _uploads(seen) and "mount" in seen.query,
    "head-lie": lambda seen: _own(seen) and seen.method == "HEAD" and seen.kind == "blobs",
    "head-length": lambda seen: seen.method == "HEAD",
}
"""Every fault that takes no time, and which requests it can happen to. There is "silence" too."""

BESIDES = frozenset({"drop", "token"})
"""What else Chance can do: drop new connections, and let the token server fail."""


class Chance:
    """Faults by chance. What happens to a request depends on it, on how often it came, and on the seed alone."""

    def __init__(self, seed: int, rate: float, names: frozenset[str] | None = None) -> None:
        self._seed = seed
        self._rate = rate
        self._names = sorted(names if names is not None else {*FAULTS, *BESIDES})
        self._count: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, seen: Seen) -> Fault | None:
        with self._lock:
            self._count[seen.key] += 1
            count = self._count[seen.key]
        random = Random(f"{self._seed} {seen.key} {count}")
        if random.random() >= self._rate:
            return None
        possible = [name for name in self._names if name not in BESIDES and FAULTS[name](seen)]
        return Fault(random.choice(possible), random.randrange(1 << 30)) if possible else None

    def drops(self, origin: str) -> str:
        """Say whether a new connection is dropped before anything is read, and how."""
        with self._lock:
            self._count[origin] += 1
            random = Random(f"{self._seed} connection {origin} {self._count[origin]}")
        if "drop" not in self._names or random.random() >= self._rate / 2:
            return ""
        return random.choice(("reset", "close"))

    def interrupt(self, asked: Asked) -> tuple[int, dict[str, str], bytes] | None:
        """Answer a request for a token instead of the server, now and then."""
        with self._lock:
            self._count[f"{asked.scopes}"] += 1
            random = Random(f"{self._seed} token {asked.scopes} {self._count[f'{asked.scopes}']}")
        if "token" not in self._names or random.random() >= self._rate / 2:
            return None
        refusals = [_refusal(status) for status in (401, 403, 500, 502, 503)] + [_busy("zero"), _busy("date")]
        odd = [Answer(200, {}, body) for body in (b"", b"[]", b'{"token": 7}', b'{"token": "a b"}', b"\xff")]
        answer = random.choice([*refusals, *odd])
        return answer.status, answer.headers, answer.body


class Once:
    """One fault, the first ``times`` times that a request can have it (and ``fits``)."""

    def __init__(self, name: str, fits: Callable[[Seen], bool] = _any, times: int = 1) -> None:
        self.name = name
        self.left = times
        self.happened = 0
        self._fits = fits
        self._lock = threading.Lock()

    def __call__(self, seen: Seen) -> Fault | None:
        with self._lock:
            if not self.left or not FAULTS.get(self.name, _any)(seen) or not self._fits(seen):
                return None
            self.left -= 1
            self.happened += 1
            return Fault(self.name, self.happened)


class FaultProxy:
    """The state behind both origins; made by ``serve``. ``host`` is what references begin with.

    ``authorize`` gives ``elsewhere`` the right to a repository, as a signed URL has it. ``early`` collects manifests
    that came before the blobs they name. ``chunk`` asks for uploads in chunks of at least that many bytes.
    """

    def __init__(self, registry: TestRegistry) -> None:
        self.registry = registry
        self.schedule: Schedule = lambda _: None
        self.drops: Callable[[str], str] = lambda _: ""
        """Whether a new connection to an origin is dropped at once: "reset" or "close"."""
        self.authorize: Callable[[str], str] = lambda _: ""
        self.expire: Callable[[str], str] = lambda _: "expired"
        self.redirect_blobs = False
        self.chunk = 0
        self.host = self.elsewhere = ""
        self.scheme = "http"
        self.seen: list[Seen] = []
        self.early: list[str] = []
        self.bugs: list[str] = []
        """The proxy's own; a test that uses it looks here at the end."""
        self._signed: dict[str, str] = {}
        self._opaque: dict[str, str] = {}
        self._lied: set[str] = set()
        self._lock = threading.Lock()

    def calm(self) -> None:
        """Let nothing go wrong from now on."""
        self.schedule = lambda _: None
        self.drops = lambda _: ""

    def forget(self) -> None:
        """Start a new record."""
        with self._lock:
            self.seen, self.early = [], []
            self._lied.clear()
        self.redirect_blobs, self.chunk = False, 0

    def record(self, seen: Seen) -> None:
        """Note a request, and whether it is a manifest that comes too early."""
        with self._lock:
            self.seen.append(seen)
        whole = len(seen.body) == int(seen.header("content-length") or 0)
        if seen.origin == "registry" and seen.method == "PUT" and seen.kind == "manifests" and whole:
            self._check_order(seen)

    def faults(self) -> list[str]:
        """Return what was done, for messages."""
        with self._lock:
            return [f"{one.fault}: {one.key}" for one in self.seen if one.fault]

    def sign(self, path: str) -> str:
        """Return a URL elsewhere that stands for a path of the registry."""
        name = secrets.token_hex(8)
        with self._lock:
            self._signed[name] = path
        return f"{self.scheme}://{self.elsewhere}/signed/{name}?signature={secrets.token_hex(16)}"

    def hide(self, path: str) -> str:
        """Return another path of this origin that stands for a path of the registry, without any query."""
        name = secrets.token_hex(8)
        repository = path.partition("/blobs/uploads/")[0]
        with self._lock:
            self._opaque[name] = path
        return f"{repository}/blobs/uploads/opaque-{name}"

    def real_path(self, seen: Seen) -> str | None:
        """Return the registry's path of a request; None when no URL that was handed out is meant."""
        parts = urlsplit(seen.path)
        name = parts.path.rpartition("/")[2]
        if seen.origin == "elsewhere":
            hidden = self._signed.get(name) if "signature" in seen.query else None
        elif name.startswith("opaque-"):
            hidden = self._opaque.get(name.removeprefix("opaque-"))
        else:
            query = [(key, value) for key, value in parse_qsl(parts.query) if key != "proxy"]
            return parts.path + (f"?{urlencode(query)}" if query else "")
        if hidden is None:
            return None
        extra = urlencode([(key, value) for key, value in parse_qsl(parts.query) if key != "signature"])
        return hidden + (("&" if "?" in hidden else "?") + extra if extra else "")

    def lie(self, seen: Seen) -> Answer:
        """Return what a registry says of a blob that it has, or has mounted, and remember that it is not true."""
        digest = seen.query.get("mount") or urlsplit(seen.path).path.rpartition("/")[2]
        with self._lock:
            self._lied.add(digest)
        location = f"/v2/x/blobs/{digest}"
        return Answer(
            201 if seen.method == "POST" else 200, {"Location": location, "Docker-Content-Digest": digest}, b""
        )

    def _check_order(self, seen: Seen) -> None:
        repository = urlsplit(seen.path).path.removeprefix("/v2/").partition("/manifests/")[0]
        value = json.loads(seen.body)
        named = [value["config"], *value["layers"]] if "config" in value else []
        absent = [one["digest"] for one in named if not self.registry.has_blob(repository, one["digest"])]
        held = self.registry.manifests(repository)
        absent += [one["digest"] for one in value.get("manifests", ()) if one["digest"] not in held]
        with self._lock:
            self.early += [f"{seen.path} names {digest}" for digest in absent if digest not in self._lied]


class _Handler(Quiet):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: FaultProxy
    origin = "registry"
    server: _Server

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self) -> None:
        headers = tuple(self.headers.items())
        seen = Seen(self.origin, self.command, self.path, headers)
        fault = self.proxy.schedule(seen) or Fault("")
        assert not seen.header("transfer-encoding"), "bodies come with their length"
        early = fault.name in ("reset", "close", "no-http") or fault.name.startswith("early-")
        length = int(self.headers.get("Content-Length") or 0)
        if early:
            length = 0
        elif fault.name == "reset-midway":
            length = fault.random.randrange(length) if length else 0
        body = self.rfile.read(length)
        self.proxy.record(Seen(self.origin, self.command, self.path, headers, body, fault.name))
        seen = Seen(self.origin, self.command, self.path, headers, body)
        if early:
            # What the client still sends is not read: the connection cannot go on.
            self.close_connection = True
        if seen.origin == "elsewhere" and seen.header("authorization"):
            # As object stores do; the test finds the header in the record.
            self._send(Answer(400, {}, b"<Error><Code>InvalidArgument</Code></Error>"))
            return
        self._fail(seen, fault)

    # --- what goes wrong

    def _fail(self, seen: Seen, fault: Fault) -> None:
        name, _, rest = fault.name.partition("-")
        match name:
            case "reset":
                if rest == "midway":
                    self._forward_part(seen)
                self._hang_up(hard=True)
            case "close":
                self._hang_up()
            case "no" if rest == "http":
                self.wfile.write(b"\x00\x01 what is this\r\n\r\n")
                self._hang_up()
            case "unauthorized" | "forbidden":
                self._send(self._unauthorized(name, rest))
            case "redirect":
                self._send(self._redirect(seen, fault, rest))
            case "status" | "early" | "busy" | "html" | "portal" | "long":
                self._send(_refused(name, rest))
            case _:
                self._pass_on(seen, fault)

    def _unauthorized(self, name: str, rest: str) -> Answer:
        if name == "forbidden":
            return _refusal(403, "DENIED")
        if rest == "bare":
            return _refusal(401, "UNAUTHORIZED")
        # The registry's own way in; elsewhere names itself, and should be told nothing.
        realm = f"{self.proxy.scheme}://{self.proxy.elsewhere}/token"
        challenge = 'Basic realm="x"' if rest == "basic" else f'Bearer realm="{realm}",service="elsewhere"'
        if self.origin == "registry":
            _, headers, _ = self.proxy.registry.get("/v2/")
            challenge = headers.get("www-authenticate", 'Basic realm="x"')
        refusal = _refusal(401, "UNAUTHORIZED")
        return Answer(401, {**refusal.headers, "WWW-Authenticate": challenge}, refusal.body)

    def _redirect(self, seen: Seen, fault: Fault, rest: str) -> Answer:
        status = fault.random.choice(_REDIRECTS)
        if rest == "loop":
            return Answer(status, {"Location": seen.path}, b"")
        if rest == "write":
            return Answer(status, {"Location": self.proxy.sign(seen.path)}, b"")
        places = ("", "ftp://127.0.0.1/", "http://[bad", "http://user:pw@127.0.0.1:1/", "file:///etc/passwd")
        return Answer(status, {"Location": fault.random.choice(places)}, b"")

    def _pass_on(self, seen: Seen, fault: Fault) -> None:
        path = self.proxy.real_path(seen)
        if path is None:
            self._send(_refusal(404, "NO_SUCH_KEY"))
            return
        if fault.name in ("elsewhere", "elsewhere-head") or (self.proxy.redirect_blobs and _is_blob(seen)):
            self._send(Answer(fault.random.choice(_REDIRECTS), {"Location": self.proxy.sign(path)}, b"moved"))
            return
        if fault.name in ("mount-lie", "head-lie"):
            self._send(self.proxy.lie(seen))
            return
        if fault.name == "mount-error":
            self._send(_refusal(fault.random.choice((400, 404, 405)), "UNSUPPORTED"))
            return
        answer = self._forward(seen, path, fault)
        name, _, rest = fault.name.partition("-")
        match name:
            case "silence":
                # Until the client has had enough.
                self.connection.settimeout(_SILENCE_SECONDS)
                self.connection.recv(1)
                self._hang_up()
            case "lost":
                self._hang_up(hard=bool(fault.number % 2))
            case "done":
                self._send(_refusal(int(rest)))
            case "location":
                self._send(self._relocated(answer, fault, rest))
            case "digest" | "type":
                self._send(_mislabelled(answer, fault))
            case _:
                self._deliver(answer, fault)

    def _relocated(self, answer: Answer, fault: Fault, rest: str) -> Answer:
        location = answer.headers.get("Location", "")
        if answer.status != 202 or not location:
            return answer
        parts = urlsplit(location)
        path = f"{parts.path}?{parts.query}"
        new = {
            "relative": path,
            "sibling": f"{parts.path.rpartition('/')[2]}?{parts.query}",
            "query": f"{path}&proxy=a%2Bb",
            "opaque": self.proxy.hide(path),
            "elsewhere": self.proxy.sign(path),
            "absent": "",
            "bad": fault.random.choice(("http://[bad", "ftp://127.0.0.1/x", "http://user:pw@127.0.0.1:1/x")),
        }[rest]
        headers = {name: value for name, value in answer.headers.items() if name != "Location"}
        return Answer(answer.status, {**headers, "Location": new} if new else headers, answer.body)

    # --- to the registry

    def _forward(self, seen: Seen, path: str, fault: Fault) -> Answer:
        headers = {name: value for name, value in seen.headers if name.lower() not in ("connection", "content-length")}
        if seen.origin == "elsewhere":
            headers["Authorization"] = self.proxy.authorize(_repository(path))
            headers["Host"] = self.proxy.host
        if fault.name == "expired":
            headers = {**headers, "Authorization": self.proxy.expire(seen.header("authorization"))}
        if fault.name == "mount-refused":
            path = path.partition("?")[0]
        if fault.name == "whole-range":
            headers = {name: value for name, value in headers.items() if name.lower() != "range"}
        body = seen.body
        if fault.name == "flip-sent" and body:
            body = _flipped(body, fault.random.randrange(len(body)), fault.number % 7)
        headers = {name: value for name, value in headers.items() if value}
        if seen.method in ("POST", "PUT", "PATCH"):
            headers["Content-Length"] = str(len(body))
        connection = self.proxy.registry.connect()
        try:
            connection.request(seen.method, path, body=body or None, headers=headers)
            response = connection.getresponse()
            try:
                answer = Answer(response.status, dict(response.getheaders()), response.read())
            except http.client.IncompleteRead as error:
                answer = Answer(response.status, dict(response.getheaders()), error.partial, short=True)
        finally:
            connection.close()
        if self.proxy.chunk and answer.status == 202:
            answer.headers["OCI-Chunk-Min-Length"] = str(self.proxy.chunk)
        return answer

    def _forward_part(self, seen: Seen) -> None:
        """Let the registry see the beginning of a body whose rest never comes."""
        path = self.proxy.real_path(seen)
        if path is None:
            return
        connection = self.proxy.registry.connect()
        try:
            connection.putrequest(seen.method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in seen.headers:
                if name.lower() != "authorization" or seen.origin == "registry":
                    connection.putheader(name, value)
            connection.endheaders()
            connection.send(seen.body)
        finally:
            connection.close()

    # --- to the client

    def _deliver(self, answer: Answer, fault: Fault) -> None:
        random, body = fault.random, answer.body
        match fault.name:
            case "cut-head":
                self._send(answer, until=random.randrange(1, 40))
            case "cut":
                self._send(answer, until=-random.randrange(1, len(body)) if len(body) > 1 else None)
            case "longer":
                headers = {**answer.headers, "Content-Length": str(len(body) + 9)}
                self._send(Answer(answer.status, headers, body), until=_LAST)
            case "no-length":
                kept = body[: random.randrange(len(body))] if body else b""
                self._send(Answer(answer.status, {**answer.headers, "Content-Length": ""}, kept), until=_LAST)
            case "trickle":
                self._send(answer, slowly=True)
            case "stale":
                self._send(answer)
                self._hang_up()
            case _:
                self._send(_damaged(answer, fault))

    def _send(self, answer: Answer, *, until: int | None = None, slowly: bool = False) -> None:
        """Send an answer: ``until`` so many bytes of all, or so many less than all, then close."""
        headers = {"Content-Length": str(len(answer.body)), **answer.headers}
        lines = [f"HTTP/1.1 {answer.status} {http.client.responses.get(answer.status, 'Odd')}"]
        lines += [f"{name}: {value}" for name, value in headers.items() if value or name != "Content-Length"]
        head = "\r\n".join([*lines, "", ""]).encode()
        sent = head if self.command == "HEAD" else head + answer.body
        if until is not None:
            self.wfile.write(sent[:until])
            self._hang_up()
        elif slowly:
            for piece in _pieces(sent):
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(_TRICKLE_SECONDS)
        else:
            self.wfile.write(sent)
        if answer.short:
            self._hang_up()

    def _hang_up(self, *, hard: bool = False) -> None:
        self.close_connection = True
        if hard:
            self.connection.setsockopt(*_RESET)
            self.server.broken.add(self.connection)


def _is_blob(seen: Seen) -> bool:
    return seen.origin == "registry" and seen.method == "GET" and seen.kind == "blobs"


def _repository(path: str) -> str:
    return re.split(r"/(?:blobs|manifests)/", path.removeprefix("/v2/"))[0]


def _pieces(data: bytes) -> list[bytes]:
    step = len(data) // 5 + 1
    return [data[start : start + step] for start in range(0, len(data), step)]


def _refusal(status: int, code: str = "UNKNOWN") -> Answer:
    body = json.dumps({"errors": [{"code": code, "message": f"injected {status}"}]}).encode()
    return Answer(status, {"Content-Type": "application/json"}, body)


def _refused(name: str, rest: str) -> Answer:
    match name:
        case "busy":
            return _busy(rest)
        case "html":
            return Answer(502, {"Content-Type": "text/html"}, b"<html><body>Bad Gateway</body></html>")
        case "portal":
            return Answer(200, {"Content-Type": "text/html"}, b"<html><body>Welcome to our WiFi</body></html>")
        case "long":
            return Answer(500, {}, b"x" * (1 << 20))
        case _:
            return _refusal(int(rest))


def _damaged(answer: Answer, fault: Fault) -> Answer:
    random, body, headers = fault.random, answer.body, answer.headers
    match fault.name:
        case "flip" if body:
            place = random.randrange(len(body))
            return Answer(answer.status, headers, _flipped(body, place, random.randrange(8)))
        case "shorter":
            length = random.randrange(len(body)) if body else 0
            return Answer(answer.status, {**headers, "Content-Length": str(length)}, body)
        case "head-length":
            return Answer(answer.status, {**headers, "Content-Length": "7"}, body)
        case "length-garbage":
            return Answer(answer.status, {**headers, "Content-Length": random.choice(("x", "-1", "5, 6"))}, body)
        case "chunked" if answer.status in (200, 206):
            pieces = b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in _pieces(body)) + b"0\r\n\r\n"
            return Answer(answer.status, {**headers, "Content-Length": "", "Transfer-Encoding": "chunked"}, pieces)
        case "wrong-range" if answer.status == 206:
            return Answer(206, {**headers, "Content-Range": f"bytes 0-{len(body)}/{len(body)}"}, body)
        case "no-range":
            return _refusal(416, "RANGE_INVALID")
        case _:
            return answer


def _flipped(data: bytes, place: int, bit: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


def _busy(how: str) -> Answer:
    now = time.time()
    wait = {
        "zero": "0",
        "one": "1",
        "date": formatdate(now + 1, usegmt=True),
        "garbage": "soon",
        "for-days": "999999",
    }[how]
    refusal = _refusal(429, "TOOMANYREQUESTS")
    return Answer(429, {**refusal.headers, "Retry-After": wait, "Date": formatdate(now, usegmt=True)}, refusal.body)


def _mislabelled(answer: Answer, fault: Fault) -> Answer:
    name, _, how = fault.name.partition("-")
    header = "Docker-Content-Digest" if name == "digest" else "Content-Type"
    headers = {key: value for key, value in answer.headers.items() if key.lower() != header.lower()}
    if how == "wrong":
        headers[header] = "sha256:" + hashlib.sha256(str(fault.number).encode()).hexdigest()
    elif how == "garbage":
        headers[header] = fault.random.choice(("sha256:", "md5:aa", "x" * 5000, "sha256:" + "g" * 64))
    return Answer(answer.status, headers, answer.body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, origin: str, proxy: FaultProxy, context: ssl.SSLContext | None) -> None:
        self.origin = origin
        self.broken: set[object] = set()
        self.proxy = proxy
        self.context = context
        super().__init__(("127.0.0.1", 0), type("Bound", (_Handler,), {"proxy": proxy, "origin": origin}))

    def finish_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        how = self.proxy.drops(self.origin)
        if how == "reset":
            request.setsockopt(*_RESET)
            self.broken.add(request)
        if how:
            return
        if self.context is not None:
            # In the connection's own thread: a client that does not like the certificate holds up nobody else.
            try:
                if request.recv(1, socket.MSG_PEEK) != _TLS:
                    request.recv(1 << 16)
                    request.sendall(
                        b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
                    )
                    return
                request = self.context.wrap_socket(request, server_side=True)
            except OSError:
                return
            try:
                super().finish_request(request, client_address)
            finally:
                request.close()
            return
        super().finish_request(request, client_address)

    def shutdown_request(self, request: object) -> None:
        assert isinstance(request, socket.socket)
        if request in self.broken:
            self.broken.discard(request)
            request.close()
        else:
            super().shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        if not isinstance(sys.exception(), OSError):
            self.proxy.bugs.append(traceback.format_exc())


@contextmanager
def serve(registry: TestRegistry, *, tls: tuple[Path, Path] | None = None) -> Iterator[FaultProxy]:
    """Run a proxy in front of ``registry`` until the block ends; ``tls`` is its own certificate and key."""
    proxy = FaultProxy(registry)
    context: ssl.SSLContext | None = None
    if tls is not None:
        proxy.scheme = "https"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
    with _run("registry", proxy, context) as port, _run("elsewhere", proxy, context) as other:
        proxy.host, proxy.elsewhere = f"localhost:{port}", f"127.0.0.1:{other}"
        yield proxy


@contextmanager
def _run(origin: str, proxy: FaultProxy, context: ssl.SSLContext | None) -> Iterator[int]:
    with running(_Server(origin, proxy, context)) as port:
        yield port

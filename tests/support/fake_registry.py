"""A strict registry in memory, with a token server and a blob store on origins of their own, that fails on demand.

It rejects what a strict registry rejects: wrong digests, manifests whose blobs are missing, uploads gone on with after
a failure, requests without the right token. Every request is recorded with its headers.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from builder.image.reference import Reference
from tests.support.httpd import Quiet, serving


@dataclass(frozen=True)
class Seen:
    """A request as it arrived; ``origin`` is "registry", "token" or "store"."""

    origin: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def query(self) -> dict[str, list[str]]:
        """The parameters of the URL."""
        return parse_qs(urlsplit(self.path).query)


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request.

    ``status`` answers so instead; ``cut`` sends the answer's body only so far and closes; ``flip`` damages a bit of
    it; ``drop`` closes without an answer, after doing what was asked if ``done``; ``swallow`` closes after that many
    bytes of the request's body; ``promise`` is how many bytes more than it sends the answer says it has; ``garble``
    changes a space of the request's body; ``stall`` gives no answer, or ends in the middle of it, until the client
    hangs up.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    flip: bool = False
    drop: bool = False
    done: bool = False
    swallow: int | None = None
    promise: int = 0
    garble: bool = False
    stall: bool = False


Planned = Callable[[Seen], Fault | None]
Auth = Literal["", "basic", "bearer"]


class FakeRegistry:
    """The state behind the servers; made by ``serve``."""

    def __init__(self) -> None:
        self.blobs: dict[str, dict[str, bytes]] = {}
        self.manifests: dict[str, dict[str, tuple[str, bytes]]] = {}
        self.seen: list[Seen] = []
        self.auth: Auth = ""
        self.accounts: dict[str, str] = {}
        self.identity_tokens: set[str] = set()
        self.readable: set[str] | None = None
        """Repositories that an anonymous or named account may read; None is all."""
        self.writable = True
        self.redirect_blobs = False
        self.relative_location = True
        self.location_query = True
        self.mounts = True
        self.head_manifests = True
        self.ranges = True
        """Whether blobs come in ranges; if not, every answer is the whole."""
        self.least_piece = 0
        """OCI-Chunk-Min-Length, not sent while 0."""
        self.largest_body = 1 << 62
        """Uploads of more in one request are refused with 413."""
        self.page: int | None = None
        """Names on one page of a list; None puts all on one."""
        self.referrers = False
        """Whether there is a referrers API."""
        self.immutable = False
        """Whether a tag stays where it first pointed."""
        self.tokens: dict[str, set[str]] = {}
        self.token_life: int | None = None
        self.token_name = "token"
        """What the tokens given out begin with."""
        self.plan: Planned = lambda _: None
        self.lock = threading.RLock()
        self.host = self.token_host = self.store_host = ""
        self.uploads: dict[str, tuple[str, bytes]] = {}
        """Uploads that were begun and not ended: their repository, and what has come so far."""
        self._count = 0

    def put_blob(self, repository: str, data: bytes) -> str:
        """Store a blob and return its digest."""
        digest = digest_of(data)
        self.blobs.setdefault(repository, {})[digest] = data
        return digest

    def put_manifest(self, repository: str, tag: str, raw: bytes, media_type: str) -> str:
        """Store a manifest under a tag and its digest, unchecked; return the digest."""
        digest = digest_of(raw)
        self.manifests.setdefault(repository, {}).update({tag: (media_type, raw), digest: (media_type, raw)})
        return digest

    def asked(self, method: str, part: str = "", origin: str = "registry") -> list[Seen]:
        """Return the requests to one origin with this method and ``part`` in their path."""
        with self.lock:
            return [one for one in self.seen if (one.origin, one.method) == (origin, method) and part in one.path]

    def expire_tokens(self) -> None:
        """Make every token handed out so far invalid."""
        self.tokens.clear()

    def begin(self, repository: str) -> str:
        self._count += 1
        name = f"upload-{self._count}"
        self.uploads[name] = repository, b""
        return name

    def end(self, name: str) -> tuple[str, bytes]:
        """Take an upload away; return its repository and bytes, none for one that is not there."""
        return self.uploads.pop(name, ("", b""))


def at(fake: FakeRegistry, text: str = "a/b:1") -> Reference:
    """Return a reference into the fake registry."""
    return Reference.parse(f"{fake.host}/{text}")


def first(matching: Callable[[Seen], bool], *faults: Fault) -> Planned:
    """Give the first matching requests these faults, one after the other."""
    left, lock = list(faults), threading.Lock()

    def plan(seen: Seen) -> Fault | None:
        with lock:
            return left.pop(0) if left and matching(seen) else None

    return plan


def digest_of(data: bytes) -> str:
    """Return the sha256 digest of ``data``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


class _Handler(Quiet):
    protocol_version = "HTTP/1.1"
    registry: FakeRegistry
    origin = ""
    fault: Fault | None = None
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        seen = Seen(self.origin, self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
        self.fault = self.registry.plan(seen)
        if self.fault and self.fault.swallow is not None:
            self.rfile.read(min(length, self.fault.swallow))
            self._record(seen)
            self._close()
            return
        body = self.rfile.read(length)
        if self.fault and self.fault.garble:
            body = body.replace(b" ", b"\t", 1)
        seen = Seen(seen.origin, seen.method, seen.path, seen.headers, body)
        self._record(seen)
        if self.fault and self.fault.status:
            self._reply(self.fault.status, self.fault.body, self.fault.headers)
        elif self.fault and self.fault.drop and not self.fault.done:
            self._close()
        elif self.fault and self.fault.stall and self.fault.cut is None:
            self._stall()
        else:
            with self.registry.lock:
                self.answer(seen)

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _record(self, seen: Seen) -> None:
        with self.registry.lock:
            self.registry.seen.append(seen)

    def _close(self) -> None:
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _stall(self) -> None:
        self.connection.recv(1)
        self._close()

    def answer(self, seen: Seen) -> None:
        raise NotImplementedError

    def _reply(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        fault = self.fault or Fault()
        if fault.drop:
            self._close()
            return
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body) + fault.promise), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault.flip and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        if fault.cut is not None or fault.promise:
            self.wfile.write(body[: fault.cut])
            self.wfile.flush()
            if fault.stall:
                self._stall()
            self._close()
            return
        self.wfile.write(body)

    def _error(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        body = json.dumps({"errors": [{"code": code, "message": f"about {code.lower()}"}]}).encode()
        self._reply(status, body, headers)

    def _blob(self, data: bytes, digest: str) -> None:
        headers = {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes=") and self.registry.ranges:
            start = int(wanted[6:].rstrip("-"))
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self._reply(206, data[start:], headers)
        else:
            self._reply(200, data, headers)


class _RegistryHandler(_Handler):
    origin = "registry"

    def answer(self, seen: Seen) -> None:
        path = urlsplit(seen.path).path
        if path == "/v2/":
            if self._allowed(seen, "/"):
                self._reply(200)
            return
        name, _, target = path.removeprefix("/v2/").rpartition("/")
        name, _, kind = name.rpartition("/")
        if path == "/v2/_catalog":
            name, kind, target = "", "catalog", ""
        if kind == "uploads":
            name, kind = name.rpartition("/")[0], "uploads"
        if not self._allowed(seen, name):
            return
        getattr(self, f"_{seen.method.lower()}_{kind}")(seen, name, target)

    def _allowed(self, seen: Seen, name: str) -> bool:
        registry = self.registry
        scheme, _, secret = seen.headers.get("authorization", "").partition(" ")
        if registry.auth == "basic":
            account = base64.b64decode(secret).decode() if scheme == "Basic" else ""
            if account in (f"{user}:{password}" for user, password in registry.accounts.items()):
                return True
            self._error(401, "UNAUTHORIZED", {"WWW-Authenticate": 'Basic realm="fake"'})
            return False
        if registry.auth == "bearer":
            scope = f"repository:{name}:{_actions(seen)}" if name else "registry:catalog:*"
            granted = registry.tokens.get(secret) if scheme == "Bearer" else None
            if granted is not None and (name == "/" or _covers(granted, scope)):
                return True
            challenge = f'Bearer realm="http://{registry.token_host}/token",service="fake"'
            challenge += f',scope="{scope}"' if name != "/" else ""
            self._error(401, "UNAUTHORIZED", {"WWW-Authenticate": challenge})
            return False
        return True

    def _get_manifests(self, seen: Seen, name: str, target: str) -> None:
        if seen.method == "HEAD" and not self.registry.head_manifests:
            self._reply(405)
            return
        found = self.registry.manifests.get(name, {}).get(target)
        if found is None:
            self._error(404, "MANIFEST_UNKNOWN")
            return
        media_type, raw = found
        self._reply(200, raw, {"Content-Type": media_type, "Docker-Content-Digest": digest_of(raw)})

    _head_manifests = _get_manifests

    def _put_manifests(self, seen: Seen, name: str, target: str) -> None:
        value = json.loads(seen.body)
        children = value.get("manifests", ())
        needed = [
            one["digest"] for one in [value.get("config"), *value.get("layers", ())] if one and not one.get("urls")
        ]
        missing = [digest for digest in needed if digest not in self.registry.blobs.get(name, {})]
        known = self.registry.manifests.get(name, {})
        if missing or any(one["digest"] not in known for one in children):
            self._error(400, "MANIFEST_BLOB_UNKNOWN")
            return
        if self.registry.immutable and target in known and not target.startswith("sha256:"):
            self._error(409, "TAG_IMMUTABLE")
            return
        digest = self.registry.put_manifest(name, target, seen.body, seen.headers["content-type"])
        headers = {"Docker-Content-Digest": digest}
        if "subject" in value and self.registry.referrers:
            headers["OCI-Subject"] = value["subject"]["digest"]
        self._reply(201, headers=headers)

    def _delete_manifests(self, _seen: Seen, name: str, target: str) -> None:
        known = self.registry.manifests.get(name, {})
        if known.pop(target, None) is None:
            self._error(404, "MANIFEST_UNKNOWN")
            return
        for tag in [tag for tag, (_, raw) in known.items() if digest_of(raw) == target]:
            del known[tag]
        self._reply(202)

    def _get_tags(self, seen: Seen, name: str, _target: str) -> None:
        known = self.registry.manifests.get(name)
        if known is None:
            self._error(404, "NAME_UNKNOWN")
            return
        self._list(seen, "tags", sorted(one for one in known if ":" not in one), {"name": name})

    def _get_catalog(self, seen: Seen, _name: str, _target: str) -> None:
        self._list(seen, "repositories", sorted(self.registry.manifests), {})

    def _list(self, seen: Seen, key: str, names: list[str], document: dict[str, Any]) -> None:
        last = seen.query.get("last", [""])[0]
        rest = [one for one in names if one > last]
        page = rest[: self.registry.page]
        headers = {}
        if len(page) < len(rest):
            path = urlsplit(seen.path).path
            headers["Link"] = f'<{path}?last={page[-1]}&n={self.registry.page}>; rel="next"'
        self._reply(200, json.dumps({**document, key: page or None}).encode(), headers)

    def _get_referrers(self, seen: Seen, name: str, target: str) -> None:
        if not self.registry.referrers:
            self._reply(404, b"404 page not found")
            return
        found = []
        for key, (media_type, raw) in self.registry.manifests.get(name, {}).items():
            value = json.loads(raw)
            if ":" in key and value.get("subject", {}).get("digest") == target:
                kind = value.get("artifactType") or value["config"]["mediaType"]
                found.append({"mediaType": media_type, "digest": key, "size": len(raw), "artifactType": kind})
        first = int(seen.query.get("from", ["0"])[0])
        page = found[first:][: self.registry.page]
        headers = {"Content-Type": "application/vnd.oci.image.index.v1+json"}
        if first + len(page) < len(found):
            headers["Link"] = f"<?from={first + len(page)}>; rel=next"
        document = {"schemaVersion": 2, "mediaType": headers["Content-Type"], "manifests": page}
        self._reply(200, json.dumps(document).encode(), headers)

    def _get_blobs(self, seen: Seen, name: str, target: str) -> None:
        data = self.registry.blobs.get(name, {}).get(target)
        if data is None:
            self._error(404, "BLOB_UNKNOWN")
        elif self.registry.redirect_blobs and seen.method == "GET":
            location = f"http://{self.registry.store_host}/{name}/{target}?signature=s3cret"
            self._reply(307, b"moved", {"Location": location})
        else:
            self._blob(data, target)

    _head_blobs = _get_blobs

    def _post_uploads(self, seen: Seen, name: str, _target: str) -> None:
        registry = self.registry
        mount, source = seen.query.get("mount", [""])[0], seen.query.get("from", [""])[0]
        if mount and registry.mounts and mount in registry.blobs.get(source, {}):
            registry.blobs.setdefault(name, {})[mount] = registry.blobs[source][mount]
            self._reply(201, headers={"Location": f"/v2/{name}/blobs/{mount}"})
            return
        location = f"/v2/{name}/blobs/uploads/{registry.begin(name)}"
        location += "?state=a%2Bb" if registry.location_query else ""
        location = location if registry.relative_location else f"http://{registry.host}{location}"
        headers = {"OCI-Chunk-Min-Length": str(registry.least_piece)} if registry.least_piece else {}
        self._reply(202, headers={"Location": location, **headers})

    def _patch_uploads(self, seen: Seen, name: str, target: str) -> None:
        registry = self.registry
        repository, held = registry.uploads.get(target, ("", b""))
        begin, _, end = seen.headers["content-range"].partition("-")
        if repository != name:
            self._error(404, "BLOB_UPLOAD_UNKNOWN")
            return
        if len(seen.body) > registry.largest_body:
            self._error(413, "SIZE_INVALID")
            return
        if (int(begin), int(end) + 1) != (len(held), len(held) + len(seen.body)):
            self._error(416, "BLOB_UPLOAD_INVALID")
            return
        held += seen.body
        # The state that the location carries has to come back with the next piece.
        del registry.uploads[target]
        location = f"/v2/{name}/blobs/uploads/{(following := registry.begin(name))}?state=a%2Bb"
        registry.uploads[following] = name, held
        self._reply(202, headers={"Location": location, "Range": f"0-{len(held) - 1}"})

    def _put_uploads(self, seen: Seen, name: str, target: str) -> None:
        if self.registry.location_query:
            assert seen.query["state"] == ["a+b"], "the location's own query is lost"
        if len(seen.body) > self.registry.largest_body:
            self._error(413, "SIZE_INVALID")
            return
        repository, held = self.registry.end(target)
        if repository != name:
            self._error(404, "BLOB_UPLOAD_UNKNOWN")
            return
        digest, data = seen.query["digest"][0], held + seen.body
        if digest != digest_of(data):
            self._error(400, "DIGEST_INVALID")
            return
        self.registry.put_blob(name, data)
        self._reply(201, headers={"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest})

    def _delete_uploads(self, _seen: Seen, name: str, target: str) -> None:
        self._reply(204 if self.registry.end(target)[0] == name else 404)


class _TokenHandler(_Handler):
    origin = "token"

    def answer(self, seen: Seen) -> None:
        registry = self.registry
        form = parse_qs(seen.body.decode()) if seen.method == "POST" else seen.query
        scopes = " ".join(form.get("scope", [])).split()
        named = self._is_known(seen, form)
        if (seen.headers.get("authorization") or seen.method == "POST") and not named:
            self._error(401, "UNAUTHORIZED")
            return
        granted = {scope for scope in map(self._granted(named), scopes) if scope}
        token = f"{registry.token_name}-{len(registry.seen)}"
        registry.tokens[token] = granted
        answer: dict[str, Any] = {"token": token, "access_token": token}
        if registry.token_life is not None:
            answer["expires_in"] = registry.token_life
        self._reply(200, json.dumps(answer).encode())

    def _is_known(self, seen: Seen, form: dict[str, list[str]]) -> bool:
        if seen.method == "POST":
            return form.get("refresh_token", [""])[0] in self.registry.identity_tokens
        _, _, secret = seen.headers.get("authorization", "").partition(" ")
        user, _, password = base64.b64decode(secret).decode().partition(":")
        return bool(user) and self.registry.accounts.get(user) == password

    def _granted(self, named: bool) -> Callable[[str], str]:
        def grant(scope: str) -> str:
            _, name, actions = scope.split(":")
            if self.registry.readable is not None and name not in self.registry.readable:
                return ""
            if "push" in actions and not (named and self.registry.writable):
                return f"repository:{name}:pull"
            return scope

        return grant


class _StoreHandler(_Handler):
    """Where blobs really are, on another origin: refuses credentials, as object stores do."""

    origin = "store"

    def answer(self, seen: Seen) -> None:
        if "authorization" in seen.headers:
            self._error(400, "INVALID_ARGUMENT")
            return
        name, _, digest = urlsplit(seen.path).path.strip("/").rpartition("/")
        data = self.registry.blobs.get(name, {}).get(digest)
        if data is None:
            self._error(404, "NO_SUCH_KEY")
        else:
            self._blob(data, digest)


def _actions(seen: Seen) -> str:
    if seen.method == "DELETE":
        return "delete"
    return "pull,push" if seen.method in ("POST", "PUT", "PATCH") else "pull"


def _covers(granted: set[str], scope: str) -> bool:
    _, name, actions = scope.split(":")
    return any(
        one.split(":")[1] == name and set(actions.split(",")) <= set(one.split(":")[2].split(",")) for one in granted
    )


@contextmanager
def serve() -> Iterator[FakeRegistry]:
    """Run the three servers until the block ends."""
    registry = FakeRegistry()
    with ExitStack() as stack:
        registry.host, registry.token_host, registry.store_host = (
            f"127.0.0.1:{stack.enter_context(_server(handler, registry))}"
            for handler in (_RegistryHandler, _TokenHandler, _StoreHandler)
        )
        yield registry


@contextmanager
def _server(handler: type[_Handler], registry: FakeRegistry) -> Iterator[int]:
    with serving(type("Bound", (handler,), {"registry": registry})) as port:
        yield port

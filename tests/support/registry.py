"""A real registry (Debian's docker-registry) on loopback, with an access log that tests can read.

Open to everybody, or with accounts in an htpasswd file, or with a token server; over plain http or TLS.
"""

from __future__ import annotations

import ctypes
import http.client
import json
import re
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.commands import run, stop
from tests.support.need import need, need_tool
from tests.support.tokenserver import TokenServer

_START_SECONDS = 30
_LISTENING = re.compile(rb"listening on 127\.0\.0\.1:(\d+)")
_REQUEST = re.compile(r'"(?P<method>[A-Z]+) (?P<path>\S+) HTTP/[\d.]+" (?P<status>\d{3}) (?P<size>\d+)')
_CONFIGURATION = """\
version: 0.1
log:
  level: info
  accesslog:
    disabled: false
storage:
  filesystem:
    rootdirectory: {storage}
  delete:
    enabled: true
  maintenance:
    uploadpurging:
      enabled: false
http:
  addr: 127.0.0.1:0
  secret: test
"""


class Request(NamedTuple):
    """One line of the access log; ``path`` has its query, ``size`` is of the response."""

    method: str
    path: str
    status: int
    size: int


class TestRegistry:
    """A running registry. ``host`` is what image references begin with."""

    __test__ = False

    def __init__(self, port: int, storage: Path, log_path: Path, *, tls: bool = False) -> None:
        self.port = port
        self.host = f"localhost:{port}"
        self.storage = storage
        self.log_path = log_path
        self.tls = tls
        self._barriers = 0

    def mark(self) -> int:
        """Return a position for ``requests(since=...)``: what happens from now on."""
        return len(self.requests())

    def requests(self, since: int = 0) -> list[Request]:
        """Return all requests so far, oldest first, those of this class left out."""
        self._barriers += 1
        barrier = f"/v2/?barrier={self._barriers}"
        self.get(barrier)
        # The log line is written after the response: wait for the one of a request made after all others.
        deadline = time.monotonic() + _START_SECONDS
        while f"GET {barrier} " not in (text := self.log_path.read_text(errors="replace")):
            assert time.monotonic() < deadline, "the registry does not write its access log"
            time.sleep(0.01)
        found = (_REQUEST.search(line) for line in text.splitlines())
        return [
            Request(line["method"], line["path"], int(line["status"]), int(line["size"]))
            for line in found
            if line and "/v2/?barrier=" not in line["path"]
        ][since:]

    def get(self, path: str, accept: str = "*/*", authorization: str = "") -> tuple[int, dict[str, str], bytes]:
        """Ask the registry directly; header names come back in lower case."""
        connection = self.connect()
        try:
            login = {"Authorization": authorization} if authorization else {}
            connection.request("GET", path, headers={"Accept": accept, **login})
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return response.status, headers, response.read()
        finally:
            connection.close()

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection of one's own, to be closed; its certificate is not looked at."""
        if self.tls:
            trusting = ssl._create_unverified_context()
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=_START_SECONDS, context=trusting)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=_START_SECONDS)

    def has_blob(self, repository: str, digest: str) -> bool:
        """Say whether a repository has a blob, by looking at the registry's files: the link and bytes of the digest."""
        algorithm, _, name = digest.partition(":")
        link = self._repository(repository) / "_layers" / algorithm / name / "link"
        return link.is_file() and self._data(digest).is_file()

    def blob(self, digest: str) -> bytes:
        """Return the bytes that the registry's files hold under a digest, in whatever repository."""
        return self._data(digest).read_bytes()

    def manifests(self, repository: str) -> set[str]:
        """Return the digests of all manifests and indexes that a repository has, by looking at the registry's files."""
        links = self._repository(repository).glob("_manifests/revisions/sha256/*/link")
        return {link.read_text() for link in links if link.stat().st_size}

    def tags(self, repository: str) -> dict[str, str]:
        """Return the digest of each tag, by looking at the registry's files."""
        links = self._repository(repository).glob("_manifests/tags/*/current/link")
        return {link.parent.parent.name: link.read_text() for link in links if link.stat().st_size}

    def missing(self, repository: str) -> set[str]:
        """Return what the repository's manifests and indexes name and it has not: empty in every honest state."""
        held = self.manifests(repository)
        absent: set[str] = set()
        for digest in held:
            value = json.loads(self.blob(digest))
            blobs = [value["config"], *value["layers"]] if "config" in value else []
            absent |= {one["digest"] for one in blobs if not self.has_blob(repository, one["digest"])}
            absent |= {one["digest"] for one in value.get("manifests", ())} - held
        return absent

    def _repository(self, name: str) -> Path:
        return self.storage / "docker/registry/v2/repositories" / name

    def _data(self, digest: str) -> Path:
        algorithm, _, name = digest.partition(":")
        return self.storage / "docker/registry/v2/blobs" / algorithm / name[:2] / name / "data"

    def push(self, layout: Path, reference: str, tag: str = "latest") -> str:
        """Push the image ``tag`` of an OCI layout with skopeo as ``reference`` (name:tag); return host/name:tag."""
        target = f"{self.host}/{reference}"
        command = ["copy", "--quiet", "--dest-tls-verify=false", f"oci:{layout}:{tag}", f"docker://{target}"]
        run([need_tool("skopeo"), "--insecure-policy", *command])
        return target


@contextmanager
def serve(
    directory: Path,
    *,
    htpasswd: Mapping[str, str] | None = None,
    tls: tuple[Path, Path] | None = None,
    token: TokenServer | None = None,
    elsewhere: str = "",
) -> Iterator[TestRegistry]:
    """Run a registry that keeps everything under ``directory`` until the block ends.

    ``htpasswd`` has the passwords of its accounts, ``tls`` the PEM files of its certificate and key, ``token`` is the
    token server it believes. Layers may lie under URLs that match the expression ``elsewhere``.
    """
    program = need_tool("docker-registry")
    storage, log_path = directory / "storage", directory / "access.log"
    storage.mkdir(parents=True)
    settings = _CONFIGURATION.format(storage=storage)
    if tls is not None:
        settings += f"  tls:\n    certificate: {tls[0]}\n    key: {tls[1]}\n"
    if htpasswd is not None:
        accounts = directory / "htpasswd"
        accounts.write_text("".join(f"{name}:{bcrypt(password)}\n" for name, password in htpasswd.items()))
        settings += f"auth:\n  htpasswd:\n    realm: test\n    path: {accounts}\n"
    if token is not None:
        settings += f"auth:\n  token:\n    realm: {token.realm}\n    service: {token.service}\n"
        settings += f"    issuer: {token.issuer}\n    rootcertbundle: {token.certificate}\n"
    if elsewhere:
        settings += f"validation:\n  manifests:\n    urls:\n      allow: ['{elsewhere}']\n"
    configuration = directory / "config.yml"
    configuration.write_text(settings)
    messages = directory / "messages.log"
    with log_path.open("wb") as out, messages.open("wb") as err:
        # Output to a file and no terminal: stdout has the access log, stderr the rest.
        process = subprocess.Popen([program, "serve", configuration], stdin=subprocess.DEVNULL, stdout=out, stderr=err)
    try:
        yield TestRegistry(_port(process, messages), storage, log_path, tls=tls is not None)
    finally:
        stop(process, _START_SECONDS)


def bcrypt(password: str, salt: str = "abcdefghijklmnopqrstuu") -> str:
    """Return the only kind of hash that docker-registry reads in an htpasswd file; the C library makes it."""
    try:
        crypt = ctypes.CDLL("libcrypt.so.1").crypt
    except (OSError, AttributeError):
        crypt = None
    need(crypt, "needs libcrypt.so.1, for bcrypt")
    assert crypt is not None
    crypt.restype = ctypes.c_char_p
    hashed: bytes | None = crypt(password.encode(), f"$2b$04${salt}".encode())
    need(hashed and hashed.startswith(b"$2b$"), "needs a libcrypt with bcrypt")
    assert hashed is not None
    return hashed.decode()


def _port(process: subprocess.Popen[bytes], messages: Path) -> int:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        found = _LISTENING.search(messages.read_bytes())
        if found:
            return int(found[1])
        assert process.poll() is None, f"docker-registry ended: {messages.read_text()}"
        assert time.monotonic() < deadline, f"docker-registry does not start: {messages.read_text()}"
        time.sleep(0.02)

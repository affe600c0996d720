"""A real registry (Debian's docker-registry) on loopback, with an access log that tests can read."""

from __future__ import annotations

import http.client
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.commands import run
from tests.support.need import need_tool

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

    def __init__(self, port: int, storage: Path, log_path: Path) -> None:
        self.port = port
        self.host = f"localhost:{port}"
        self.storage = storage
        self.log_path = log_path
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

    def get(self, path: str, accept: str = "*/*") -> tuple[int, dict[str, str], bytes]:
        """Ask the registry directly; header names come back in lower case."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_START_SECONDS)
        try:
            connection.request("GET", path, headers={"Accept": accept})
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return response.status, headers, response.read()
        finally:
            connection.close()

    def push(self, layout: Path, reference: str, tag: str = "latest") -> str:
        """Push the image ``tag`` of an OCI layout with skopeo as ``reference`` (name:tag); return host/name:tag."""
        target = f"{self.host}/{reference}"
        command = ["copy", "--quiet", "--dest-tls-verify=false", f"oci:{layout}:{tag}", f"docker://{target}"]
        run([need_tool("skopeo"), "--insecure-policy", *command])
        return target


@contextmanager
def serve(directory: Path) -> Iterator[TestRegistry]:
    """Run a registry that keeps everything under ``directory`` until the block ends."""
    program = need_tool("docker-registry")
    storage, log_path = directory / "storage", directory / "access.log"
    storage.mkdir(parents=True)
    configuration = directory / "config.yml"
    configuration.write_text(_CONFIGURATION.format(storage=storage))
    messages = directory / "messages.log"
    with log_path.open("wb") as out, messages.open("wb") as err:
        # Output to a file and no terminal: stdout has the access log, stderr the rest.
        process = subprocess.Popen([program, "serve", configuration], stdin=subprocess.DEVNULL, stdout=out, stderr=err)
    try:
        yield TestRegistry(_port(process, messages), storage, log_path)
    finally:
        process.terminate()
        try:
            process.wait(_START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(process: subprocess.Popen[bytes], messages: Path) -> int:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        found = _LISTENING.search(messages.read_bytes())
        if found:
            return int(found[1])
        assert process.poll() is None, f"docker-registry ended: {messages.read_text()}"
        assert time.monotonic() < deadline, f"docker-registry does not start: {messages.read_text()}"
        time.sleep(0.02)

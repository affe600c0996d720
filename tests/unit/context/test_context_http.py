"""Downloads from a server of our own on loopback."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from builder.context.http import Downloads, TransientContextError, file_name, public_url
from builder.errors import ContextError
from tests.support.httpd import Quiet

Answer = tuple[int, dict[str, str], bytes]


class Server:
    """Answers by path and remembers what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[dict[str, str]], Answer]] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []
        outer = self

        class Handler(Quiet):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.seen.append((self.path, headers))
                answer = outer.answers.get(self.path)
                status, sent, body = answer(headers) if answer else (404, {}, b"secret page")
                self.send_response_only(status)
                for name, value in {"Content-Length": str(len(body)), **sent}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
                if int(sent.get("Content-Length", len(body))) != len(body):
                    self.close_connection = True

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def give(self, path: str, body: bytes = b"", status: int = 200, **headers: str) -> None:
        """Answer ``path``; a header's name has underscores for hyphens."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = lambda _: (status, sent, body)

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


@pytest.fixture
def downloads(server: Server, tmp_path: Path) -> Iterator[Downloads]:
    made = Downloads(tmp_path / "http", attempts=1)
    yield made
    made.close()


def test_a_file_comes_with_name_size_digest_and_time(server: Server, downloads: Downloads) -> None:
    server.give("/d/a%20b.txt?x=1", b"hello", Last_Modified="Thu, 01 Jan 2015 00:00:00 GMT")
    found = downloads.fetch(server.url + "/d/a%20b.txt?x=1#part")
    assert found.path.read_bytes() == b"hello"
    assert (found.name, found.size, found.mtime) == ("a b.txt", 5, 1420070400)
    assert found.digest == "sha256:" + hashlib.sha256(b"hello").hexdigest()


@pytest.mark.parametrize("value", ["", "yesterday", "Thu, 99 Jan 2015 00:00:00 GMT", "Thu, 01 Jan 1901 00:00:00 GMT"])
def test_no_time_is_the_beginning_of_time(server: Server, downloads: Downloads, value: str) -> None:
    server.give("/f", b"x", **({"Last_Modified": value} if value else {}))
    assert downloads.fetch(server.url + "/f").mtime == 0


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("", "__unnamed__"),
        ("/", "__unnamed__"),
        ("/a/b/", "b"),
        ("/a/..", "__unnamed__"),
        ("/a%2Fb", "b"),
        ("/%C3", "\udcc3"),
    ],
)
def test_names(path: str, name: str) -> None:
    assert file_name("https://host" + path) == name


def test_an_unchanged_file_is_not_sent_again(server: Server, downloads: Downloads) -> None:
    def answer(headers: dict[str, str]) -> Answer:
        if headers.get("if-none-match") == '"1"':
            return 304, {"ETag": '"1"'}, b""
        return 200, {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 2015 00:00:00 GMT"}, b"body"

    server.answers["/f"] = answer
    assert downloads.fetch(server.url + "/f") == downloads.fetch(server.url + "/f")
    assert len(server.seen) == 2
    assert server.seen[0][1].get("if-none-match") is None


def test_a_changed_file_replaces_what_was_known(server: Server, downloads: Downloads) -> None:
    server.give("/f", b"one", ETag='"1"')
    first = downloads.fetch(server.url + "/f")
    server.give("/f", b"two", ETag='"2"')
    second = downloads.fetch(server.url + "/f")
    assert second.path.read_bytes() == b"two"
    assert first.path.read_bytes() == b"one"


def test_damaged_bytes_in_the_store_are_fetched_again(server: Server, downloads: Downloads) -> None:
    server.give("/f", b"good", ETag='"1"')
    downloads.fetch(server.url + "/f").path.write_bytes(b"evil")
    assert downloads.fetch(server.url + "/f").path.read_bytes() == b"good"
    assert "if-none-match" not in server.seen[1][1]


def test_known_bytes_of_the_right_checksum_need_no_server(server: Server, downloads: Downloads) -> None:
    server.give("/f", b"pinned")
    checksum = "sha256:" + hashlib.sha256(b"pinned").hexdigest()
    downloads.fetch(server.url + "/f", checksum=checksum)
    downloads.fetch(server.url + "/f", checksum=checksum)
    assert len(server.seen) == 1


def test_a_wrong_checksum_is_an_error(server: Server, downloads: Downloads) -> None:
    server.give("/f", b"other")
    with pytest.raises(ContextError, match="has the digest sha256:"):
        downloads.fetch(server.url + "/f", checksum="sha256:" + "0" * 64)


def test_redirects_are_followed_but_not_for_ever(server: Server, downloads: Downloads) -> None:
    server.give("/a", status=302, Location="/d/b")
    server.give("/d/b", status=307, Location="c")
    server.give("/d/c", b"there")
    server.give("/loop", status=301, Location="/loop")
    found = downloads.fetch(server.url + "/a")
    assert found.path.read_bytes() == b"there"
    assert found.name == "a"
    with pytest.raises(ContextError, match="redirects"):
        downloads.fetch(server.url + "/loop")


@pytest.mark.parametrize("location", ["file:///etc/passwd", "", "ftp://x/y", "http://[bad"])
def test_redirects_lead_to_the_web_only(server: Server, downloads: Downloads, location: str) -> None:
    server.give("/a", status=302, Location=location)
    with pytest.raises(ContextError):
        downloads.fetch(server.url + "/a")


def test_credentials_go_to_their_own_server_only(server: Server, tmp_path: Path) -> None:
    other = Server()
    try:
        server.give("/a", status=302, Location=other.url + "/b")
        other.give("/b", b"x")
        with contextlib.closing(Downloads(tmp_path, authorize=lambda _: "Bearer sesame")) as downloads:
            downloads.fetch(server.url + "/a")
        assert server.seen[0][1]["authorization"] == "Bearer sesame"
        assert "authorization" not in other.seen[0][1]
    finally:
        other.stop()


def test_an_account_in_the_url_is_sent_and_never_shown(server: Server, downloads: Downloads, tmp_path: Path) -> None:
    server.give("/f?token=hidden", b"x")
    url = server.url.replace("//", "//user:p%40ss@")
    downloads.fetch(url + "/f?token=hidden")
    assert server.seen[0][1]["authorization"] == "Basic dXNlcjpwQHNz"
    with pytest.raises(ContextError) as caught:
        downloads.fetch(url + "/missing?token=hidden")
    shown = f"{caught.value} {caught.value.hint} {caught.value.__cause__}"
    assert "404" in shown
    for secret in ("p@ss", "p%40ss", "user", "hidden", "secret page"):
        assert secret not in shown
    for path in (tmp_path / "http").iterdir():
        assert b"hidden" not in path.read_bytes()
        assert "hidden" not in path.name


def test_public_url() -> None:
    assert public_url("https://u:p@host:1/a/b?q=1#f") == "https://host:1/a/b"


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_in_trouble_is_worth_another_try(server: Server, downloads: Downloads, status: int) -> None:
    server.give("/f", status=status)
    with pytest.raises(TransientContextError) as caught:
        downloads.fetch(server.url + "/f")
    assert caught.value.retryable
    assert caught.value.exit_code == 75


def test_nobody_there_is_worth_another_try(server: Server, downloads: Downloads) -> None:
    gone = Server()
    gone.stop()
    with pytest.raises(TransientContextError):
        downloads.fetch(gone.url + "/f")


def test_limits_and_broken_transfers_leave_nothing(server: Server, downloads: Downloads, tmp_path: Path) -> None:
    server.give("/big", b"x" * 100)
    server.give("/broken", b"x" * 10, Content_Length="20")
    with pytest.raises(ContextError, match="larger than 99"):
        downloads.fetch(server.url + "/big", limit=99)
    with pytest.raises(TransientContextError):
        downloads.fetch(server.url + "/broken")
    assert list((tmp_path / "http").iterdir()) == []


@pytest.mark.parametrize("url", ["ftp://host/x", "http://", "https:///x", "/etc/passwd", "http://[::1/x"])
def test_other_urls_are_refused(downloads: Downloads, url: str) -> None:
    with pytest.raises(ContextError):
        downloads.fetch(url)

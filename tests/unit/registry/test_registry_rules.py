"""Tables for the pure parts: hosts, proxies, error bodies, Retry-After, waiting."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.registry.answers import absolute
from builder.registry.errors import (
    SLOW,
    STALLED,
    UNREACHABLE,
    AuthenticationError,
    RegistryError,
    TransientRegistryError,
    error_from_response,
    parse_error_body,
    parse_retry_after,
)
from builder.registry.hosts import api_host, is_loopback, origin
from builder.registry.retry import RetryPolicy


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("a.localhost", True),
        ("127.0.0.1:1", True),
        ("127.9.9.9", True),
        ("[::1]:5000", True),
        ("[::1]", True),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("127.0.0.1.example:5000", False),
        ("reg.example", False),
        ("[bad", False),
        ("", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_docker_hubs_api_has_another_name() -> None:
    assert api_host("docker.io") == "registry-1.docker.io"
    assert api_host("quay.io") == "quay.io"


def test_origins() -> None:
    assert origin("https://Reg.example/x") == origin("https://reg.example:443/y?z")
    assert origin("https://reg.example") != origin("http://reg.example")
    assert origin("https://reg.example:444") != origin("https://reg.example")
    for url in ("ftp://x", "/path", "http://", "file:///etc/passwd"):
        with pytest.raises(ValueError, match="http"):
            origin(url)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/v2/x?a=b", "https://reg.example/v2/x?a=b"),
        ("https://cdn.example/x", "https://cdn.example/x"),
        ("//cdn.example/x", "https://cdn.example/x"),
        ("http://reg.example/v2/x?a=b", "https://reg.example/v2/x?a=b"),
        ("http://cdn.example/x", None),
        ("file:///etc/passwd", None),
        ("https://user:pw@cdn.example/", None),
        ("https://[bad", None),
        ("", None),
    ],
)
def test_where_a_location_leads_from_https(location: str, expected: str | None) -> None:
    assert absolute("https://reg.example", "https://reg.example/v2/x", location) == expected


@pytest.mark.parametrize(
    ("body", "codes", "said"),
    [
        (b'{"errors":[{"code":"DENIED","message":"no"}]}', ("DENIED",), "DENIED: no"),
        (b'{"errors":[{"code":"A"},{"message":"b"}]}', ("A",), "A; b"),
        (b'{"errors":[5, null]}', (), ""),
        (b'{"errors":{}}', (), '{"errors":{}}'),
        (b"<html>big page</html>", (), ""),
        (b"plain \x1b[31mtext\x00", (), "plain  [31mtext"),
        (b"\xff\xfe", (), "\ufffd\ufffd"),
        (b"", (), ""),
        (b"[" * 100000, (), "[" * 300 + "..."),
    ],
)
def test_error_bodies(body: bytes, codes: tuple[str, ...], said: str) -> None:
    assert parse_error_body(body) == (codes, said)


@given(st.binary(max_size=300))
def test_no_error_body_reaches_the_terminal_as_it_is(body: bytes) -> None:
    codes, said = parse_error_body(body)
    assert not any(ord(char) < 32 or ord(char) == 127 for text in (*codes, said) for char in text)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RegistryError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, RegistryError),
        (405, RegistryError),
        *((status, TransientRegistryError) for status in (408, 425, 429, 500, 502, 503, 504)),
    ],
)
def test_kinds_of_errors(status: int, kind: type[RegistryError]) -> None:
    error = error_from_response("cannot x", host="h", repository="r", status=status, headers={}, body=b"")
    assert type(error) is kind
    assert (error.host, error.repository, error.status) == ("h", "r", status)


@pytest.mark.parametrize(
    ("text", "date", "expected"),
    [
        ("7", "", 7.0),
        (" 0 ", "", 0.0),
        ("1.5", "", 1.5),
        ("-1", "", None),
        ("soon", "Wed, 21 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:10 GMT", "Wed, 21 Oct 2015 07:28:00 GMT", 10.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", "Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2015 07:28:10 GMT", "", None),
        ("9" * 50, "", None),
        ("", "", None),
    ],
)
def test_retry_after(text: str, date: str, expected: float | None) -> None:
    assert parse_retry_after(text, date) == expected


def failing(times: int, error: Exception) -> tuple[list[int], object]:
    calls: list[int] = []

    def attempt() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return "done"

    return calls, attempt


def policy(slept: list[float], **fields: float) -> RetryPolicy:
    return RetryPolicy(sleep=slept.append, random=lambda: 1.0, **fields)


def test_waiting_doubles_and_ends_at_the_limit() -> None:
    slept: list[float] = []
    calls, attempt = failing(9, TransientRegistryError("x"))
    with pytest.raises(TransientRegistryError):
        policy(slept, longest=3.0).run(attempt)
    assert len(calls) == 6
    assert slept == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_a_host_nobody_answers_at_is_given_up_sooner() -> None:
    slept: list[float] = []
    calls, attempt = failing(9, TransientRegistryError("x", codes=(UNREACHABLE,)))
    with pytest.raises(TransientRegistryError):
        policy(slept).run(attempt)
    assert len(calls) == 3


def test_retry_after_is_obeyed_within_the_budget() -> None:
    slept: list[float] = []
    _, attempt = failing(1, TransientRegistryError("x", retry_after=30))
    assert policy(slept).run(attempt) == "done"
    assert slept == [30.5]
    calls, attempt = failing(1, TransientRegistryError("x", retry_after=3600))
    with pytest.raises(TransientRegistryError):
        policy(slept).run(attempt)
    assert len(calls) == 1


def test_other_errors_are_not_retried() -> None:
    calls, attempt = failing(9, RegistryError("x"))
    with pytest.raises(RegistryError):
        policy([]).run(attempt)
    assert len(calls) == 1


def test_progress_forgives_failures() -> None:
    calls, attempt = failing(20, TransientRegistryError("x"))
    assert policy([]).run(attempt, lambda: len(calls) << 14) == "done"


@pytest.mark.parametrize(
    ("codes", "each", "tries"), [((), 1000, 6), ((STALLED,), 1000, 6), ((STALLED, SLOW), 1 << 30, 3)]
)
def test_a_few_bytes_at_each_try_are_no_progress(codes: tuple[str, ...], each: int, tries: int) -> None:
    calls, attempt = failing(20, TransientRegistryError("x", codes=codes))
    with pytest.raises(TransientRegistryError):
        policy([]).run(attempt, lambda: len(calls) * each)
    assert len(calls) == tries


def test_importing_the_client_imports_no_http_library() -> None:
    code = (
        "import sys, json, builder.registry.client, builder.registry.repository, builder.registry.push; "
        "from builder.image.reference import Reference; builder.registry.client.Registry().close(); "
        "print(json.dumps([m for m in ('httpx', 'ssl', 'subprocess') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert json.loads(done.stdout) == []

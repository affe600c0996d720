"""The login protocol, stepped without a server."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.registry.auth import Exchange, Login, TokenAnswer, TokenRequest
from builder.registry.challenges import Challenge, parse_challenges
from builder.registry.credentials import Credential, NoCredentials
from builder.registry.errors import AuthenticationError, TransientRegistryError
from tests.support.credentials import StaticCredentials

REALM = 'Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull"'
PULL = frozenset({"repository:a/b:pull"})
PUSH = frozenset({"repository:a/b:pull,push"})
ACCOUNT = Credential(username="ann", password="s3cret", source="the test")


def step(exchange: Exchange, *answers: TokenAnswer) -> tuple[list[TokenRequest], str]:
    requests: list[TokenRequest] = []
    pending = list(answers)
    try:
        requests.append(next(exchange))
        while True:
            requests.append(exchange.send(pending.pop(0)))
    except StopIteration as end:
        return requests, end.value


def token(text: str = "t0k", **fields: object) -> TokenAnswer:
    import json

    return TokenAnswer(200, {}, json.dumps({"token": text, **fields}).encode())


def login(credential: Credential | None = None, now: list[float] | None = None) -> Login:
    source = StaticCredentials(credential, ["reg.example"]) if credential else NoCredentials()
    clock = now if now is not None else [0.0]
    return Login("reg.example", source, clock=lambda: clock[0])


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="x"', [("basic", {"realm": "x"})]),
        (
            REALM,
            [("bearer", {"realm": "https://auth.example/token", "service": "reg", "scope": "repository:a/b:pull"})],
        ),
        ('Bearer realm="a,b", error=invalid', [("bearer", {"realm": "a,b", "error": "invalid"})]),
        ('Basic realm=x, Bearer realm="y"', [("basic", {"realm": "x"}), ("bearer", {"realm": "y"})]),
        (r'Bearer realm="say \"hi\""', [("bearer", {"realm": 'say "hi"'})]),
        ("Negotiate", [("negotiate", {})]),
        ("BEARER REALM = x", [("bearer", {"realm": "x"})]),
        ("", []),
        ("=,=", []),
        ('Bearer realm="unclosed', [("bearer", {"realm": '"unclosed'})]),
    ],
)
def test_challenges(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [(one.scheme, dict(one.parameters)) for one in parse_challenges([header])] == expected


@given(st.text(max_size=200))
def test_any_header_can_be_read(text: str) -> None:
    assert all(isinstance(one, Challenge) for one in parse_challenges([text]))


def test_nothing_is_asked_before_a_challenge() -> None:
    assert step(login(ACCOUNT).authorize("a/b", PULL)) == ([], "")


def test_an_anonymous_token_is_asked_for_with_scope_and_service() -> None:
    known = login()
    (request,), header = step(known.challenged("a/b", PULL, [REALM], ""), token())
    assert header == "Bearer t0k"
    assert request.authorization == ""
    assert parse_qs(urlsplit(request.url).query) == {"service": ["reg"], "scope": ["repository:a/b:pull"]}
    assert step(known.authorize("a/b", PULL)) == ([], "Bearer t0k")


def test_a_pushs_token_serves_no_other_repository_and_a_pulls_no_push() -> None:
    known = login()
    step(known.challenged("a/b", PULL, [REALM], ""), token("pull"))
    requests, header = step(known.authorize("a/b", PUSH), token("push"))
    assert header == "Bearer push"
    assert parse_qs(urlsplit(requests[0].url).query)["scope"] == ["repository:a/b:pull,push"]
    requests, _ = step(known.authorize("c", frozenset({"repository:c:pull"})), token("other"))
    assert len(requests) == 1


def test_the_password_goes_to_the_realm_as_basic() -> None:
    (request,), _ = step(login(ACCOUNT).challenged("a/b", PULL, [REALM], ""), token())
    assert base64.b64decode(request.authorization.removeprefix("Basic ")) == b"ann:s3cret"
    assert "s3cret" not in repr(request)


def test_an_identity_token_is_a_refresh_token() -> None:
    account = Credential(identity_token="r3fresh", source="the test")
    (request,), _ = step(login(account).challenged("a/b", PULL, [REALM], ""), token())
    assert request.form is not None
    form = parse_qs(request.form.decode())
    assert form["grant_type"] == ["refresh_token"]
    assert form["refresh_token"] == ["r3fresh"]
    assert form["scope"] == ["repository:a/b:pull"]
    assert "r3fresh" not in repr(request)


def test_a_registry_token_is_used_as_it_is() -> None:
    known = login(Credential(registry_token="ready"))
    assert step(known.challenged("a/b", PULL, [REALM], "")) == ([], "Bearer ready")
    assert step(known.challenged("a/b", PULL, [REALM], "Bearer ready")) == ([], "Bearer ready")


def test_basic_answers_with_the_account_and_gives_up_when_it_is_refused() -> None:
    known = login(ACCOUNT)
    _, header = step(known.challenged("a/b", PULL, ['Basic realm="x"'], ""))
    assert base64.b64decode(header.removeprefix("Basic ")) == b"ann:s3cret"
    assert step(known.authorize("a/b", PULL)) == ([], header)
    assert step(known.challenged("a/b", PULL, ['Basic realm="x"'], header)) == ([], header)


def test_bearer_is_preferred_to_basic() -> None:
    requests, _ = step(login(ACCOUNT).challenged("a/b", PULL, ["Basic realm=x", REALM], ""), token())
    assert len(requests) == 1


def test_a_token_is_renewed_before_it_expires() -> None:
    now = [1000.0]
    known = login(now=now)
    step(known.challenged("a/b", PULL, [REALM], ""), token("first", expires_in=300))
    now[0] += 289
    assert step(known.authorize("a/b", PULL)) == ([], "Bearer first")
    now[0] += 2
    assert step(known.authorize("a/b", PULL), token("second"))[1] == "Bearer second"


def test_a_refused_token_is_not_used_again() -> None:
    known = login()
    step(known.challenged("a/b", PULL, [REALM], ""), token("first"))
    assert step(known.challenged("a/b", PULL, [REALM], "Bearer first"), token("second"))[1] == "Bearer second"
    assert step(known.challenged("a/b", PULL, [REALM], "Bearer first"))[1] == "Bearer second"


@pytest.mark.parametrize(
    "realm",
    [
        "http://auth.example/token",
        "ftp://auth.example/",
        "/token",
        "https://user:pw@auth.example/",
        "http://[::bad/",
        "",
    ],
)
def test_credentials_go_to_https_and_loopback_only(realm: str) -> None:
    with pytest.raises(AuthenticationError) as caught:
        step(login(ACCOUNT).challenged("a/b", PULL, [f'Bearer realm="{realm}"'], ""), token())
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("realm", ["http://127.0.0.1:9/token", "http://localhost/token", "http://[::1]:5/t"])
def test_a_loopback_realm_gets_credentials(realm: str) -> None:
    (request,), _ = step(login(ACCOUNT).challenged("a/b", PULL, [f'Bearer realm="{realm}"'], ""), token())
    assert request.authorization


def test_an_anonymous_request_may_go_to_a_plain_realm() -> None:
    (request,), _ = step(login().challenged("a/b", PULL, ['Bearer realm="http://auth.example/t"'], ""), token())
    assert not request.authorization


@pytest.mark.parametrize("body", [b"", b"[]", b'{"token": ""}', b'{"token": "a\\nb"}', b'{"token": 5}', b"{" * 100000])
def test_a_token_that_is_none(body: bytes) -> None:
    with pytest.raises(AuthenticationError):
        step(login().challenged("a/b", PULL, [REALM], ""), TokenAnswer(200, {}, body))


def test_a_refused_account_is_named_by_its_source() -> None:
    refusal = TokenAnswer(401, {}, b'{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}')
    with pytest.raises(AuthenticationError) as caught:
        step(login(ACCOUNT).challenged("a/b", PULL, [REALM], ""), refusal)
    assert caught.value.codes == ("UNAUTHORIZED",)
    assert "the test" in str(caught.value.hint)
    assert caught.value.exit_code == 77


def test_a_token_server_out_of_order_is_transient() -> None:
    with pytest.raises(TransientRegistryError):
        step(login().challenged("a/b", PULL, [REALM], ""), TokenAnswer(503, {"retry-after": "7"}, b""))


def test_an_account_that_is_no_text_is_sent_as_something_that_will_be_refused() -> None:
    odd = Credential(username="\ud800", password="\udfff")
    requests, _ = step(login(odd).challenged("a/b", PULL, [REALM], ""), token())
    assert requests[0].authorization.startswith("Basic ")
    odd = Credential(identity_token="\ud800")
    requests, _ = step(login(odd).challenged("a/b", PULL, [REALM], ""), token())
    assert b"refresh_token=%3F" in (requests[0].form or b"")

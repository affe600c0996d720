"""The login protocol, stepped without a server."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.registry.auth import Exchange, Login, TokenAnswer, TokenRequest
from builder.registry.challenges import Challenge, parse_challenges
from builder.registry.credentials import Credential, NoCredentials
from builder.registry.errors import AuthenticationError, RegistryError, TransientRegistryError
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


def login(
    credential: Credential | None = None, now: list[float] | None = None, later: Sequence[Credential] = ()
) -> Login:
    source = StaticCredentials(credential, ["reg.example"], list(later)) if credential else NoCredentials()
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


def test_a_refused_account_is_looked_for_again_but_not_at_once() -> None:
    """A program's session lives for days, and its helper may have a new password a minute after the old one ended."""

    class Late(StaticCredentials):
        asked = 0

        def renew(self, *_: object) -> Credential | None:
            self.asked += 1
            return None

    now, source = [0.0], Late(ACCOUNT, ["reg.example"])
    known = Login("reg.example", source, clock=lambda: now[0])
    refused = "Basic " + base64.b64encode(b"ann:s3cret").decode()
    for _ in range(5):
        assert step(known.challenged("a/b", PULL, ["Basic realm=x"], refused))[1] == refused
    assert source.asked == 1
    now[0] += 60
    assert step(known.challenged("a/b", PULL, ["Basic realm=x"], refused))[1] == refused
    assert source.asked == 2


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


FRESH = Credential(username="ann", password="n3w", source="the test")
BASIC = ['Basic realm="x"']
REFUSED = TokenAnswer(401, {}, b"")
IDENTITY = Credential(identity_token="r3fresh", source="the test")


def password_in(request: TokenRequest) -> str:
    return base64.b64decode(request.authorization.removeprefix("Basic ")).decode()


def form_of(request: TokenRequest) -> dict[str, str]:
    assert request.form is not None
    return {name: values[0] for name, values in parse_qs(request.form.decode()).items()}


def test_a_password_that_expired_is_looked_up_again() -> None:
    known = login(ACCOUNT, later=[FRESH])
    _, old = step(known.challenged("a/b", PULL, BASIC, ""))
    _, new = step(known.challenged("a/b", PULL, BASIC, old))
    assert base64.b64decode(new.removeprefix("Basic ")) == b"ann:n3w"
    assert step(known.authorize("a/b", PULL)) == ([], new)


def test_another_thread_has_looked_it_up_already() -> None:
    known = login(ACCOUNT, later=[FRESH])
    _, old = step(known.challenged("a/b", PULL, BASIC, ""))
    _, first = step(known.challenged("a/b", PULL, BASIC, old))
    assert step(known.challenged("a/b", PULL, BASIC, old))[1] == first != old


def test_a_source_with_nothing_new_is_asked_once() -> None:
    source = StaticCredentials(ACCOUNT, ["reg.example"])
    known = Login("reg.example", source)
    _, header = step(known.challenged("a/b", PULL, BASIC, ""))
    for _ in range(3):
        assert step(known.challenged("a/b", PULL, BASIC, header))[1] == header
    assert len(source.refused) == 1


def test_a_403_to_a_password_may_mean_that_it_expired() -> None:
    known = login(ACCOUNT, later=[FRESH])
    _, old = step(known.challenged("a/b", PULL, BASIC, ""))
    new = known.forbidden("a/b", old)
    assert base64.b64decode(new.removeprefix("Basic ")) == b"ann:n3w"
    assert known.forbidden("a/b", new) == new


def test_a_403_to_a_token_is_about_rights() -> None:
    source = StaticCredentials(ACCOUNT, ["reg.example"], [FRESH])
    known = Login("reg.example", source)
    _, header = step(known.challenged("a/b", PULL, [REALM], ""), token())
    assert known.forbidden("a/b", header) == header
    assert known.forbidden("a/b", "") == ""
    assert source.refused == []


def test_a_ready_token_that_expired_is_looked_up_again() -> None:
    known = login(Credential(registry_token="old"), later=[Credential(registry_token="new")])
    step(known.challenged("a/b", PULL, [REALM], ""))
    assert step(known.challenged("a/b", PULL, [REALM], "Bearer old"))[1] == "Bearer new"


def test_a_ready_token_may_be_followed_by_an_account() -> None:
    known = login(Credential(registry_token="old"), later=[FRESH])
    step(known.challenged("a/b", PULL, [REALM], ""))
    (request,), header = step(known.challenged("a/b", PULL, [REALM], "Bearer old"), token())
    assert password_in(request) == "ann:n3w"
    assert header == "Bearer t0k"


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_token_server_that_refuses_gets_the_new_account(status: int) -> None:
    known = login(ACCOUNT, later=[FRESH])
    requests, header = step(known.challenged("a/b", PULL, [REALM], ""), TokenAnswer(status, {}, b""), token())
    assert [password_in(one) for one in requests] == ["ann:s3cret", "ann:n3w"]
    assert header == "Bearer t0k"


def test_both_accounts_are_refused() -> None:
    with pytest.raises(AuthenticationError) as caught:
        step(login(ACCOUNT, later=[FRESH]).challenged("a/b", PULL, [REALM], ""), REFUSED, REFUSED)
    assert "s3cret" not in f"{caught.value} {caught.value.hint}"
    assert "n3w" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("scheme", [BASIC, [REALM]])
def test_a_401_that_asks_for_nothing_is_about_what_was_sent(scheme: list[str]) -> None:
    assert step(login(ACCOUNT).challenged("a/b", PULL, [], "")) == ([], "")
    known = login(ACCOUNT, later=[FRESH])
    _, old = step(known.challenged("a/b", PULL, scheme, ""), token("first"))
    requests, new = step(known.challenged("a/b", PULL, ["Negotiate"], old), token("second"))
    assert new != old
    assert len(requests) == (scheme is not BASIC)


def test_a_broken_token_server_is_no_reason_to_look_again() -> None:
    source = StaticCredentials(ACCOUNT, ["reg.example"], [FRESH])
    with pytest.raises(TransientRegistryError):
        step(Login("reg.example", source).challenged("a/b", PULL, [REALM], ""), TokenAnswer(503, {}, b""))
    assert source.refused == []


@pytest.mark.parametrize("status", [404, 405])
def test_a_server_that_knows_no_post_gets_an_identity_token_as_a_password(status: int) -> None:
    requests, header = step(login(IDENTITY).challenged("a/b", PULL, [REALM], ""), TokenAnswer(status, {}, b""), token())
    assert form_of(requests[0])["refresh_token"] == "r3fresh"
    assert password_in(requests[1]) == "<token>:r3fresh"
    assert requests[1].form is None
    assert header == "Bearer t0k"


@pytest.mark.parametrize("status", [401, 404, 405])
def test_a_server_that_knows_no_post_gets_the_password_where_there_is_one(status: int) -> None:
    both = Credential(username="ann", password="s3cret", identity_token="r3fresh")
    requests, _ = step(login(both).challenged("a/b", PULL, [REALM], ""), TokenAnswer(status, {}, b""), token())
    assert password_in(requests[1]) == "ann:s3cret"


@pytest.mark.parametrize("status", [404, 405])
def test_a_server_that_knows_no_get_gets_the_password_in_a_form(status: int) -> None:
    requests, header = step(login(ACCOUNT).challenged("a/b", PULL, [REALM], ""), TokenAnswer(status, {}, b""), token())
    form = form_of(requests[1])
    assert (form["grant_type"], form["username"], form["password"]) == ("password", "ann", "s3cret")
    assert (form["service"], form["scope"]) == ("reg", "repository:a/b:pull")
    assert "s3cret" not in repr(requests[1])
    assert requests[1].authorization == ""
    assert header == "Bearer t0k"


def test_a_rotated_refresh_token_takes_the_old_ones_place() -> None:
    known = login(IDENTITY)
    step(known.challenged("a/b", PULL, [REALM], ""), token(refresh_token="r0tated"))
    requests, _ = step(known.challenged("a/b", PUSH, [REALM], ""), token())
    assert form_of(requests[0])["refresh_token"] == "r0tated"


def test_a_rotated_refresh_token_that_is_refused_is_forgotten() -> None:
    known = login(IDENTITY, later=[Credential(identity_token="an0ther")])
    step(known.challenged("a/b", PULL, [REALM], ""), token(refresh_token="r0tated"))
    requests, _ = step(known.challenged("a/b", PUSH, [REALM], ""), REFUSED, TokenAnswer(400, {}, b""), token())
    assert [form_of(one)["refresh_token"] for one in requests] == ["r0tated", "r3fresh", "an0ther"]


def test_access_token_is_another_name() -> None:
    answer = TokenAnswer(200, {}, b'{"access_token": "acc"}')
    assert step(login().challenged("a/b", PULL, [REALM], ""), answer)[1] == "Bearer acc"


@pytest.mark.parametrize(
    ("issued", "date", "left"),
    [
        ("2026-01-01T00:00:00Z", "Thu, 01 Jan 2026 00:01:40 GMT", 190),
        ("2026-01-01T00:00:00.123456789+00:00", "Thu, 01 Jan 2026 00:01:40 GMT", 190),
        ("2026-01-01T00:00:00", "Thu, 01 Jan 2026 00:01:40 GMT", 190),
        ("2027-01-01T00:00:00Z", "Thu, 01 Jan 2026 00:01:40 GMT", 290),
        ("yesterday", "Thu, 01 Jan 2026 00:01:40 GMT", 290),
        ("2026-01-01T00:00:00Z", "", 290),
        ("2026-01-01T00:00:00Z", "never", 290),
        ("2020-01-01T00:00:00Z", "Thu, 01 Jan 2026 00:01:40 GMT", 0),
    ],
)
def test_a_token_that_the_server_has_had_for_a_while(issued: str, date: str, left: int) -> None:
    now = [1000.0]
    known = login(now=now)
    first = token("first", expires_in=300, issued_at=issued)
    step(known.challenged("a/b", PULL, [REALM], ""), TokenAnswer(200, {"date": date}, first.body))
    if left:
        now[0] += left - 1
        assert step(known.authorize("a/b", PULL)) == ([], "Bearer first")
    now[0] += 2
    assert step(known.authorize("a/b", PULL), token("second"))[1] == "Bearer second"


def moved(location: str) -> TokenAnswer:
    return TokenAnswer(307, {"location": location}, b"")


def test_a_token_server_may_move_on_its_own_origin() -> None:
    requests, _ = step(login(ACCOUNT).challenged("a/b", PULL, [REALM], ""), moved("/v2/token?x=1"), token())
    assert requests[1].url == "https://auth.example/v2/token?x=1"
    assert requests[1].authorization == requests[0].authorization


@pytest.mark.parametrize(
    "location",
    [
        "https://evil.example/",
        "https://auth.example:8443/",
        "http://auth.example/",
        "//evil.example/t",
        "ftp://x/",
        "https://[/",
    ],
)
def test_credentials_do_not_follow_a_redirect_to_another_origin(location: str) -> None:
    with pytest.raises(AuthenticationError) as caught:
        step(login(ACCOUNT).challenged("a/b", PULL, [REALM], ""), moved(location))
    assert "s3cret" not in str(caught.value)


def test_an_anonymous_request_follows_to_https() -> None:
    requests, _ = step(login().challenged("a/b", PULL, [REALM], ""), moved("https://other.example/t"), token())
    assert requests[1].url == "https://other.example/t"


def test_redirects_without_end() -> None:
    with pytest.raises(AuthenticationError, match="without end"):
        step(login(ACCOUNT).challenged("a/b", PULL, [REALM], ""), moved("/1"), moved("/2"), moved("/3"))


def test_an_identity_token_follows_no_redirect() -> None:
    with pytest.raises(RegistryError):
        step(login(IDENTITY).challenged("a/b", PULL, [REALM], ""), moved("/v2/token"))

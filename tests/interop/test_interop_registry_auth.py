"""The command line against Debian's docker-registry as people run it: open, with htpasswd, TLS, and a token server.

The right account gets in everywhere and skopeo finds what was pushed; a wrong one ends with one clear error.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support import certificates, faultproxy, tokenserver
from tests.support import registry as registries
from tests.support.called import Called, caller
from tests.support.cli import pybuild, write_context
from tests.support.commands import run
from tests.support.faultproxy import FAULTS, Fault, Once, Seen
from tests.support.need import need_tool
from tests.support.registry import TestRegistry
from tests.support.tokenserver import Asked, TokenServer

USER, PASSWORD = "ann", "planted-PASSWORD-c41f"
READER = "reader"


@dataclass(frozen=True)
class Place:
    """A registry, the variables with which pybuild gets in, and without an account, and skopeo's options."""

    kind: str
    registry: TestRegistry
    account: dict[str, str]
    anonymous: dict[str, str] = field(default_factory=dict)
    skopeo: tuple[str, ...] = ()
    tokens: TokenServer | None = None

    def inspect(self, reference: str) -> Any:
        """Return what skopeo says of an image."""
        options = ["--tls-verify=false", *self.skopeo]
        command = [need_tool("skopeo"), "--insecure-policy", "inspect", *options, f"docker://{reference}"]
        return json.loads(run(command).stdout)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    with tokenserver.serve(tmp_path_factory.mktemp("tokens")) as running:
        running.add_account(USER, PASSWORD)
        running.add_account(READER, PASSWORD, {"*": {"pull"}})
        running.rights[""] = {"public/*": {"pull"}}
        yield running


@pytest.fixture(scope="module")
def places(
    tmp_path_factory: pytest.TempPathFactory, registry: TestRegistry, tokens: TokenServer
) -> Iterator[dict[str, Place]]:
    directory = tmp_path_factory.mktemp("registries")
    authority = certificates.make_authority(directory / "authority")
    trust = {"SSL_CERT_FILE": str(authority.ca_file)}
    creds = (f"--creds={USER}:{PASSWORD}",)
    accounts = {USER: PASSWORD}
    with ExitStack() as stack:
        htpasswd = stack.enter_context(registries.serve(directory / "htpasswd", htpasswd=accounts))
        tls = stack.enter_context(registries.serve(directory / "tls", htpasswd=accounts, tls=authority.server()))
        token = stack.enter_context(registries.serve(directory / "token", token=tokens))
        identity = login(token, identity=tokens.refresh_token(USER))
        made = [
            Place("open", registry, {}),
            Place("htpasswd", htpasswd, login(htpasswd), {}, creds),
            Place("tls", tls, {**login(tls), **trust}, trust, creds),
            Place("token", token, login(token), {}, creds, tokens),
            Place("identity", token, identity, {}, creds, tokens),
        ]
        yield {one.kind: one for one in made}


@pytest.fixture(params=["open", "htpasswd", "tls", "token", "identity"])
def place(request: pytest.FixtureRequest, places: dict[str, Place]) -> Place:
    return places[request.param]


@pytest.fixture
def token(places: dict[str, Place], tokens: TokenServer) -> Iterator[Place]:
    """The registry with a token server that does as it should again at the end."""
    yield places["token"]
    tokens.interrupt = lambda _: None
    tokens.life, tokens.announced, tokens.posts = 300, 300, True


def login(
    registry: TestRegistry | str, user: str = USER, password: str = PASSWORD, identity: str = ""
) -> dict[str, str]:
    """Return the variable that holds an account, or its refresh token."""
    entry = {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}
    if identity:
        entry = {"auth": base64.b64encode(b"<token>:").decode(), "identitytoken": identity}
    host = registry if isinstance(registry, str) else registry.host
    return {"DOCKER_AUTH_CONFIG": json.dumps({"auths": {host: entry}})}


def context(directory: Path, base: str = "scratch", content: str = "hello") -> Path:
    return write_context(directory, f"FROM {base}\nCOPY file /{content}\n", {"file": content})


def digest_of(done: Called) -> str:
    """Return the digest on the one line of standard output."""
    (line,) = done.lines
    return "sha256:" + line.rpartition("sha256:")[2]


def refused(done: Called, *texts: str) -> None:
    """Fail unless the end was one error that says ``texts``, and nothing secret."""
    assert done.err.count("error: ") == 1, done.err
    for text in texts:
        assert text in done.err, done.err
    assert not done.out
    unsaid(PASSWORD, done.err)
    assert "Bearer" not in done.err
    assert "eyJ" not in done.err, "a token is shown"


def unsaid(password: str, text: str) -> None:
    """Fail if a password is told, as it is or as it is sent."""
    assert password not in text
    assert base64.b64encode(f"{USER}:{password}".encode()).decode()[:-4] not in text


Build = Callable[..., Called]


@pytest.fixture
def build(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Build:
    """Call pybuild in this process, with a store and variables; it must end with ``status``."""
    call = caller(capfd)

    def run_with(*words: str | Path, root: Path, env: dict[str, str] | None = None, status: int = 0) -> Called:
        with monkeypatch.context() as patch:
            for name, value in {"PYBUILD_ROOT": str(root), **(env or {})}.items():
                patch.setenv(name, value)
            return call(*words, status=status)

    return run_with


# --- let in


def test_build_push_pull_and_build_on_it(build: Build, place: Place, tmp_path: Path) -> None:
    host, store = place.registry.host, tmp_path / "store"
    first, second = f"{host}/{place.kind}/first:1", f"{host}/{place.kind}/second:1"
    built = build(context(tmp_path / "a"), "--tag", first, "--push", root=store, env=place.account)
    assert place.inspect(first)["Digest"] == digest_of(built)

    # Another store has to fetch the base; what it pushes next to it is mounted.
    other = tmp_path / "other"
    mark = place.registry.mark()
    nested = context(tmp_path / "b", first, "more")
    derived = build(nested, "--tag", second, "--push", root=other, env=place.account)
    assert place.inspect(second)["Digest"] == digest_of(derived)
    mounted = [one.status for one in place.registry.requests(mark) if "mount=" in one.path]
    assert mounted == [201]
    assert place.registry.missing(f"{place.kind}/second") == set()

    pulled = build("pull", second, root=tmp_path / "third", env=place.account)
    assert digest_of(pulled) == digest_of(derived)
    again = build("push", second, f"{host}/{place.kind}/third:2", root=tmp_path / "third", env=place.account)
    assert digest_of(again) == digest_of(derived)
    assert place.inspect(f"{host}/{place.kind}/third:2")["Digest"] == digest_of(derived)


def test_a_second_push_moves_no_blob(build: Build, place: Place, tmp_path: Path) -> None:
    name = f"{place.registry.host}/{place.kind}/again:1"
    words = (context(tmp_path / "a"), "--tag", name, "--push")
    build(*words, root=tmp_path / "store", env=place.account)
    mark = place.registry.mark()
    build(*words, root=tmp_path / "store", env=place.account)
    sent = [one for one in place.registry.requests(mark) if one.method in ("PUT", "PATCH") and one.status < 300]
    assert ["/manifests/" in one.path for one in sent] == [True]


def test_an_account_on_the_command_line(build: Build, places: dict[str, Place], tmp_path: Path) -> None:
    for place in (places["htpasswd"], places["token"]):
        name = f"{place.registry.host}/{place.kind}/creds:1"
        words = (context(tmp_path / place.kind), "--tag", name, "--push", "--creds", f"{USER}:{PASSWORD}")
        built = build(*words, root=tmp_path / "store")
        assert place.inspect(name)["Digest"] == digest_of(built)


def test_a_login_that_is_kept(build: Build, places: dict[str, Place], tmp_path: Path) -> None:
    """What ``pybuild login`` keeps is what ``pybuild push`` and skopeo find; a wrong password is not kept."""
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text(PASSWORD + "\n")
    wrong.write_text(PASSWORD[1:])
    for place in (places["htpasswd"], places["token"]):
        kept = tmp_path / place.kind / "config.json"
        env = {"DOCKER_CONFIG": str(kept.parent)}
        host, name = place.registry.host, f"{place.registry.host}/{place.kind}/login:1"
        words = ("login", "--username", USER, "--password-stdin", host)
        said = pybuild(*words, root=tmp_path / "store", env=env, status=77, stdin=wrong)
        assert not kept.exists()
        unsaid(PASSWORD[1:], said.stderr)
        pybuild(*words, root=tmp_path / "store", env=env, stdin=right)
        built = build(context(tmp_path / "a"), "--tag", name, "--push", root=tmp_path / "store", env=env)
        found = ["--tls-verify=false", f"--authfile={kept}", f"docker://{name}"]
        inspected = run([need_tool("skopeo"), "--insecure-policy", "inspect", *found]).stdout
        assert json.loads(inspected)["Digest"] == digest_of(built)
        build("logout", host, root=tmp_path / "store", env=env)
        refused(build("pull", name, root=tmp_path / "other", env=env, status=77), host)


def test_everybody_may_pull_what_is_public(build: Build, token: Place, tmp_path: Path) -> None:
    host = token.registry.host
    name = f"{host}/public/app:1"
    built = build(context(tmp_path / "a"), "--tag", name, "--push", root=tmp_path / "store", env=token.account)
    assert digest_of(build("pull", name, root=tmp_path / "other")) == digest_of(built)
    refused(build("push", name, root=tmp_path / "other", status=77), f"{host}/public/app", "login")


def test_a_base_that_may_not_be_mounted_is_uploaded(
    build: Build, token: Place, tokens: TokenServer, tmp_path: Path
) -> None:
    """The token for both repositories has rights to one only, and the mount becomes an upload."""
    host = token.registry.host
    base, name = f"{host}/locked/base:1", f"{host}/mine/app:1"
    build(context(tmp_path / "a"), "--tag", base, "--push", root=tmp_path / "store", env=token.account)
    build("pull", base, root=tmp_path / "other", env=token.account)
    tokens.add_account("bob", PASSWORD, {"mine/*": {"pull", "push"}})
    mark = token.registry.mark()
    words = (context(tmp_path / "b", base), "--pull=never", "--tag", name, "--push")
    built = build(*words, root=tmp_path / "other", env=login(token.registry, "bob"))
    assert token.inspect(name)["Digest"] == digest_of(built)
    asked = [one for one in token.registry.requests(mark) if "mount=" in one.path]
    assert 201 not in [one.status for one in asked]


# --- not let in


@pytest.mark.parametrize("kind", ["htpasswd", "tls", "token"])
def test_a_wrong_password(build: Build, places: dict[str, Place], kind: str, tmp_path: Path) -> None:
    place = places[kind]
    host = place.registry.host
    name = f"{host}/{kind}/wrong:1"
    env = {**place.anonymous, **login(place.registry, password=PASSWORD[:-1])}
    done = build(context(tmp_path / "a"), "--tag", name, "--push", root=tmp_path / "store", env=env, status=77)
    refused(done, host, "DOCKER_AUTH_CONFIG")
    unsaid(PASSWORD[:-1], done.err)
    done = build(context(tmp_path / "b", name), root=tmp_path / "store", env=env, status=77)
    refused(done, host, "DOCKER_AUTH_CONFIG")
    assert place.registry.manifests(f"{kind}/wrong") == set()


def test_a_refresh_token_that_is_not_valid_any_more(build: Build, token: Place, tmp_path: Path) -> None:
    name = f"{token.registry.host}/identity/wrong:1"
    env = login(token.registry, identity="planted-PASSWORD-c41f-refresh")
    done = build(context(tmp_path / "a"), "--tag", name, "--push", root=tmp_path / "store", env=env, status=77)
    refused(done, token.registry.host, "DOCKER_AUTH_CONFIG")


@pytest.mark.parametrize("kind", ["htpasswd", "tls", "token"])
def test_no_account(build: Build, places: dict[str, Place], kind: str, tmp_path: Path) -> None:
    place = places[kind]
    name = f"{place.registry.host}/{kind}/nobody:1"
    words = (context(tmp_path / "a"), "--tag", name, "--push")
    refused(
        build(*words, root=tmp_path / "store", env=place.anonymous, status=77), place.registry.host, "pybuild login"
    )


def test_an_account_without_rights_is_told_before_the_build(build: Build, token: Place, tmp_path: Path) -> None:
    """The step would fail, if it were run."""
    name = f"{token.registry.host}/no/rights:1"
    folder = write_context(tmp_path / "a", "FROM scratch\nCOPY nothing /\n")
    env = login(token.registry, READER)
    refused(build(folder, "--tag", name, "--push", root=tmp_path / "store", env=env, status=77), "no/rights")


def test_a_certificate_of_nobody_we_know(build: Build, places: dict[str, Place], tmp_path: Path) -> None:
    place = places["tls"]
    name = f"{place.registry.host}/tls/unknown:1"
    env = login(place.registry)
    words = (context(tmp_path / "a"), "--tag", name, "--push")
    done = build(*words, root=tmp_path / "store", env=env, status=69)
    refused(done, "not trusted", "SSL_CERT_FILE")
    built = build(*words, "--insecure-registry", place.registry.host, root=tmp_path / "store", env=env)
    assert place.inspect(name)["Digest"] == digest_of(built)


# --- tokens that expire


def test_a_token_that_is_expired_when_it_is_new(
    build: Build, token: Place, tokens: TokenServer, tmp_path: Path
) -> None:
    """The server's clock is wrong, and right again: another token is asked for."""
    given: list[str] = []

    def expired_first(asked: Asked) -> tokenserver.Answer | None:
        given.append(asked.path)
        tokens.life = -100 if len(given) == 1 else 300
        return None

    tokens.interrupt = expired_first
    name = f"{token.registry.host}/token/expired:1"
    words = (context(tmp_path / "a"), "--tag", name, "--push")
    built = build(*words, root=tmp_path / "store", env=token.account)
    assert token.inspect(name)["Digest"] == digest_of(built)
    assert len(given) > 1


def test_tokens_that_are_all_expired_are_one_error(
    build: Build, token: Place, tokens: TokenServer, tmp_path: Path
) -> None:
    tokens.life = -100
    before = len(tokens.asked)
    name = f"{token.registry.host}/token/loop:1"
    done = build(
        context(tmp_path / "a"), "--tag", name, "--push", root=tmp_path / "store", env=token.account, status=77
    )
    refused(done, token.registry.host)
    assert len(tokens.asked) - before < 10


@pytest.mark.parametrize("step", [("HEAD", "blobs"), ("POST", "uploads"), ("PUT", "uploads"), ("PUT", "manifests")])
def test_a_token_that_expires_in_the_middle(
    build: Build, token: Place, tokens: TokenServer, step: tuple[str, str], tmp_path: Path
) -> None:
    with faultproxy.serve(token.registry) as proxy:
        proxy.expire = lambda header: f"Bearer {tokens.expired(header.partition(' ')[2])}"
        proxy.schedule = once = Once("expired", lambda seen: (seen.method, seen.kind) == step)
        repository = f"middle/{'-'.join(step).lower()}"
        name = f"{proxy.host}/{repository}:1"
        env = login(proxy.host)
        built = build(context(tmp_path / "a"), "--tag", name, "--push", root=tmp_path / "store", env=env)
        assert once.happened == 1
        assert token.registry.tags(repository) == {"1": digest_of(built)}
        assert not proxy.early
        assert not proxy.bugs


# --- bad days, as the command line shows them


def _everything(name: str) -> faultproxy.Schedule:
    def fault(seen: Seen) -> Fault | None:
        return Fault(name) if seen.kind == "uploads" and seen.method == "PUT" else None

    return fault


@pytest.mark.parametrize(
    ("fault", "status"), [("busy-for-days", 75), ("early-413", 69), ("forbidden", 77), ("unauthorized-bare", 77)]
)
def test_what_cannot_be_got_over_is_one_error(
    build: Build, places: dict[str, Place], fault: str, status: int, tmp_path: Path
) -> None:
    place = places["htpasswd"]
    with faultproxy.serve(place.registry) as proxy:
        proxy.schedule = _everything(fault)
        repository = f"bad/{fault}"
        words = (context(tmp_path / "a"), "--tag", f"{proxy.host}/{repository}:1", "--push")
        done = build(*words, root=tmp_path / "store", env=login(proxy.host), status=status)
        refused(done, proxy.host)
        assert place.registry.manifests(repository) == set()
        proxy.calm()
        built = build(*words, root=tmp_path / "store", env=login(proxy.host))
        assert place.registry.tags(repository) == {"1": digest_of(built)}
        assert not proxy.bugs


@pytest.mark.parametrize("fault", ["lost-answer", "reset-midway", "done-504", "status-503"])
def test_what_can_be_got_over(build: Build, places: dict[str, Place], fault: str, tmp_path: Path) -> None:
    place = places["htpasswd"]
    with faultproxy.serve(place.registry) as proxy:
        proxy.schedule = once = Once(fault, lambda seen: seen.kind == "uploads" and seen.method == "PUT")
        repository = f"good/{fault}"
        words = (context(tmp_path / "a"), "--tag", f"{proxy.host}/{repository}:1", "--push")
        built = build(*words, root=tmp_path / "store", env=login(proxy.host))
        assert once.happened == 1
        assert place.registry.tags(repository) == {"1": digest_of(built)}
        assert not proxy.bugs


@pytest.mark.parametrize(
    ("fault", "status"), [("flip", 67), ("forbidden", 77), ("redirect-nowhere", 69), ("elsewhere", 0)]
)
def test_a_pull_ends_whole_or_leaves_nothing_behind(
    build: Build, places: dict[str, Place], fault: str, status: int, tmp_path: Path
) -> None:
    place, store = places["htpasswd"], tmp_path / "store"
    with faultproxy.serve(place.registry) as proxy:
        proxy.authorize = lambda _: "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        name, env = f"{proxy.host}/pulled/{fault}:1", login(proxy.host)
        folder = context(tmp_path / "a", content=fault)
        built = build(folder, "--tag", name, "--push", root=tmp_path / "builder", env=env)
        proxy.schedule = lambda seen: Fault(fault, 3) if FAULTS[fault](seen) and seen.kind == "blobs" else None
        done = build("pull", name, root=store, env=env, status=status)
        if status:
            refused(done, "sha256:" if fault == "flip" else proxy.host)
            assert not build("images", "--quiet", root=store).lines
        else:
            assert digest_of(done) == digest_of(built)
            assert [one.origin for one in proxy.seen].count("elsewhere") == 2
            assert not [one for one in proxy.seen if one.origin == "elsewhere" and one.header("authorization")]
        proxy.calm()
        assert digest_of(build("pull", name, root=store, env=env)) == digest_of(built)
        build(context(tmp_path / "b", name, "more"), "--tag", "derived:1", root=store, env=env)
        assert not proxy.bugs

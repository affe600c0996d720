"""Accounts of registries as the whole program has them: where they go, and that they show nowhere.

Every secret is planted: passwords, identity tokens, the tokens of the token server, signatures of redirects. All that
the program writes is searched for them, the store and the debug log too.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support import fake_registry, images
from tests.support.cli import environment, pybuild, write_context
from tests.support.credentials import write_helper
from tests.support.fake_registry import FakeRegistry, Fault, Seen
from tests.support.needles import forms, found_in

PASSWORD = "planted-PASSWORD-9d27"
IDENTITY = "planted-IDENTITY-c0e1"
TOKEN = "planted-TOKEN-417a"
SIGNATURE = "s3cret"  # in the fake registry's redirects
ECHO = "planted-ECHO-77b2"

NEEDLES = [form for one in (PASSWORD, IDENTITY, TOKEN, ECHO) for form in forms(one)] + [f"={SIGNATURE}".encode()]


@dataclass
class Site:
    """A registry, a store, and everything that was said so far."""

    fake: FakeRegistry
    directory: Path
    env: dict[str, str | None] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def store(self) -> Path:
        return self.directory / "store"

    @property
    def metadata(self) -> Path:
        return self.directory / "metadata.json"

    def run(self, *words: str, status: int | list[int] = 0) -> subprocess.CompletedProcess[str]:
        """Run a command for programs, then with the debug log, which has tracebacks; return the first."""
        done = pybuild("--progress=json", *words, root=self.store, env=self.env, status=status)
        debug = subprocess.run(
            [sys.executable, "-m", "builder.cli.main", "--debug", "--progress=plain", *words],
            env=environment(self.store, self.env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert debug.returncode == done.returncode, debug.stderr
        self.said += [text for one in (done, debug) for text in (one.stdout, one.stderr)]
        return done

    def build(self, *words: str, status: int | list[int] = 0) -> subprocess.CompletedProcess[str]:
        context = self.directory / "context"
        if not context.exists():
            write_context(context, f"FROM {self.fake.host}/base:1\nCOPY f /f\n", {"f": "f"})
        tag = f"{self.fake.host}/mine:1"
        how = ["-t", tag, "--push", "--pull", "--no-cache", f"--metadata-file={self.metadata}"]
        return self.run(*how, *words, str(context), status=status)

    def leaks(self) -> list[str]:
        pushed = [images.inflate(data) for blobs in self.fake.blobs.values() for data in blobs.values()]
        pushed += [raw for tags in self.fake.manifests.values() for _, raw in tags.values()]
        written = [one for one in (self.store, self.metadata) if one.exists()]
        return found_in(NEEDLES, *written, *pushed, *self.said)

    def configure(self, **document: object) -> None:
        """Write Docker's file."""
        directory = self.directory / "docker"
        directory.mkdir(exist_ok=True)
        (directory / "config.json").write_text(json.dumps(document))
        self.env["DOCKER_CONFIG"] = str(directory)


@pytest.fixture
def site(tmp_path: Path, busybox_layout: Path) -> Iterator[Site]:
    with fake_registry.serve() as fake:
        for blob in (busybox_layout / "blobs/sha256").iterdir():
            fake.put_blob("base", blob.read_bytes())
        stored = images.read_image(busybox_layout)
        fake.put_manifest("base", "1", stored.raw_manifest, stored.manifest["mediaType"])
        fake.auth, fake.accounts, fake.identity_tokens = "bearer", {"ann": PASSWORD}, {IDENTITY}
        fake.readable, fake.token_name, fake.redirect_blobs = {"base", "mine"}, TOKEN, True
        env: dict[str, str | None] = {"HOME": str(tmp_path / "home"), "PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
        env |= dict.fromkeys(
            ("DOCKER_AUTH_CONFIG", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "PYBUILD_CREDS")
        )
        yield Site(fake, tmp_path, env)


def pair(password: str = PASSWORD) -> str:
    return base64.b64encode(f"ann:{password}".encode()).decode()


def by_file(site: Site) -> list[str]:
    site.configure(auths={site.fake.host: {"auth": pair()}})
    return []


def by_identity_token(site: Site) -> list[str]:
    site.configure(auths={site.fake.host: {"identitytoken": IDENTITY}})
    return []


def by_helper(site: Site) -> list[str]:
    kept = write_helper(site.directory / "bin", "mine", 'cat "$kept/answer"; echo planted-ECHO-77b2 >&2')
    (kept / "answer").write_text(json.dumps({"Username": "ann", "Secret": PASSWORD}))
    site.configure(credHelpers={site.fake.host: "mine"})
    return []


def by_command_line(site: Site) -> list[str]:
    return [f"--creds=ann:{PASSWORD}"]


def by_variable(site: Site) -> list[str]:
    site.env["PYBUILD_CREDS"] = f"ann:{PASSWORD}"
    return []


WAYS: list[Callable[[Site], list[str]]] = [by_file, by_identity_token, by_helper, by_command_line, by_variable]


@pytest.mark.parametrize("way", WAYS)
def test_a_build_with_an_account(site: Site, way: Callable[[Site], list[str]]) -> None:
    words = way(site)
    site.build(*words)
    assert "1" in site.fake.manifests["mine"]
    assert site.leaks() == []
    assert any(TOKEN in one.headers.get("authorization", "") for one in site.fake.seen)
    assert not [one for one in site.fake.seen if one.origin == "store" and "authorization" in one.headers]


@pytest.mark.parametrize(
    ("way", "auth"), [*((one, "bearer") for one in WAYS), (by_file, "basic"), (by_variable, "basic")]
)
def test_a_build_whose_account_is_refused(site: Site, way: Callable[[Site], list[str]], auth: Any) -> None:
    words = way(site)
    site.fake.auth, site.fake.accounts, site.fake.identity_tokens = auth, {"ann": "another"}, set()
    done = site.build(*words, status=77)
    assert "401" in done.stderr
    assert site.leaks() == []
    assert json.loads(site.metadata.read_text())["exit_code"] == 77


@pytest.mark.parametrize(
    ("way", "origin"),
    [(by_file, "registry"), (by_file, "token"), (by_identity_token, "token"), (by_command_line, "token")],
)
def test_servers_that_repeat_what_they_are_sent(site: Site, way: Callable[[Site], list[str]], origin: str) -> None:
    """In the text of errors, in codes and in Warning headers."""
    words = way(site)

    def plan(seen: Seen) -> Fault | None:
        sent = seen.headers.get("authorization", "")
        if seen.origin != origin or not (sent or (origin == "token" and seen.method == "POST")):
            return None
        said = f"{sent.split(' ')[-1]} {PASSWORD} {IDENTITY if way is by_identity_token else ''}"
        errors = [{"code": sent or said, "message": said}]
        headers = {"Warning": f'299 - "you sent {sent} {PASSWORD}"'}
        return Fault(status=403, body=json.dumps({"errors": errors}).encode(), headers=headers)

    site.fake.plan = plan
    site.build(*words, status=77)
    relevant = [
        form for one in ((IDENTITY, TOKEN) if way is by_identity_token else (PASSWORD, TOKEN)) for form in forms(one)
    ]
    assert found_in(relevant, site.store, site.metadata, *site.said) == []
    assert "***" in "".join(site.said)


@pytest.mark.parametrize(
    "script",
    [
        f"echo {ECHO}; echo {ECHO} >&2; exit 1",
        f"echo {ECHO}",
        f'echo \'{{"Secret": "{ECHO}"}}\'',
        f'echo \'{{"Username": 1, "Secret": "{ECHO}"}}\'',
    ],
)
def test_helpers_that_fail(site: Site, script: str) -> None:
    """One that is for the registry, and one that is for all: without it we are nobody, and may pull but not push."""
    write_helper(site.directory / "bin", "bad", script)
    site.configure(credHelpers={site.fake.host: "bad"})
    site.build(status=77)
    site.configure(credsStore="bad")
    done = site.run("pull", f"{site.fake.host}/base:1")
    assert "going on without it" in done.stderr
    assert site.leaks() == []


@pytest.mark.parametrize("location", ["evil", "realm"])
def test_an_account_goes_to_no_other_origin(site: Site, location: str, tmp_path: Path) -> None:
    """A registry and a token server that send us elsewhere; only a realm in plain http on another host is refused."""
    by_file(site)
    with fake_registry.serve() as evil:

        def plan(seen: Seen) -> Fault | None:
            if location == "evil" and "/manifests/" in seen.path:
                return Fault(status=307, headers={"Location": f"http://{evil.host}{seen.path}"})
            if location == "realm" and seen.origin == "token":
                return Fault(status=307, headers={"Location": f"http://{evil.token_host}/token"})
            return None

        site.fake.plan = plan
        site.build(status=[66, 67, 69, 77])
        assert site.leaks() == []
        assert [one.headers["authorization"] for one in evil.seen if "authorization" in one.headers] == []
        assert found_in(NEEDLES, *(f"{one.path} {one.headers} {one.body!r}" for one in evil.seen)) == []


def test_given_creds_go_to_their_registry_only(site: Site) -> None:
    """The base is in one registry and the image goes to another: each gets its own account, or none."""
    with fake_registry.serve() as other:
        other.auth, other.accounts = "bearer", {"ann": PASSWORD}
        site.fake.auth = ""
        context = write_context(site.directory / "two", f"FROM {site.fake.host}/base:1\nCOPY f /f\n", {"f": "f"})
        site.run("-t", f"{other.host}/mine:1", "--push", f"--creds=ann:{PASSWORD}", str(context))
        assert "1" in other.manifests["mine"]
        assert [one for one in site.fake.seen if "authorization" in one.headers] == []
        assert site.leaks() == []


def test_logins(site: Site) -> None:
    host = site.fake.host
    site.run("login", "-u", "ann", "-p", PASSWORD, host)
    kept = site.directory / "home/.docker/config.json"
    assert found_in([pair().encode()], kept)
    site.run("login", "--check", f"{host}/mine:1")
    site.run("login", "--check", "--json", f"{host}/mine:1")
    site.fake.accounts = {"ann": "another"}
    site.run("login", "--check", f"{host}/mine:1", status=77)
    site.run("login", "-u", "ann", "-p", PASSWORD, host, status=77)
    site.run("login", "-u", "ann", f"--creds=ann:{PASSWORD}", host, status=64)
    site.run("logout", host)
    assert found_in([pair().encode()], kept) == []
    assert site.leaks() == []


def test_the_search_finds_what_a_login_keeps(site: Site) -> None:
    """Or the tests above would prove nothing."""
    site.run("login", "-u", "ann", "-p", PASSWORD, site.fake.host)
    assert found_in(NEEDLES, site.directory / "home") != []

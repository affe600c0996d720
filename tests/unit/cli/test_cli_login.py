"""``pybuild login``, ``logout`` and ``login --check``; whose account ``--creds`` is; nothing secret anywhere."""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from builder.cli import accounts
from builder.cli.accounts import add_account_options, credential_source
from builder.cli.commands.login import registry_of
from builder.cli.main import main
from builder.cli.options import COMMANDS, load
from builder.cli.reporters import make_reporter
from builder.errors import UsageError
from builder.events import SilentReporter
from tests.support.cli import environment as process_environment
from tests.support.credentials import write_helper
from tests.support.fake_registry import FakeRegistry, Fault, serve

PASSWORD = "s3cret-pass/word"
PAIR = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()


@dataclass(frozen=True)
class Said:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Said]


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with serve() as running:
        running.auth = "basic"
        running.accounts = {"ann": PASSWORD}
        yield running


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME", "PYBUILD_CREDS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path / "home"


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*words: str, stdin: bytes = b"") -> Said:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        status = main(list(words))
        captured = capfd.readouterr()
        said = Said(status, captured.out, captured.err)
        for secret in (PASSWORD, PAIR):
            assert secret not in said.out + said.err
        return said

    return call


def log_in(run: Run, fake: FakeRegistry, *words: str, password: bytes = PASSWORD.encode()) -> Said:
    return run("login", "-u", "ann", "--password-stdin", *words, fake.host, stdin=password + b"\n")


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_login_is_tried_and_kept(run: Run, fake: FakeRegistry, home: Path, auth: Any) -> None:
    fake.auth = auth
    said = log_in(run, fake)
    path = home / ".docker/config.json"
    assert said.status == 0
    assert said.out == f"logged in to {fake.host} as ann; the account is in {path}\n"
    assert f"the password is in {path} as it is" in said.err
    assert json.loads(path.read_text()) == {"auths": {fake.host: {"auth": PAIR}}}
    assert run("login", "--check", fake.host).status == 0


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_wrong_password_is_not_kept(run: Run, fake: FakeRegistry, home: Path, auth: Any) -> None:
    fake.auth = auth
    said = log_in(run, fake, password=b"wr0ng-pass")
    assert said.status == 77
    assert "check the user name and the password" in said.err
    assert "wr0ng-pass" not in said.err
    assert not home.exists()


def test_a_registry_that_asks_for_no_account(run: Run, fake: FakeRegistry) -> None:
    fake.auth = ""
    said = log_in(run, fake, "--json")
    assert "asked for no account; ann's is kept, but was not tried" in said.err
    assert said.json["tried"] is False


def test_a_login_as_json_and_to_a_file(run: Run, fake: FakeRegistry, tmp_path: Path) -> None:
    path = tmp_path / "team/auth.json"
    said = log_in(run, fake, "--json", "--authfile", str(path))
    assert said.json == {"registry": fake.host, "username": "ann", "kept_in": str(path), "tried": True}
    assert run("login", "--check", "--offline", "--authfile", str(path), fake.host).status == 0
    assert run("login", "--check", "--offline", fake.host).status == 77


def test_a_login_through_a_helper(run: Run, fake: FakeRegistry, home: Path, tmp_path: Path) -> None:
    kept = write_helper(tmp_path / "bin", "mine")
    (home / ".docker").mkdir(parents=True)
    (home / ".docker/config.json").write_text('{"credsStore": "mine"}')
    said = log_in(run, fake)
    assert said.err == ""
    assert "docker-credential-mine" in said.out
    assert len(list(kept.iterdir())) == 1
    checked = run("login", "--check", "--json", f"{fake.host}/a/b:1").json
    assert checked["account"]["helper"] == "docker-credential-mine"
    assert checked["accepted"] is True
    assert "docker-credential-mine" in run("logout", fake.host).out
    assert list(kept.iterdir()) == []


def test_a_variable_that_hides_the_new_account(run: Run, fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {fake.host: {"auth": "eDp5"}}}))
    assert f"$DOCKER_AUTH_CONFIG ({fake.host}) comes before the account" in log_in(run, fake).err
    said = run("logout", fake.host)
    assert (said.status, "logged out of" in said.out) == (77, True)
    assert f"$DOCKER_AUTH_CONFIG may still have an account of {fake.host}" in said.err


@pytest.mark.parametrize("password", [b"pw\n", b"pw\r\n", b"pw"])
def test_the_end_of_the_line_is_no_part_of_a_password(run: Run, fake: FakeRegistry, password: bytes) -> None:
    fake.accounts = {"ann": "pw"}
    assert run("login", "-u", "ann", "--password-stdin", fake.host, stdin=password).status == 0


@pytest.mark.parametrize(
    ("words", "stdin", "what"),
    [
        (["--password-stdin"], b"x", "--username"),
        (["-u", "ann"], b"", "nobody can be asked"),
        ([], b"", "--username"),
        (["-u", "ann", "--password-stdin"], b"", "an account is"),
        (["-u", "a:b", "--password-stdin"], b"x", "an account is"),
        (["-u", "ann", "--password-stdin"], b"x" * 70000, "65536"),
        (["-u", "ann", "--password-stdin"], b"\xff\xfes3cret", "UTF-8"),
        (["-u", "ann", "-p", "x", "--password-stdin"], b"x", "not allowed with"),
        (["--offline"], b"", "--check"),
        (["--check", "-u", "ann"], b"", "takes no account"),
        (["-u", "ann", "--creds", "ann:s3cret", "--password-stdin"], b"x", "no --creds"),
    ],
)
def test_what_a_login_needs(run: Run, words: list[str], stdin: bytes, what: str) -> None:
    said = run("login", *words, "127.0.0.1:1", stdin=stdin)
    assert said.status == 64
    assert what in said.err
    assert "s3cret" not in said.err


def test_a_password_on_the_command_line_is_taken_with_a_warning(run: Run, fake: FakeRegistry) -> None:
    fake.accounts = {"ann": "pw"}
    said = run("login", "-u", "ann", "-p", "pw", fake.host)
    assert said.status == 0
    assert "list of processes" in said.err


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("reg.example", "reg.example"),
        ("Reg.Example:5000", "reg.example:5000"),
        ("https://reg.example/v2/", "reg.example"),
        ("index.docker.io", "docker.io"),
        ("docker.io/team", "docker.io/team"),
        ("reg.example/team/app", "reg.example/team/app"),
        ("registry", "registry"),
        ("localhost:5000", "localhost:5000"),
    ],
)
def test_names_of_registries(text: str, name: str) -> None:
    assert registry_of(text) == name


@pytest.mark.parametrize(
    "text", ["", "reg.example/app:1", "reg.example/App", "a b", "reg.example/a@b", "-x", "user@reg"]
)
def test_what_is_no_registry(text: str) -> None:
    with pytest.raises(UsageError, match="no registry"):
        registry_of(text)


def test_a_check_says_where_the_account_is_from(run: Run, fake: FakeRegistry, home: Path) -> None:
    log_in(run, fake, f"--authfile={home}/.docker/config.json")
    said = run("login", "--check", f"{fake.host}/team/app:1")
    path = home / ".docker/config.json"
    assert said.out.splitlines() == [
        f"registry    {fake.host}",
        "repository  team/app",
        "account     ann, with a password",
        f"source      {path} ({fake.host})",
        "accepted    yes",
    ]
    fake.accounts = {"ann": "another"}
    said = run("login", "--check", "--json", f"{fake.host}/team/app:1")
    assert said.status == 77
    assert (said.json["accepted"], said.json["account"]["file"], said.json["account"]["key"]) == (
        False,
        str(path),
        fake.host,
    )
    fake.plan = lambda _: Fault(status=500)
    said = run("login", "--check", fake.host, "--progress", "plain")
    assert said.status == 75
    assert "500" in said.out


def test_a_check_without_an_account(run: Run, fake: FakeRegistry, home: Path) -> None:
    said = run("login", "--check", "busybox", "--offline")
    assert said.status == 77
    assert said.out.splitlines()[:3] == ["registry    docker.io", "repository  library/busybox", "account     none"]
    assert str(home / ".docker/config.json") in said.out
    fake.auth = ""
    said = run("login", "--check", "--json", fake.host)
    assert (said.status, said.json["account"], said.json["asked_for"]) == (77, None, False)


def test_kinds_of_accounts(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    auths = {"t.example": {"identitytoken": "s3cret"}, "r.example": {"registrytoken": "s3cret"}}
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": auths}))
    for name, kind in (("t.example", "identity token"), ("r.example", "registry token")):
        said = run("login", "--check", "--offline", "--json", name)
        assert said.json["account"]["kind"] == kind
        assert "s3cret" not in said.out
        assert f"a {kind}" in run("login", "--check", "--offline", name).out


def test_a_broken_file_is_told(run: Run, home: Path) -> None:
    (home / ".docker").mkdir(parents=True)
    (home / ".docker/config.json").write_text('{"auths": s3cret}')
    said = run("login", "--check", "--offline", "reg.example")
    assert said.status == 77
    assert "config.json is not a JSON object" in said.err
    assert "s3cret" not in said.err


def test_a_logout(run: Run, fake: FakeRegistry, home: Path) -> None:
    log_in(run, fake)
    path = home / ".docker/config.json"
    assert run("logout", fake.host).out == f"logged out of {fake.host}; the account was in {path}\n"
    assert run("logout", fake.host).out == f"there was no account of {fake.host} to remove\n"
    assert run("logout", "--json").json == [{"registry": "docker.io", "removed_from": [], "left_in": []}]


def test_a_logout_from_all(run: Run, fake: FakeRegistry, home: Path) -> None:
    log_in(run, fake)
    (home / ".config/containers").mkdir(parents=True)
    (home / ".config/containers/auth.json").write_text('{"auths": {"quay.io": {"auth": "eDp5"}}}')
    said = run("logout", "--all")
    assert said.out.count("logged out of ") == 2
    assert run("logout", "--all").out == "there were no accounts to remove\n"
    assert run("logout", "--all", fake.host).status == 64
    assert run("logout", "--authfile", str(home / "absent")).status == 64


def test_a_password_is_asked_for_at_a_terminal(fake: FakeRegistry, home: Path, tmp_path: Path) -> None:
    master, terminal = pty.openpty()
    words = [sys.executable, "-m", "builder.cli.main", "login", fake.host]
    process = subprocess.Popen(
        words,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=process_environment(tmp_path),
        start_new_session=True,
    )
    os.close(terminal)
    shown = b""

    def until(text: bytes) -> None:
        nonlocal shown
        while text not in shown:
            shown += os.read(master, 1000)

    until(f"User name for {fake.host}: ".encode())
    os.write(master, b"ann\n")
    until(f"Password of ann for {fake.host}: ".encode())
    os.write(master, PASSWORD.encode() + b"\n")
    until(b"logged in to ")
    assert process.wait() == 0
    os.close(master)
    assert PASSWORD.encode() not in shown


def options(*words: str, **references: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_account_options(parser.add_argument_group("registries"))
    parsed = parser.parse_args(words)
    for name, value in references.items():
        setattr(parsed, name, value)
    return parsed


def users(parsed: argparse.Namespace, env: dict[str, str] | None = None) -> dict[str, str]:
    source = credential_source(parsed, env or {}, SilentReporter())()
    registries = ("docker.io", "reg.example", "reg.example:5000", "other.example", "localhost:5000", "host:5000")
    found = {name: source.find(name, "a/b") for name in registries}
    return {name: f"{one.username}:{one.password}" for name, one in found.items() if one is not None}


@pytest.mark.parametrize(
    ("given", "references", "expected"),
    [
        # The one registry that the command line names.
        (["ann:pw"], {"reference": ["reg.example/a:1", "reg.example/b"]}, {"reg.example": "ann:pw"}),
        (["ann:pw"], {"reference": "busybox"}, {"docker.io": "ann:pw"}),
        (["ann:pw"], {"reference": ["reg.example:5000/a"]}, {"reg.example:5000": "ann:pw"}),
        (["ann:pw"], {"registry": "host:5000"}, {"host:5000": "ann:pw"}),
        (["ann:pw"], {"source": "docker://reg.example/a"}, {"reg.example": "ann:pw"}),
        # What is written to comes before what is read.
        (["ann:pw"], {"source": "other.example/a", "destination": ["reg.example/a"]}, {"reg.example": "ann:pw"}),
        (["ann:pw"], {"source": "reg.example/a", "destination": ["oci-archive:x.tar"]}, {"reg.example": "ann:pw"}),
        (["ann:pw"], {"context": ".", "tag": ["reg.example/a"], "output": []}, {"reg.example": "ann:pw"}),
        (
            ["ann:pw"],
            {"context": ".", "tag": [], "output": ["type=registry,name=reg.example/a"]},
            {"reg.example": "ann:pw"},
        ),
        (
            ["ann:pw"],
            {"list": "other.example/l", "names": ["reg.example/a", "reg.example/b"]},
            {"reg.example": "ann:pw"},
        ),
        (["ann:pw"], {"list": "reg.example/l"}, {"reg.example": "ann:pw"}),
        (["ann:pw"], {"remote": "reg.example/a/cache:x"}, {"reg.example": "ann:pw"}),
        (["ann:pw"], {"remote": None, "reference": "reg.example/a"}, {"reg.example": "ann:pw"}),
        (["ann:pw"], {"a": "reg.example/a", "b": "store:other.example/a"}, {"reg.example": "ann:pw"}),
        # Or the one named with it; passwords may hold everything.
        (["reg.example=ann:p:w=x"], {"reference": ["other.example/a"]}, {"reg.example": "ann:p:w=x"}),
        (["reg.example:5000=ann:pw"], {}, {"reg.example:5000": "ann:pw"}),
        (["localhost:5000=ann:pw"], {}, {"localhost:5000": "ann:pw"}),
        (["host:5000=ann:pw"], {"reference": "host:5000/a"}, {"host:5000": "ann:pw"}),
        (["index.docker.io=ann:pw"], {}, {"docker.io": "ann:pw"}),
        (
            ["reg.example=ann:pw", "other.example=bob:pw"],
            {"source": "reg.example/a", "destination": "other.example/a"},
            {"reg.example": "ann:pw", "other.example": "bob:pw"},
        ),
        (["ann:pw=x"], {"reference": ["reg.example/a"]}, {"reg.example": "ann:pw=x"}),
        (["ann:12=x"], {"reference": ["reg.example/a"]}, {"reg.example": "ann:12=x"}),
    ],
)
def test_whose_account_creds_are(given: list[str], references: dict[str, object], expected: dict[str, str]) -> None:
    assert users(options(*(f"--creds={one}" for one in given), **references)) == expected
    assert users(options(**references), {"PYBUILD_CREDS": "\n".join(given)}) == expected


def test_the_names_of_every_command_are_known() -> None:
    known = {attribute for group in accounts.NAMES for attribute in group}
    # Images are named in the Dockerfile there, and as build does.
    for command in set(COMMANDS) - {"build", "explain", "config"}:
        module: Any = load(command)
        for parser in (
            [module.parser(one) for one in module.ACTIONS] if hasattr(module, "ACTIONS") else [module.parser()]
        ):
            if any("--creds" in action.option_strings for action in parser._actions):
                positional = {action.dest for action in parser._actions if not action.option_strings}
                assert positional <= known, parser.prog


def test_the_command_line_comes_before_the_variable() -> None:
    parsed = options("--creds=ann:pw", reference="reg.example/a")
    assert users(parsed, {"PYBUILD_CREDS": "bob:pw"}) == {"reg.example": "ann:pw"}
    assert users(argparse.Namespace(), {"PYBUILD_CREDS": "bob:pw"}) == {}


@pytest.mark.parametrize("references", [{}, {"reference": ["reg.example/a", "other.example/b"]}])
def test_a_variable_that_may_be_for_any_registry_is_for_none(
    references: dict[str, object], capfd: pytest.CaptureFixture[str]
) -> None:
    env = {"PYBUILD_CREDS": "ann:s3cret\ndocker.io=bob:pw"}
    reporter = make_reporter("plain", sys.stderr)
    source = credential_source(options(**references), env, reporter)()
    assert source.find("reg.example") is None
    assert source.find("docker.io") is not None
    said = capfd.readouterr().err
    assert "$PYBUILD_CREDS does not say which registry it is for" in said
    assert "s3cret" not in said


@pytest.mark.parametrize(
    ("given", "references", "what"),
    [
        (["ann:s3cret"], {}, "which registry"),
        (["ann:s3cret"], {"source": "oci-layout://x"}, "which registry"),
        (["ann:s3cret"], {"reference": ["reg.example/a", "other.example/b"]}, "reg.example, other.example"),
        ([":s3cret"], {"reference": "a"}, "no user name"),
        (["ann:"], {"reference": "a"}, "empty password"),
        (["ann"], {"reference": "a"}, "nobody can be asked"),
        (["ann:s3cret", "bob:s3cret"], {"reference": "a"}, "two accounts"),
        (["docker.io=ann:s3cret", "index.docker.io=bob:s3cret"], {}, "two accounts"),
    ],
)
def test_creds_that_cannot_be(
    given: list[str], references: dict[str, object], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(UsageError) as caught:
        users(options(*(f"--creds={one}" for one in given), **references))
    assert what in str(caught.value)
    assert "s3cret" not in f"{caught.value} {caught.value.hint}"


def test_a_password_that_is_left_out_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(accounts, "ask", lambda question: asked.append(question) or "typed")
    assert users(options("--creds=ann", reference="reg.example/a")) == {"reg.example": "ann:typed"}
    assert asked == ["Password of ann for reg.example"]


def test_a_file_of_accounts_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        users(options("--authfile", str(tmp_path / "absent")))
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"auths": {"reg.example": {"auth": PAIR}}}))
    assert users(options("--authfile", str(path))) == {"reg.example": f"ann:{PASSWORD}"}

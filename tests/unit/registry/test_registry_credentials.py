"""Where accounts are found, in which order, and what never shows."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from builder.registry.credentials import ConfiguredCredentials, Credential
from builder.registry.errors import AuthenticationError


def auth(user: str, password: str = "pw") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def helper(tmp_path: Path, name: str, script: str) -> str:
    program = tmp_path / "bin" / f"docker-credential-{name}"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return f"{program.parent}:/usr/bin:/bin"


def user_of(environment: dict[str, str], registry: str, repository: str = "") -> str | None:
    found = ConfiguredCredentials(environment).find(registry, repository)
    return None if found is None else found.username or found.identity_token


def test_without_any_file_everyone_is_anonymous(tmp_path: Path) -> None:
    assert user_of({}, "reg.example") is None
    assert user_of({"HOME": str(tmp_path / "absent")}, "reg.example") is None


def test_the_order_of_sources(tmp_path: Path) -> None:
    def one(user: str) -> dict[str, object]:
        return {"auths": {"reg.example": auth(user)}}

    environment = {"DOCKER_AUTH_CONFIG": json.dumps(one("inline"))}
    environment["REGISTRY_AUTH_FILE"] = str(write(tmp_path / "named.json", one("named")))
    write(tmp_path / "run/containers/auth.json", one("runtime"))
    environment["XDG_RUNTIME_DIR"] = str(tmp_path / "run")
    write(tmp_path / "config/containers/auth.json", one("xdg"))
    environment["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    write(tmp_path / "docker/config.json", one("docker"))
    environment["DOCKER_CONFIG"] = str(tmp_path / "docker")
    write(tmp_path / "home/.docker/config.json", one("home"))
    environment["HOME"] = str(tmp_path / "home")
    found = []
    order = ["DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "HOME"]
    for variable in order:
        found.append(user_of(environment, "reg.example"))
        del environment[variable]
    assert found == ["inline", "named", "runtime", "xdg", "docker", "home"]


def test_a_source_that_does_not_know_the_registry_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "run/containers/auth.json", {"auths": {"other.example": auth("other")}})
    write(tmp_path / "docker/config.json", {"auths": {"reg.example": auth("docker")}})
    environment = {"XDG_RUNTIME_DIR": str(tmp_path / "run"), "DOCKER_CONFIG": str(tmp_path / "docker")}
    assert user_of(environment, "reg.example") == "docker"


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("https://reg.example/v2/", "reg.example"),
        ("http://reg.example:5000", "reg.example:5000"),
        ("REG.example", "reg.example"),
    ],
)
def test_spellings_of_a_registry(key: str, registry: str) -> None:
    assert user_of({"DOCKER_AUTH_CONFIG": json.dumps({"auths": {key: auth("ann")}})}, registry, "a/b") == "ann"


@pytest.mark.parametrize(
    ("repository", "user"),
    [("a/b/c", "deep"), ("a/b", "deep"), ("a/bb", "team"), ("a", "team"), ("x", "host"), ("", "host")],
)
def test_the_longest_path_wins(repository: str, user: str) -> None:
    auths = {"reg.example": auth("host"), "reg.example/a": auth("team"), "reg.example/a/b": auth("deep")}
    assert user_of({"DOCKER_AUTH_CONFIG": json.dumps({"auths": auths})}, "reg.example", repository) == user


def test_forms_of_an_entry() -> None:
    auths = {
        "plain.example": {"username": "u", "password": "p:q"},
        "token.example": {"identitytoken": "idt", **auth("00000000-0000-0000-0000-000000000000", "")},
        "ready.example": {"registrytoken": "rt"},
        "empty.example": {},
        "colon.example": auth("u", "p:q"),
    }
    source = ConfiguredCredentials({"DOCKER_AUTH_CONFIG": json.dumps({"auths": auths})})
    plain, colon = source.find("plain.example"), source.find("colon.example")
    assert plain is not None
    assert colon is not None
    assert (plain.username, plain.password) == (colon.username, colon.password) == ("u", "p:q")
    identity, ready = source.find("token.example"), source.find("ready.example")
    assert identity is not None
    assert identity.identity_token == "idt"
    assert ready is not None
    assert ready.registry_token == "rt"
    assert source.find("empty.example") is None


@pytest.mark.parametrize(
    "text",
    [
        '{"auths": {"reg.example": {"auth": "s3cret not base64"}}}',
        '{"auths": {"reg.example": {"auth": "czNjcmV0"}}}',
        '["s3cret"]',
        '{"auths": s3cret',
    ],
)
def test_a_broken_source_is_an_error_that_does_not_quote_it(text: str) -> None:
    with pytest.raises(AuthenticationError) as caught:
        ConfiguredCredentials({"DOCKER_AUTH_CONFIG": text}).find("reg.example")
    assert "DOCKER_AUTH_CONFIG" in str(caught.value)
    assert "s3cret" not in f"{caught.value} {caught.value.hint} {caught.value.__cause__!r}"


def test_a_helper_of_the_registry(tmp_path: Path) -> None:
    path = helper(
        tmp_path, "mine", 'read s; echo "{\\"ServerURL\\":\\"$s\\",\\"Username\\":\\"$s\\",\\"Secret\\":\\"x\\"}"'
    )
    document = {"credHelpers": {"reg.example": "mine"}, "auths": {"reg.example": auth("file")}}
    environment = {"DOCKER_AUTH_CONFIG": json.dumps(document), "PATH": path}
    assert user_of(environment, "reg.example", "a/b") == "reg.example"


def test_the_store_is_asked_for_dockers_old_url_and_the_file_is_second(tmp_path: Path) -> None:
    script = 'read s; [ "$s" = https://index.docker.io/v1/ ] || { echo credentials not found; exit 1; }\n'
    path = helper(tmp_path, "all", script + 'echo "{\\"Username\\":\\"<token>\\",\\"Secret\\":\\"idt\\"}"')
    document = {"credsStore": "all", "auths": {"reg.example": auth("file"), "docker.io": {}}}
    environment = {"DOCKER_AUTH_CONFIG": json.dumps(document), "PATH": path}
    assert user_of(environment, "docker.io") == "idt"
    assert user_of(environment, "reg.example") == "file"


@pytest.mark.parametrize("script", ["echo s3cret; exit 1", 'echo \'{"Secret":"s3cret"}\'', "echo s3cret"])
def test_a_helper_that_fails_is_an_error_without_what_it_said(tmp_path: Path, script: str) -> None:
    environment = {
        "DOCKER_AUTH_CONFIG": '{"credHelpers": {"reg.example": "bad"}}',
        "PATH": helper(tmp_path, "bad", script),
    }
    with pytest.raises(AuthenticationError) as caught:
        ConfiguredCredentials(environment).find("reg.example")
    assert "docker-credential-bad" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_helper_that_hangs(tmp_path: Path) -> None:
    environment = {
        "DOCKER_AUTH_CONFIG": '{"credHelpers": {"reg.example": "slow"}}',
        "PATH": helper(tmp_path, "slow", "exec sleep 60"),
    }
    with pytest.raises(AuthenticationError, match="no answer"):
        ConfiguredCredentials(environment, helper_seconds=0.1).find("reg.example")


@pytest.mark.parametrize("name", ["../evil", "a/b", "absent-from-path"])
def test_a_helper_that_is_none(name: str, tmp_path: Path) -> None:
    environment = {"DOCKER_AUTH_CONFIG": json.dumps({"credHelpers": {"reg.example": name}}), "PATH": str(tmp_path)}
    with pytest.raises(AuthenticationError):
        ConfiguredCredentials(environment).find("reg.example")


def test_no_secret_in_a_representation() -> None:
    credential = Credential(username="ann", password="s3cret", identity_token="s3cret", registry_token="s3cret")
    assert "s3cret" not in repr(credential)

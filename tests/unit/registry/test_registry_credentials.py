"""Where accounts are found, in which order, and what never shows."""

from __future__ import annotations

import base64
import errno
import json
import os
from pathlib import Path

import pytest

from builder.registry.credentials import ConfiguredCredentials, Credential, GivenCredentials, NoCredentials
from builder.registry.errors import AuthenticationError
from tests.support.credentials import StaticCredentials, write_helper


def auth(user: str, password: str = "pw") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def helper(tmp_path: Path, name: str, script: str) -> str:
    write_helper(tmp_path / "bin", name, script)
    return f"{tmp_path / 'bin'}:/usr/bin:/bin"


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


@pytest.mark.parametrize(
    ("keys", "registry", "repository", "expected"),
    [
        # The longest path of the repository that has an entry; parts of names do not count.
        (["reg.example", "reg.example/a"], "reg.example", "a/b", "reg.example/a"),
        (["reg.example/a"], "reg.example", "ab", None),
        (["reg.example/a"], "reg.example", "", None),
        (["reg.example/a/b/c"], "reg.example", "a/b", None),
        # A port is part of the name.
        (["reg.example"], "reg.example:5000", "a", None),
        (["reg.example:5000"], "reg.example", "a", None),
        (["reg.example:5000", "reg.example"], "reg.example:5000", "a", "reg.example:5000"),
        (["reg.example:5000/a"], "reg.example:5000", "a", "reg.example:5000/a"),
        (["[::1]:5000"], "[::1]:5000", "a", "[::1]:5000"),
        # URLs, as old Dockers wrote them: of any path they mean the host, but the path where it fits.
        (["https://reg.example"], "reg.example", "a", "https://reg.example"),
        (["https://reg.example/v1/"], "reg.example", "a", "https://reg.example/v1/"),
        (["http://reg.example/v2/"], "reg.example", "a", "http://reg.example/v2/"),
        (["https://reg.example/team/"], "reg.example", "other", "https://reg.example/team/"),
        (["https://reg.example/t", "https://reg.example/u"], "reg.example", "u/x", "https://reg.example/u"),
        (["https://reg.example/team/", "reg.example"], "reg.example", "other", "reg.example"),
        (["https://reg.example:5000"], "reg.example", "a", None),
        # The plain name wins over its URLs, wherever it stands.
        (["https://reg.example/v2/", "reg.example"], "reg.example", "a", "reg.example"),
        (["reg.example", "https://reg.example/v2/"], "reg.example", "a", "reg.example"),
        # Docker Hub has many names.
        (["https://index.docker.io/v1/"], "docker.io", "library/busybox", "https://index.docker.io/v1/"),
        (["registry-1.docker.io"], "docker.io", "a/b", "registry-1.docker.io"),
        (["docker.io/team", "docker.io"], "docker.io", "team/app", "docker.io/team"),
        (["docker.io/team"], "docker.io", "library/busybox", None),
        (["docker.io"], "registry-1.docker.io", "a/b", "docker.io"),
        (["index.docker.io"], "auth.docker.io", "a/b", None),
        # Names of hosts have no case; other hosts are other hosts.
        (["Reg.Example"], "reg.example", "a", "Reg.Example"),
        (["evil-reg.example"], "reg.example", "a", None),
        (["example"], "reg.example", "a", None),
        (["*.example"], "reg.example", "a", None),
        ([""], "reg.example", "a", None),
    ],
)
def test_how_keys_match(keys: list[str], registry: str, repository: str, expected: str | None) -> None:
    text = json.dumps({"auths": {key: auth(key.replace(":", ";") or "empty") for key in keys}})
    found = ConfiguredCredentials({"DOCKER_AUTH_CONFIG": text}).find(registry, repository)
    assert (found.key if found else None) == expected
    if found is not None:
        assert found.username == found.key.replace(":", ";")


def test_a_named_file_takes_the_place_of_the_sessions(tmp_path: Path) -> None:
    write(tmp_path / "run/containers/auth.json", {"auths": {"run.example": auth("run")}})
    write(tmp_path / "home/.docker/config.json", {"auths": {"docker.example": auth("docker")}})
    named = write(tmp_path / "named.json", {"auths": {"named.example": auth("named")}})
    inline = json.dumps({"auths": {"inline.example": auth("inline")}})
    plain = {"HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path / "run"), "DOCKER_AUTH_CONFIG": inline}

    def known(source: ConfiguredCredentials) -> list[str]:
        names = ("inline", "named", "run", "docker")
        return [name for name in names if source.find(f"{name}.example") is not None]

    assert known(ConfiguredCredentials(plain)) == ["inline", "run", "docker"]
    assert known(ConfiguredCredentials({**plain, "REGISTRY_AUTH_FILE": str(named)})) == ["inline", "named", "docker"]
    assert known(ConfiguredCredentials(plain, authfile=named)) == ["named", "docker"]
    absent = {**plain, "REGISTRY_AUTH_FILE": str(tmp_path / "absent")}
    assert known(ConfiguredCredentials(absent)) == ["inline", "docker"]
    with pytest.raises(AuthenticationError, match="absent"):
        ConfiguredCredentials(plain, authfile=tmp_path / "absent").find("reg.example")


def test_what_is_no_file_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "home/.docker").mkdir(parents=True)
    os.mkfifo(tmp_path / "home/.docker/config.json")
    (tmp_path / "run/containers/auth.json").mkdir(parents=True)
    os.makedirs(tmp_path / "config/containers")
    os.symlink("/dev/zero", tmp_path / "config/containers/auth.json")
    environment = {"HOME": "home", "XDG_RUNTIME_DIR": "run", "XDG_CONFIG_HOME": "config"}
    assert user_of({name: f"{tmp_path}/{value}" for name, value in environment.items()}, "reg.example") is None
    assert user_of({"REGISTRY_AUTH_FILE": "/dev/null"}, "reg.example") is None
    with pytest.raises(AuthenticationError, match="larger"):
        user_of({"REGISTRY_AUTH_FILE": "/dev/zero"}, "reg.example")


def test_a_file_that_was_named_may_be_a_pipe() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        stream.write(json.dumps({"auths": {"reg.example": auth("ann")}}))
    try:
        assert user_of({"REGISTRY_AUTH_FILE": f"/dev/fd/{reading}"}, "reg.example") == "ann"
    finally:
        os.close(reading)


def test_dockers_oldest_file_is_read_last(tmp_path: Path) -> None:
    write(tmp_path / ".dockercfg", {"https://index.docker.io/v1/": auth("old")})
    assert user_of({"HOME": str(tmp_path)}, "docker.io", "a/b") == "old"


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


def test_a_helper_of_a_path_and_none_for_another(tmp_path: Path) -> None:
    path = helper(tmp_path, "mine", 'read s; echo "{\\"Username\\":\\"$s\\",\\"Secret\\":\\"x\\"}"')
    document = {
        "credsStore": "mine",
        "credHelpers": {"reg.example/team": "mine", "file.example": ""},
        "auths": {"reg.example/file": auth("path"), "file.example": auth("file")},
    }
    environment = {"DOCKER_AUTH_CONFIG": json.dumps(document), "PATH": path}
    assert user_of(environment, "reg.example", "team/app") == "reg.example/team"
    assert user_of(environment, "reg.example", "other") == "reg.example"
    assert user_of(environment, "reg.example", "file/app") == "path"
    assert user_of(environment, "file.example", "app") == "file"


def test_the_hub_goes_by_two_names_in_helpers(tmp_path: Path) -> None:
    script = (
        '[ "$(cat)" = docker.io ] || { echo credentials not found; exit 1; }\necho \'{"Username":"u","Secret":"x"}\''
    )
    environment = {"DOCKER_AUTH_CONFIG": '{"credsStore": "all"}', "PATH": helper(tmp_path, "all", script)}
    assert user_of(environment, "docker.io", "a/b") == "u"


@pytest.mark.parametrize("script", [None, "echo s3cret; exit 1", "echo s3cret"])
def test_a_store_that_does_not_work_is_a_warning(tmp_path: Path, script: str | None) -> None:
    path = helper(tmp_path, "bad", script) if script else "/nowhere"
    document = {"credsStore": "bad", "auths": {"reg.example": auth("file")}}
    said: list[str] = []
    source = ConfiguredCredentials({"DOCKER_AUTH_CONFIG": json.dumps(document), "PATH": path}, warn=said.append)
    found = source.find("reg.example")
    assert found is not None
    assert found.username == "file"
    assert source.find("reg.example") == found
    assert len(said) == 1
    assert "docker-credential-bad" in said[0]
    assert "s3cret" not in said[0]


def counting(tmp_path: Path) -> dict[str, str]:
    """A helper whose password is another one every time."""
    script = 'echo x >> "$kept/asked"; echo "{\\"Username\\":\\"u\\",\\"Secret\\":\\"$(wc -l < "$kept/asked")\\"}"'
    return {"DOCKER_AUTH_CONFIG": '{"credsStore": "count"}', "PATH": helper(tmp_path, "count", script)}


def test_a_refused_password_is_asked_for_again_once_for_all_threads(tmp_path: Path) -> None:
    source = ConfiguredCredentials(counting(tmp_path))
    first = source.find("reg.example", "a")
    assert first is not None
    assert source.find("reg.example", "b") == first
    other = source.find("other.example")
    second = source.renew(first, "reg.example", "a")
    assert second is not None
    assert not first.same_account(second)
    assert source.renew(first, "reg.example", "b") == second
    assert source.find("reg.example") == second
    assert source.find("other.example") == other


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sudo docker login` leaves one that is root's; root itself may read everything, so the refusal is made here."""
    path = write(tmp_path / ".docker/config.json", {"auths": {"reg.example": auth("ann")}})
    reads, heard = os.open, list[str]()

    def refusing(name: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if str(name) == str(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(name))
        return reads(name, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refusing)
    source = ConfiguredCredentials({"HOME": str(tmp_path)}, warn=heard.append)
    assert source.find("reg.example") is None
    assert source.find("other.example") is None
    assert heard == [f"cannot read the accounts in {path}: Permission denied; going on without it"]


def test_a_file_that_was_rewritten_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "auth.json", {"auths": {"reg.example": auth("ann", "old")}})
    source = ConfiguredCredentials({"REGISTRY_AUTH_FILE": str(path)})
    old = source.find("reg.example")
    assert old is not None
    assert source.renew(old, "reg.example") is None
    write(path, {"auths": {"reg.example": auth("ann", "new")}})
    assert source.find("reg.example") == old
    new = source.renew(old, "reg.example")
    assert new is not None
    assert new.password == "new"
    path.unlink()
    assert source.renew(new, "reg.example") is None
    assert source.find("reg.example") is None


def test_given_accounts_are_for_their_registries_only() -> None:
    given, other = Credential(username="given", password="x"), Credential(username="other", password="y")
    configured = StaticCredentials(other, ["reg.example", "docker.io", "reg.example:5000"])
    source = GivenCredentials({"reg.example": given, "index.docker.io": given}, configured)
    assert source.find("reg.example", "a") == given
    assert source.find("docker.io", "a") == given
    assert source.find("reg.example:5000", "a") == other
    assert source.find("x.example", "a") is None
    assert source.renew(given, "reg.example") is None
    assert configured.refused == []
    source.renew(other, "reg.example:5000")
    assert configured.refused == [other]


def test_nobody_has_nothing() -> None:
    assert NoCredentials().find("reg.example") is None
    assert NoCredentials().renew(Credential(), "reg.example") is None

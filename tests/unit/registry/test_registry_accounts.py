"""Logins that are stored and removed: which file or helper, how the file is written, what stays as it was."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import stat
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.errors import OutputError, UsageError
from builder.registry import authedit
from builder.registry.accounts import Accounts
from builder.registry.authedit import edit
from builder.registry.credentials import ConfiguredCredentials
from builder.registry.errors import AuthenticationError
from tests.support.credentials import write_helper
from tests.support.need import need_root

HUB = "https://index.docker.io/v1/"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def environment(home: Path, tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(home), "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path / "run")}


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def auth(user: str, password: str = "pw") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def auths_of(path: Path) -> Any:
    return json.loads(path.read_text())["auths"]


def user_of(environment: dict[str, str], registry: str, repository: str = "") -> str | None:
    found = ConfiguredCredentials(environment).find(registry, repository)
    return None if found is None else found.username


def test_a_first_login_makes_dockers_file_for_its_owner_alone(environment: dict[str, str], home: Path) -> None:
    stored = Accounts(environment).store("reg.example", "ann", "s3cret")
    path = home / ".docker/config.json"
    assert (stored.where, stored.plain, stored.hidden_by) == (str(path), True, "")
    assert auths_of(path) == {"reg.example": auth("ann", "s3cret")}
    assert [stat.S_IMODE(one.stat().st_mode) for one in (path, path.parent, home)] == [0o600, 0o700, 0o700]
    assert sorted(one.name for one in path.parent.iterdir()) == ["config.json"]
    assert user_of(environment, "reg.example") == "ann"


def test_where_a_login_goes(environment: dict[str, str], home: Path, tmp_path: Path) -> None:
    where = lambda: Accounts(environment).store("reg.example", "ann", "pw").where  # noqa: E731  asked six times
    session = write(tmp_path / "run/containers/auth.json", {})
    assert where() == str(session)
    session.write_text("{}")
    docker = write(home / ".docker/config.json", {})
    assert where() == str(docker)
    write(session, {"auths": {"reg.example": auth("old")}})
    assert where() == str(session)
    session.write_text("{}")
    docker.write_text("{}")
    environment["DOCKER_CONFIG"] = str(tmp_path / "other")
    assert where() == str(tmp_path / "other/config.json")
    environment["REGISTRY_AUTH_FILE"] = str(tmp_path / "named.json")
    assert where() == str(tmp_path / "named.json")
    given = tmp_path / "given.json"
    assert Accounts(environment, given).store("reg.example", "ann", "pw").where == str(given)


def test_without_a_home_there_is_no_place() -> None:
    with pytest.raises(UsageError, match="no home"):
        Accounts({}).store("reg.example", "ann", "pw")


@pytest.mark.parametrize(("username", "password"), [("", "pw"), ("a:b", "pw"), ("ann", "")])
def test_what_is_no_account(environment: dict[str, str], username: str, password: str) -> None:
    with pytest.raises(UsageError):
        Accounts(environment).store("reg.example", username, password)


def test_other_settings_their_order_and_the_indentation_stay(environment: dict[str, str], home: Path) -> None:
    path = home / ".docker/config.json"
    path.parent.mkdir(parents=True)
    before = '{\n  "z": {"b": 1, "a": "é"},\n  "auths": {"x.example": {"auth": "eDp5"}},\n  "A": []\n}\n'
    path.write_text(before)
    Accounts(environment).store("reg.example", "ann", "pw")
    after = json.loads(path.read_text())
    assert list(after) == ["z", "auths", "A"]
    assert list(after["z"]) == ["b", "a"]
    assert list(after["auths"]) == ["x.example", "reg.example"]
    assert '\n  "auths": {' in path.read_text()
    assert "é" in path.read_text()
    assert path.read_text().endswith("}\n")
    Accounts(environment).remove("reg.example")
    assert json.loads(path.read_text()) == json.loads(before)


def test_a_login_replaces_every_spelling_and_keeps_fields_it_does_not_know(
    environment: dict[str, str], home: Path
) -> None:
    auths = {
        "https://reg.example/v2/": {**auth("old"), "email": "a@b"},
        "reg.example": {"identitytoken": "x", "note": 1},
        "reg.example/team": auth("team"),
    }
    path = write(home / ".docker/config.json", {"auths": auths})
    Accounts(environment).store("reg.example", "ann", "pw")
    assert auths_of(path) == {"reg.example": {"note": 1, **auth("ann")}, "reg.example/team": auth("team")}


@pytest.mark.parametrize(("name", "key"), [("config.json", HUB), ("auth.json", "docker.io")])
def test_docker_hub_is_called_as_the_files_program_does(
    environment: dict[str, str], tmp_path: Path, name: str, key: str
) -> None:
    path = write(tmp_path / name, {"auths": {"index.docker.io": auth("old"), "docker.io": auth("older")}})
    Accounts(environment, path).store("docker.io", "ann", "pw")
    assert auths_of(path) == {key: auth("ann")}
    environment["REGISTRY_AUTH_FILE"] = str(path)
    assert user_of(environment, "docker.io", "library/busybox") == "ann"


def test_a_login_for_a_path(environment: dict[str, str]) -> None:
    accounts = Accounts(environment)
    accounts.store("reg.example", "ann", "pw")
    accounts.store("reg.example/team", "bob", "pw")
    assert user_of(environment, "reg.example", "team/app") == "bob"
    assert user_of(environment, "reg.example", "other") == "ann"
    accounts.remove("reg.example/team")
    assert user_of(environment, "reg.example", "team/app") == "ann"


NAMES = st.from_regex(r"[a-z0-9]{1,8}\.example(:[0-9]{2,4})?(/[a-z]{1,4}){0,2}", fullmatch=True) | st.just("docker.io")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(NAMES, st.just(auth("other")), max_size=4),
    st.dictionaries(st.text(max_size=5), JSON, max_size=3),
    NAMES,
    st.text(min_size=1, max_size=20),
)
def test_a_login_is_found_and_a_logout_leaves_what_was_there(
    others: dict[str, Any], fields: dict[str, Any], registry: str, password: str
) -> None:
    fields = {name: value for name, value in fields.items() if name not in ("auths", "credHelpers", "credsStore")}
    others.pop(registry, None)
    before = {**fields, "auths": others}
    with tempfile.TemporaryDirectory() as directory:
        path = write(Path(directory, "auth.json"), before)
        accounts = Accounts({}, path)
        if "\0" not in password and password.isprintable():
            accounts.store(registry, "ann", password)
            host, _, repository = registry.partition("/")
            found = ConfiguredCredentials({}, authfile=path).find(host, f"{repository}/x".lstrip("/"))
            assert found is not None
            assert (found.username, found.password) == ("ann", password)
            assert accounts.remove(registry).where == (str(path),)
        assert json.loads(path.read_text()) == before
        assert list(json.loads(path.read_text())) == list(before)


def test_a_link_is_followed_and_stays(environment: dict[str, str], home: Path, tmp_path: Path) -> None:
    real = write(tmp_path / "dotfiles/docker.json", {"auths": {}})
    link = home / ".docker/config.json"
    link.parent.mkdir(parents=True)
    link.symlink_to("../../dotfiles/docker.json")
    Accounts(environment).store("reg.example", "ann", "pw")
    assert link.is_symlink()
    assert "reg.example" in auths_of(real)
    assert stat.S_IMODE(real.stat().st_mode) == 0o600


def test_a_link_to_nothing_yet(environment: dict[str, str], tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to("made/later.json")
    Accounts(environment, link).store("reg.example", "ann", "pw")
    assert "reg.example" in auths_of(tmp_path / "made/later.json")


def test_what_is_no_file(environment: dict[str, str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/null")):
        with pytest.raises(OutputError, match="no regular file"):
            Accounts(environment, path).store("reg.example", "ann", "s3cret")
    with pytest.raises(OutputError, match="directory"):
        Accounts(environment, tmp_path).store("reg.example", "ann", "s3cret")


@pytest.mark.parametrize("text", ['{"auths": s3cret', "[]", '{"auths": []}'])
def test_a_broken_file_stays_as_it_is(environment: dict[str, str], tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(AuthenticationError) as caught:
        Accounts(environment, path).store("reg.example", "ann", "pw")
    assert "s3cret" not in str(caught.value)
    assert path.read_text() == text


def test_a_file_of_somebody_else(environment: dict[str, str]) -> None:
    need_root()
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        path = write(Path(directory, "theirs.json"), {})
        os.chown(path, 12345, 12346)
        Accounts(environment, path).store("reg.example", "ann", "pw")
        found = path.stat()
        assert (found.st_uid, found.st_gid) == (12345, 12346)  # root writes for them
        os.chmod(path, 0o666)
        os.seteuid(12347)
        try:
            with pytest.raises(OutputError, match="another user"):
                Accounts(environment, path).store("reg.example", "eve", "s3cret")
        finally:
            os.seteuid(0)
        assert auths_of(path) == {"reg.example": auth("ann")}


def test_a_failed_write_leaves_the_old_file(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "auth.json", {"auths": {"x.example": auth("x")}})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(authedit.os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        Accounts(environment, path).store("reg.example", "ann", "pw")
    assert auths_of(path) == {"x.example": auth("x")}
    assert sorted(one.name for one in tmp_path.iterdir()) == ["auth.json"]


def test_a_file_that_is_mounted_by_itself_is_overwritten(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "auth.json", {"auths": {"x.example": auth("x"), "long.example": auth("y" * 2000)}})

    def busy(*_: object) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(authedit.os, "rename", busy)
    Accounts(environment, path).remove("long.example")
    assert auths_of(path) == {"x.example": auth("x")}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(one.name for one in tmp_path.iterdir()) == ["auth.json"]


def test_logins_at_the_same_time_lose_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "new/auth.json"
    failed: list[BaseException] = []

    def log_in(number: int) -> None:
        try:
            Accounts(environment, path).store(f"r{number}.example", "ann", "pw")
        except BaseException as error:  # noqa: BLE001  shown below
            failed.append(error)

    threads = [threading.Thread(target=log_in, args=(number,)) for number in range(20)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failed == []
    assert set(auths_of(path)) == {f"r{number}.example" for number in range(20)}


def test_a_lock_that_is_never_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authedit, "LOCK_SECONDS", 0.0)
    held = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="lock"):
            edit(tmp_path / "auth.json", lambda _: True)
    finally:
        os.close(held)


def test_a_helper_gets_the_account_and_the_file_nothing(
    environment: dict[str, str], home: Path, tmp_path: Path
) -> None:
    kept = write_helper(tmp_path / "bin", "mine")
    path = write(home / ".docker/config.json", {"credsStore": "mine", "auths": {"reg.example": auth("old", "s3cret")}})
    stored = Accounts(environment).store("reg.example", "ann", "s3cret")
    assert (stored.plain, stored.hidden_by) == (False, "")
    assert "docker-credential-mine" in stored.where
    assert json.loads((kept / "reg.example").read_text()) == {
        "ServerURL": "reg.example",
        "Username": "ann",
        "Secret": "s3cret",
    }
    assert auths_of(path) == {"reg.example": {}}
    assert user_of(environment, "reg.example") == "ann"
    removed = Accounts(environment).remove("reg.example")
    assert removed.where == (f"docker-credential-mine, named in {path} (credsStore)",)
    assert list(kept.iterdir()) == []
    assert auths_of(path) == {}
    assert Accounts(environment).remove("reg.example").where == ()


def test_the_registrys_own_helper_comes_first_and_none_means_the_file(
    environment: dict[str, str], home: Path, tmp_path: Path
) -> None:
    own, every = write_helper(tmp_path / "bin", "own"), write_helper(tmp_path / "bin", "every")
    helpers = {"own.example": "own", "file.example": ""}
    path = write(home / ".docker/config.json", {"credsStore": "every", "credHelpers": helpers})
    for registry in ("own.example", "file.example", "docker.io"):
        Accounts(environment).store(registry, "ann", "pw")
        assert user_of(environment, registry) == "ann"
    assert [one.name for one in own.iterdir()] == ["own.example"]
    assert [json.loads(one.read_text())["ServerURL"] for one in every.iterdir()] == [HUB]
    assert auths_of(path) == {"own.example": {}, "file.example": auth("ann"), HUB: {}}


def test_a_helper_keeps_no_accounts_of_paths(environment: dict[str, str], home: Path) -> None:
    write(home / ".docker/config.json", {"credHelpers": {"reg.example": "own"}})
    with pytest.raises(UsageError, match="whole registries"):
        Accounts(environment).store("reg.example/team", "ann", "pw")


def test_a_helper_that_fails_keeps_the_file_as_it_is(environment: dict[str, str], home: Path, tmp_path: Path) -> None:
    write_helper(tmp_path / "bin", "bad", "cat; exit 1")
    path = write(home / ".docker/config.json", {"credsStore": "bad", "auths": {"reg.example": auth("old")}})
    with pytest.raises(AuthenticationError) as caught:
        Accounts(environment).store("reg.example", "ann", "s3cret")
    assert "s3cret" not in f"{caught.value} {caught.value.hint} {caught.value.__cause__!r}"
    assert auths_of(path) == {"reg.example": auth("old")}


def test_a_logout_is_from_every_file(environment: dict[str, str], home: Path, tmp_path: Path) -> None:
    document = {"auths": {"reg.example": auth("ann"), "x.example": auth("x")}}
    files = [
        write(tmp_path / "run/containers/auth.json", document),
        write(home / ".config/containers/auth.json", document),
        write(home / ".docker/config.json", document),
        write(home / ".dockercfg", document["auths"]),
    ]
    environment["DOCKER_AUTH_CONFIG"] = json.dumps(document)
    removed = Accounts(environment).remove("reg.example")
    assert removed.where == tuple(map(str, files))
    assert removed.left == ("$DOCKER_AUTH_CONFIG",)
    assert json.loads(files[3].read_text()) == {"x.example": auth("x")}
    assert set(Accounts(environment).registries()) == {"x.example"}
    assert Accounts(environment, files[0]).remove("x.example").where == (str(files[0]),)
    assert user_of({**environment, "DOCKER_AUTH_CONFIG": ""}, "x.example") == "x"


def test_what_there_is_to_log_out_of(environment: dict[str, str], home: Path, tmp_path: Path) -> None:
    write_helper(tmp_path / "bin", "every")
    write(home / ".docker/config.json", {"credsStore": "every", "credHelpers": {"own.example": "absent"}})
    Accounts(environment).store("docker.io", "ann", "pw")
    assert Accounts(environment).registries() == ("docker.io", "own.example")


def test_a_store_that_is_not_there_is_passed_over_with_a_warning(environment: dict[str, str], home: Path) -> None:
    write(home / ".docker/config.json", {"credsStore": "desktop", "auths": {"reg.example": auth("ann")}})
    said: list[str] = []
    accounts = Accounts(environment, warn=said.append)
    assert accounts.registries() == ("reg.example",)
    assert accounts.remove("reg.example").where == (str(home / ".docker/config.json"),)
    assert len(said) == 2
    assert all("docker-credential-desktop" in one for one in said)


def test_a_helper_that_cannot_forget(environment: dict[str, str], home: Path, tmp_path: Path) -> None:
    script = (
        '[ "$1" = get ] && echo "{\\"Username\\":\\"AWS\\",\\"Secret\\":\\"x\\"}" || { echo not implemented; exit 1; }'
    )
    write_helper(tmp_path / "bin", "ecr", script)
    path = write(home / ".docker/config.json", {"credHelpers": {"reg.example": "ecr"}, "auths": {"reg.example": {}}})
    said: list[str] = []
    removed = Accounts(environment, warn=said.append).remove("reg.example")
    assert removed.where == ()
    assert removed.left == (f"docker-credential-ecr, named in {path} (credHelpers)",)
    assert "failed for reg.example" in said[0]
    assert json.loads(path.read_text()) == {"credHelpers": {"reg.example": "ecr"}, "auths": {}}


def test_a_variable_that_wins_is_named(environment: dict[str, str]) -> None:
    environment["DOCKER_AUTH_CONFIG"] = json.dumps({"auths": {"reg.example": auth("other")}})
    assert Accounts(environment).store("reg.example", "ann", "pw").hidden_by == "$DOCKER_AUTH_CONFIG (reg.example)"

"""pybuild.toml: where it is, what it may say, and how mistakes in it are named."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import UsageError
from builder.settings import (
    MapSettings,
    RegistrySettings,
    Settings,
    chosen_store,
    parse_settings,
    read_settings,
    settings_files,
)

FILE = Path("/home/u/pybuild.toml")


def parse(text: str) -> Settings:
    return parse_settings(text.encode(), FILE)


def test_a_file_with_everything() -> None:
    found = parse(
        """
        [registry."docker.io"]
        mirrors = ["https://mirror.example/hub", "second.example"]
        [registry."reg.example:5000"]
        insecure = true
        ca = "ca.pem"
        client-cert = "c.pem"
        client-key = "/abs/c.key"
        [registries]
        map = { "docker.io/library" = "reg.example/hub", "quay.io" = ["a.example", "quay.io"] }
        """
    )
    assert found == Settings(
        registries={
            "docker.io": RegistrySettings(
                mirrors=("https://mirror.example/hub", "second.example"),
                place=f'{FILE}:2: registry."docker.io"',
            ),
            "reg.example:5000": RegistrySettings(
                insecure=True,
                authorities=(Path("/home/u/ca.pem"),),
                client=(Path("/home/u/c.pem"), Path("/abs/c.key")),
                place=f'{FILE}:4: registry."reg.example:5000"',
            ),
        },
        maps={
            "docker.io/library": MapSettings(
                targets=("reg.example/hub",), place=f'{FILE}:10: registries.map."docker.io/library"'
            ),
            "quay.io": MapSettings(targets=("a.example", "quay.io"), place=f'{FILE}:10: registries.map."quay.io"'),
        },
    )


def test_an_empty_file_says_nothing() -> None:
    assert parse("") == parse("[registry]\n[registries]\n") == Settings()


def test_a_certificate_may_hold_its_key() -> None:
    assert parse("[registry.x]\nclient-cert = 'c'").registries["x"].client == (FILE.parent / "c", FILE.parent / "c")


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("x = ", "not TOML", None),
        ("[a]\n[a]", "not TOML", None),
        ("[" * 100_000, "not TOML", None),
        ("[registry.x]\nmirrors = ['a', \"b\\u0000\"]", "registry: expected texts without NUL", None),
        ('[store]\n"\\u0000" = 5', "store: expected texts without NUL", None),
        ("[registri]", "registri: there is no such setting", "did you mean"),
        ("[builds]", "builds: there is no such setting", "did you mean build?"),
        ("registry = 5", "registry: expected a table", None),
        ('[registry]\n"x.y" = 5', 'registry."x.y": expected a table', None),
        ('[registry."x.y"]\nmirror = []', 'registry."x.y".mirror: there is no such setting', "did you mean mirrors?"),
        ('[registry."x.y"]\nmirrors = [5]', 'registry."x.y".mirrors[0]: expected a text', None),
        ('[registry."x.y"]\nmirrors = ["a", ""]', 'registry."x.y".mirrors[1]: expected a text', None),
        ('[registry."x.y"]\nmirrors = 5', 'registry."x.y".mirrors: expected a text or a list of them', None),
        ('[registry."x.y"]\ninsecure = "yes"', 'registry."x.y".insecure: expected true or false', None),
        ('[registry."x.y"]\nca = ""', 'registry."x.y".ca: expected a text', None),
        ('[registry."x.y"]\nclient-cert = 5', 'registry."x.y".client-cert: expected a text', None),
        ('[registry."x.y"]\nclient-key = "k"', 'registry."x.y".client-key: it needs a client-cert', None),
        ("[registries]\nmaps = {}", "registries.maps: there is no such setting", "did you mean map?"),
        ("[registries]\nmap = []", "registries.map: expected a table", None),
        ("[registries.map]\n'a/b' = 5", 'registries.map."a/b": expected a text or a list of them', None),
    ],
)
def test_mistakes_are_named(text: str, problem: str, hint: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert re.sub(r":\d+: ", ": ", str(caught.value), count=1).startswith(f"{FILE}: {problem}")
    assert (hint or "") in (caught.value.hint or "")


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for written in (text, f"[registry.'{text}']", f"[registry.x]\nmirrors = ['{text}']"):
        with contextlib.suppress(UsageError):
            parse_settings(written.encode(errors="replace"), FILE)


# --- which files


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_named_file_is_the_only_one(tmp_path: Path) -> None:
    write(tmp_path / "config/pybuild/pybuild.toml", "")
    config = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    named = {**config, "PYBUILD_CONFIG": "/from/variable"}
    assert settings_files("/given", named) == (Path("/given"),)
    assert settings_files(None, named) == (Path("/from/variable"),)
    assert settings_files(None, config)[0] == tmp_path / "config/pybuild/pybuild.toml"


def test_the_users_file_is_below_home(tmp_path: Path) -> None:
    found = write(tmp_path / ".config/pybuild/pybuild.toml", "")
    assert settings_files(None, {"HOME": str(tmp_path)})[0] == found
    assert settings_files(None, {"HOME": str(tmp_path), "XDG_CONFIG_HOME": ""})[0] == found


def test_files_of_the_directory_one_is_in_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("", "config", ".config", "pybuild", ".config/pybuild", "config/pybuild", "home/.config/pybuild"):
        write(tmp_path / place / "pybuild.toml", "broken")
    monkeypatch.chdir(tmp_path)
    for variables in ({}, {"HOME": ""}, {"HOME": "."}, {"HOME": "home", "XDG_CONFIG_HOME": "config"}):
        assert all(str(one).startswith("/etc/") for one in settings_files(None, variables))


def test_nearer_files_come_first_table_by_table(tmp_path: Path) -> None:
    near = write(
        tmp_path / "1/a.toml",
        "[registry.x]\nmirrors = ['near']\n[registries.map]\na = 'near'",
    )
    far = write(
        tmp_path / "2/b.toml",
        "[registry.x]\nmirrors = ['far']\nca = 'ca'\n[registry.y]\nca = 'ca'\n[registries.map]\na = 'far'\nb = 'far'",
    )
    found = read_settings([near, far])
    assert found.registries["x"] == RegistrySettings(mirrors=("near",), place=f"{near}:1: registry.x")
    assert found.registries["y"].authorities == (tmp_path / "2/ca",)
    assert {name: one.targets for name, one in found.maps.items()} == {"a": ("near",), "b": ("far",)}


@pytest.mark.parametrize("kind", ["missing", "directory", "large", "binary"])
def test_files_that_cannot_be_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "pybuild.toml"
    match kind:
        case "directory":
            path.mkdir()
        case "large":
            path.write_bytes(b"#" * ((1 << 20) + 1))
        case "binary":
            path.write_bytes(b"\xff\x00")
    with pytest.raises(UsageError) as caught:
        read_settings([path])
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 64


# --- the store


def test_where_the_store_is() -> None:
    found = parse("[store]\nroot = 'beside'\nread-only = '/abs'\nmax-size = '5g'\n")
    assert found.store_root == FILE.parent / "beside"
    assert found.store_ro == Path("/abs")
    assert chosen_store("given", {"PYBUILD_ROOT": "variable"}, found) == "given"
    assert chosen_store(None, {"PYBUILD_ROOT": "variable"}, found) is None
    assert chosen_store(None, {}, found) == found.store_root
    assert chosen_store(None, {}, Settings()) is None

"""Logins of ours and of skopeo's and podman's: each finds what the other kept, at Debian's registry."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import registry as registries
from tests.support import tokenserver
from tests.support.cli import environment, expect
from tests.support.need import need_tool
from tests.support.registry import TestRegistry

PASSWORD = "correct: horse"


@pytest.fixture(scope="module", params=["htpasswd", "token"])
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestRegistry]:
    directory = tmp_path_factory.mktemp("guarded")
    if request.param == "htpasswd":
        with registries.serve(directory / "registry", htpasswd={"ann": PASSWORD}) as running:
            yield running
        return
    with tokenserver.serve(directory / "token") as server:
        server.add_account("ann", PASSWORD, {"*": {"pull", "push"}})
        with registries.serve(directory / "registry", token=server) as running:
            yield running


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    given = {**os.environ, **environment(tmp_path / "store"), "HOME": str(tmp_path / "home")}
    names = ("DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME", "PYBUILD_CREDS")
    (tmp_path / "home").mkdir()
    (tmp_path / "run").mkdir()
    return {**{name: value for name, value in given.items() if name not in names}, "XDG_RUNTIME_DIR": f"{tmp_path}/run"}


def call(*words: str, env: dict[str, str], stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, env=env, input=stdin, capture_output=True, text=True, check=False)


def pybuild(*words: str, env: dict[str, str], stdin: str = "", status: int = 0) -> subprocess.CompletedProcess[str]:
    import sys

    done = call(sys.executable, "-m", "builder.cli.main", *words, env=env, stdin=stdin)
    expect(done, status)
    return done


@pytest.mark.parametrize("tool", ["skopeo", "podman"])
def test_what_we_keep_they_use(guarded: TestRegistry, env: dict[str, str], tool: str) -> None:
    program = need_tool(tool)
    wrong = pybuild("login", "-u", "ann", "--password-stdin", guarded.host, env=env, stdin="wrong", status=77)
    assert "check the user name" in wrong.stderr
    pybuild("login", "-u", "ann", "--password-stdin", guarded.host, env=env, stdin=PASSWORD)
    known = call(program, "login", "--get-login", guarded.host, env=env)
    assert known.stdout.strip() == "ann", known.stderr
    # Without a user name these two try the account that is kept.
    again = call(program, "login", "--tls-verify=false", guarded.host, env=env)
    assert again.returncode == 0, again.stderr
    pybuild("logout", guarded.host, env=env)
    assert call(program, "login", "--get-login", guarded.host, env=env).returncode != 0


@pytest.mark.parametrize("tool", ["skopeo", "podman"])
def test_what_they_keep_we_use(guarded: TestRegistry, env: dict[str, str], tool: str, tmp_path: Path) -> None:
    words = [need_tool(tool), "login", "--tls-verify=false", "-u", "ann", "--password-stdin", guarded.host]
    done = call(*words, env=env, stdin=PASSWORD)
    assert done.returncode == 0, done.stderr
    checked = json.loads(pybuild("login", "--check", "--json", f"{guarded.host}/a/b", env=env).stdout)
    assert checked["account"]["file"] == str(tmp_path / "run/containers/auth.json")
    assert checked["accepted"] is True
    assert str(tmp_path / "run/containers/auth.json") in pybuild("logout", guarded.host, env=env).stdout
    assert call(need_tool(tool), "login", "--get-login", guarded.host, env=env).returncode != 0


def test_paths_are_kept_as_containers_has_them(guarded: TestRegistry, env: dict[str, str]) -> None:
    skopeo = need_tool("skopeo")
    pybuild("login", "-u", "ann", "--password-stdin", f"{guarded.host}/team", env=env, stdin=PASSWORD)
    assert call(skopeo, "login", "--get-login", f"{guarded.host}/team/app", env=env).stdout.strip() == "ann"
    assert call(skopeo, "login", "--get-login", guarded.host, env=env).returncode != 0
    pybuild("login", "--check", f"{guarded.host}/team/app", env=env)
    pybuild("login", "--check", f"{guarded.host}/other/app", env=env, status=77)


def test_a_push_with_creds(guarded: TestRegistry, env: dict[str, str], busybox_layout: Path) -> None:
    target = f"{guarded.host}/mine/app:1"
    source = f"oci-layout://{busybox_layout}:latest"
    pybuild("copy", source, target, env=env, status=77)
    pybuild("copy", "--creds", f"ann:{PASSWORD}", source, target, env=env)
    pybuild("copy", source, target, env={**env, "PYBUILD_CREDS": f"{guarded.host}=ann:{PASSWORD}"})
    words = [need_tool("skopeo"), "inspect", "--tls-verify=false", f"--creds=ann:{PASSWORD}", f"docker://{target}"]
    assert json.loads(call(*words, env=env).stdout)["Digest"].startswith("sha256:")

"""Options and settings of registries: what they come to, and what is refused before any work."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.cli.dockerproxies import proxy_arguments
from builder.cli.options import parse
from builder.cli.registries import add_registry_options, session_settings
from builder.cli.requests import make_request
from builder.errors import UsageError
from builder.registry.hosts import Address
from builder.registry.routes import Routes
from builder.registry.trust import Trust
from tests.support.cli import pybuild, write_context
from tests.support.fake_registry import serve

HUB = "docker.io"


def made(*words: str, environment: Mapping[str, str] | None = None) -> Routes:
    parser = argparse.ArgumentParser()
    add_registry_options(parser)
    return session_settings(parser.parse_args(words), environment or {})().routes


def refused(*words: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        made(*words)
    return caught.value


@pytest.mark.parametrize(
    ("text", "host", "address"),
    [
        ("mirror.example", HUB, Address("", "mirror.example")),
        ("https://mirror.example/hub/", HUB, Address("https", "mirror.example", "/hub")),
        ("localhost:5000", HUB, Address("", "localhost:5000")),
        ("quay.io=https://mirror.example", "quay.io", Address("https", "mirror.example")),
        ("reg.example:5000=mirror.example:5000/p", "reg.example:5000", Address("", "mirror.example:5000", "/p")),
        ("index.docker.io=mirror.example", HUB, Address("", "mirror.example")),
    ],
)
def test_mirrors(text: str, host: str, address: Address) -> None:
    assert made("--registry-mirror", text).mirrors == {host: (address,)}


def test_mirrors_are_asked_in_the_order_given() -> None:
    found = made(
        "--registry-mirror", "a.example", "--registry-mirror", "docker.io=b.example", "--registry-mirror", "a.example"
    )
    assert [one.host for one in found.mirrors[HUB]] == ["a.example", "b.example"]


@pytest.mark.parametrize(
    ("words", "maps"),
    [
        (["docker.io/library=registry.local/hub"], {"docker.io/library": ("registry.local/hub",)}),
        (["docker.io=a.example", "docker.io=docker.io"], {"docker.io": ("a.example", "docker.io")}),
        (["index.docker.io=a.example;quay.io=b.c:5000/x"], {HUB: ("a.example",), "quay.io": ("b.c:5000/x",)}),
        (["localhost/a=localhost:5000/b"], {"localhost/a": ("localhost:5000/b",)}),
    ],
)  # fmt: skip
def test_maps(words: list[str], maps: dict[str, tuple[str, ...]]) -> None:
    assert made(*(f"--registry-map={word}" for word in words)).maps == maps


def test_insecure_registries() -> None:
    found = made("--insecure-registry", "Reg.example:5000", "--insecure-registry", "10.0.0.0/8")
    answers = {host: found.is_insecure(host) for host in ("reg.example:5000", "reg.example", "10.9.9.9", "11.0.0.1")}
    assert answers == {"reg.example:5000": True, "reg.example": False, "10.9.9.9": True, "11.0.0.1": False}


@pytest.mark.parametrize(
    ("option", "text", "problem"),
    [
        ("--registry-mirror", "", "there is no host in it"),
        ("--registry-mirror", "ftp://x", "it is neither http nor https"),
        ("--registry-mirror", "https://ann:s3cret@mirror.example", "an account does not belong into it"),
        ("--registry-mirror", "docker.io=https://ann:s3cret@mirror.example", "an account does not belong into it"),
        ("--registry-mirror", "docker.io=", "there is no host in it"),
        ("--registry-mirror", "=x", "there is no host in it"),
        ("--registry-mirror", "https://x?a=b", "there is no host in it"),
        ("--registry-map", "docker.io", "expected FROM=TO"),
        ("--registry-map", "docker.io=", "there is no host in it"),
        ("--registry-map", "library=x.example", "does not begin with a registry's host"),
        ("--registry-map", "docker.io=hub", "does not begin with a registry's host"),
        ("--registry-map", "docker.io=https://x.example", "does not begin with a registry's host"),
        ("--registry-map", "docker.io=x.example/Upper", "is no name of a repository"),
        ("--registry-map", "docker.io=ann:s3cret@x.example", "an account does not belong into it"),
        ("--insecure-registry", "https://x.example", "expected HOST or HOST:PORT"),
        ("--insecure-registry", "10.0.0.0/99", "neither a host nor a network"),
        ("--insecure-registry", "x.example/y", "neither a host nor a network"),
        ("--insecure-registry", "a b", "there is no host in it"),
    ],
)
def test_mistakes(option: str, text: str, problem: str) -> None:
    error = refused(option, text)
    assert problem in str(error)
    assert option in str(error)
    assert "s3cret" not in f"{error}{error.hint}"


# --- settings


def settings(directory: Path, text: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "pybuild.toml"
    path.write_text(text)
    return path


def test_settings_and_options_together(tmp_path: Path) -> None:
    path = settings(
        tmp_path,
        """
        [registry."docker.io"]
        mirrors = ["https://a.example", "b.example/hub"]
        [registry."REG.example"]
        insecure = true
        ca = ["ca.pem"]
        client-cert = "c.pem"
        [registry."index.docker.io"]
        mirrors = "c.example"
        [registries.map]
        "quay.io" = ["x.example", "quay.io"]
        "docker.io/library" = "y.example/hub"
        """,
    )
    found = made("--config", str(path), "--registry-mirror", "d.example", "--registry-map", "quay.io=z.example")
    assert [one.host for one in found.mirrors[HUB]] == ["d.example", "a.example", "b.example", "c.example"]
    assert found.maps == {"quay.io": ("z.example",), "docker.io/library": ("y.example/hub",)}
    assert found.is_insecure("reg.example")
    pair = (tmp_path / "c.pem", tmp_path / "c.pem")
    assert found.trusts == {"reg.example": Trust(authorities=(tmp_path / "ca.pem",), clients=(pair,))}
    assert made(environment={"PYBUILD_CONFIG": str(path)}).maps["quay.io"] == ("x.example", "quay.io")


def test_certificates_as_options(tmp_path: Path) -> None:
    for name in ("a.pem", "b.pem", "c.pem", "k.pem"):
        (tmp_path / name).write_text("")
    path = settings(tmp_path, '[registry."reg.example"]\nca = "b.pem"\nclient-cert = "b.pem"\n')
    authority, pair = f"{tmp_path}/a.pem", f"{tmp_path}/c.pem,{tmp_path}/k.pem"
    words = ("--registry-certificate", f"REG.example={authority}", "--registry-client-cert", f"reg.example={pair}")
    given, known = tmp_path / "a.pem", tmp_path / "b.pem"
    clients = ((tmp_path / "c.pem", tmp_path / "k.pem"),)
    assert made("--config", str(path), *words).trusts == {
        "reg.example": Trust(authorities=(given, known), clients=clients)
    }
    alone = made("--registry-client-cert", f"docker.io={given}", "--registry-certificate", f"index.docker.io={given}")
    assert alone.trusts == {"docker.io": Trust(authorities=(given,), clients=((given, given),))}
    for option, text, problem in (
        ("--registry-certificate", "x.y", "expected HOST=FILE"),
        ("--registry-certificate", "x.y=", "expected HOST=FILE"),
        ("--registry-certificate", "x.y=nosuch.pem", "there is no file nosuch.pem"),
        ("--registry-certificate", f"https://x.y={given}", "expected HOST or HOST:PORT"),
        ("--registry-client-cert", f"x.y={given},{given},{given}", "expected HOST=CERT[,KEY]"),
    ):
        assert problem in str(refused(option, text))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[registry."x"]\nmirrors = ["ok.example", "ftp://y"]', "registry.x.mirrors[1]: it is neither http nor https"),
        ('[registry."https://x.y"]\n', 'registry."https://x.y": expected HOST or HOST:PORT'),
        ('[registry."x y"]\n', 'registry."x y": there is no host in it'),
        ('[registries.map]\n"lib" = "x.y"', "registries.map.lib: lib does not begin with a registry's host"),
        ('[registries.map]\n"x.y" = []', 'registries.map."x.y": expected a name or several'),
        ('[registries.map]\n"x.y" = "u:s3cret@z"', 'registries.map."x.y": an account does not belong into it'),
    ],
)  # fmt: skip
def test_mistakes_in_settings(tmp_path: Path, text: str, problem: str) -> None:
    path = settings(tmp_path, text)
    file, _, told = str(refused("--config", str(path))).partition(":")
    assert file == str(path)
    assert told.partition(": ")[2].startswith(problem)


def test_certificates_are_looked_for_where_the_user_has_them(tmp_path: Path) -> None:
    home = tmp_path / ".config/containers/certs.d/reg.example"
    home.mkdir(parents=True)
    (home / "ca.crt").write_text("")
    found = made(environment={"HOME": str(tmp_path)}).trust("reg.example")
    assert found == Trust(authorities=(home / "ca.crt",))


# --- Docker's proxies

PROXIES = {
    "default": {"httpProxy": "http://p:1", "httpsProxy": "http://u:s3cret@p:1", "noProxy": "a,b", "allProxy": 5},
    "tcp://elsewhere": {"ftpProxy": "ftp://p"},
}  # fmt: skip


def docker(directory: Path, document: object) -> dict[str, str]:
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(document))
    return {"DOCKER_CONFIG": str(directory)}


def test_dockers_proxies_are_arguments_of_both_cases(tmp_path: Path) -> None:
    assert proxy_arguments(docker(tmp_path, {"proxies": PROXIES})) == {
        "HTTP_PROXY": "http://p:1",
        "http_proxy": "http://p:1",
        "HTTPS_PROXY": "http://u:s3cret@p:1",
        "https_proxy": "http://u:s3cret@p:1",
        "NO_PROXY": "a,b",
        "no_proxy": "a,b",
    }
    (tmp_path / ".docker").mkdir()
    (tmp_path / "config.json").rename(tmp_path / ".docker/config.json")
    assert len(proxy_arguments({"HOME": str(tmp_path)})) == 6


@pytest.mark.parametrize("document", [5, [], {}, {"proxies": 5}, {"proxies": {"default": []}}, {"proxies": {}}])
def test_other_configurations_have_none(tmp_path: Path, document: object) -> None:
    assert proxy_arguments(docker(tmp_path, document)) == {}


def test_no_configuration_has_none(tmp_path: Path) -> None:
    assert proxy_arguments({}) == proxy_arguments({"HOME": str(tmp_path)}) == {}
    (tmp_path / "config.json").write_text("{")
    assert proxy_arguments({"DOCKER_CONFIG": str(tmp_path)}) == {}


def test_a_build_argument_comes_before_dockers_proxy(tmp_path: Path) -> None:
    variables = {**docker(tmp_path, {"proxies": PROXIES}), "NO_PROXY": "mine"}
    options = parse("build", ["--build-arg", "HTTP_PROXY=", "--build-arg", "NO_PROXY", "."])
    found = make_request(options, variables).build_args
    assert (found["HTTP_PROXY"], found["http_proxy"], found["NO_PROXY"]) == ("", "http://p:1", "mine")


# --- the whole


def test_a_builds_base_comes_from_where_options_and_settings_say(tmp_path: Path) -> None:
    context = write_context(tmp_path / "context", "FROM scratch\nCOPY Dockerfile /\n")
    with serve() as mirror:
        names = ["--tag", f"{mirror.host}/hub/base:1", "--tag", f"{mirror.host}/library/base:1"]
        pybuild(*names, "--push", context, root=tmp_path / "store")
        (context / "Dockerfile").write_text("FROM docker.io/library/base:1\nLABEL a=b\n")
        mapped = settings(tmp_path / "mapped", f'[registries.map]\n"docker.io/library" = "{mirror.host}/hub"')
        mirrored = settings(tmp_path / "mirrored", f'[registry."docker.io"]\nmirrors = ["http://{mirror.host}"]')
        ways: list[tuple[list[str], dict[str, str], str]] = [
            (["--registry-map", f"docker.io/library={mirror.host}/hub"], {}, "/v2/hub/base/manifests/1"),
            (["--registry-mirror", mirror.host], {}, "/v2/library/base/manifests/1?ns=docker.io"),
            (["--config", str(mapped)], {}, "/v2/hub/base/manifests/1"),
            ([], {"PYBUILD_CONFIG": str(mirrored)}, "/v2/library/base/manifests/1?ns=docker.io"),
        ]
        for number, (options, variables, path) in enumerate(ways):
            mirror.seen.clear()
            pybuild(*options, context, root=tmp_path / f"store-{number}", env=variables)
            assert path in [one.path for one in mirror.seen]


def test_a_broken_setting_ends_a_build_before_any_work(tmp_path: Path) -> None:
    context = write_context(tmp_path / "context", "FROM scratch\nLABEL a=b\n")
    path = settings(tmp_path, "[registry.x]\nmirorrs = []\n")
    done = pybuild("--config", path, context, root=tmp_path / "store", status=64)
    assert f"{path}:2: registry.x.mirorrs: there is no such setting" in done.stderr
    assert "did you mean mirrors?" in done.stderr


@pytest.mark.parametrize("text", ["broken =", "[registry.x]", "[registries]", "[store]"])
def test_settings_of_a_project_are_refused(tmp_path: Path, text: str) -> None:
    context = write_context(tmp_path / "context", "FROM scratch\nLABEL a=b\n", {"pybuild.toml": text})
    pybuild(".", root=tmp_path / "store", cwd=context, status=64)
    pybuild("--no-project-config", ".", root=tmp_path / "store", cwd=context)

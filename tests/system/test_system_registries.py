"""Registries as networks have them: with authorities of their own, behind proxies, mirrored; all of the product."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import registry as registries
from tests.support.certificates import Authority, make_authority
from tests.support.cli import digest_of, pybuild, write_context
from tests.support.fake_registry import serve
from tests.support.images import read_image
from tests.support.tunnels import http_proxy, tls_front

PASSWORD = "planted-s3cret"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


def test_a_registry_with_an_authority_of_its_own(authority: Authority, tmp_path: Path) -> None:
    context = write_context(tmp_path / "context", "FROM scratch\nCOPY Dockerfile /\n")
    with registries.serve(tmp_path / "registry", tls=authority.server()) as running:
        name = f"{running.host}/team/app:1"
        words = ["--tag", name, "--push", context]
        refused = pybuild(*words, root=tmp_path / "1", status=69)
        assert f"the certificate of {running.host} is not trusted" in refused.stderr
        certificates = tmp_path / "home/.docker/certs.d" / running.host
        certificates.mkdir(parents=True)
        (certificates / "ca.crt").write_bytes(authority.ca_file.read_bytes())
        pushed = pybuild(*words, root=tmp_path / "1", env={"HOME": str(tmp_path / "home")})
        (context / "Dockerfile").write_text(f"FROM {name}\nLABEL a=b\n")
        pybuild(context, root=tmp_path / "2", env={"SSL_CERT_FILE": str(authority.ca_file)})
        pybuild("--insecure-registry", running.host, context, root=tmp_path / "3")
        settings = tmp_path / "pybuild.toml"
        settings.write_text(f'[registry."{running.host}"]\nca = "{authority.ca_file}"\n')
        pybuild("--config", settings, context, root=tmp_path / "4")
        assert running.tags("team/app") == {"1": digest_of(pushed)}


def test_a_registry_behind_a_proxy(authority: Authority, tmp_path: Path) -> None:
    context = write_context(tmp_path / "context", "FROM scratch\nCOPY Dockerfile /\n")
    with (
        serve() as registry,
        tls_front(registry.host, authority.server(["reg.example"])) as server,
        http_proxy(server.host, account=f"ann:{PASSWORD}") as proxy,
    ):
        words = ["--debug", "--tag", "reg.example/app:1", "--push", context]
        variables = {"https_proxy": f"http://ann:{PASSWORD}@{proxy.host}", "SSL_CERT_FILE": str(authority.ca_file)}
        done = pybuild(*words, root=tmp_path / "store", env=variables)
        assert registry.manifests["app"]
        wrong = {**variables, "https_proxy": f"http://ann:x{PASSWORD}@{proxy.host}"}
        refused = pybuild(*words[1:], root=tmp_path / "store", env=wrong, status=69)
    assert f"the proxy http://{proxy.host} does not lead to reg.example: 407" in refused.stderr
    assert {line.split()[1] for line in proxy.asked} == {"reg.example:443"}
    for said in (done, refused):
        assert PASSWORD not in said.stdout + said.stderr


def test_dockers_proxies_reach_steps_and_nothing_else(tmp_path: Path, busybox_image: str) -> None:
    docker = tmp_path / "docker"
    docker.mkdir()

    def told(proxy: str) -> dict[str, str]:
        (docker / "config.json").write_text(json.dumps({"proxies": {"default": {"httpProxy": proxy}}}))
        return {"DOCKER_CONFIG": str(docker)}

    seen = 'RUN printf \'%s %s\' "$HTTP_PROXY" "$http_proxy" | wc -c > /seen\n'
    context = write_context(tmp_path / "context", f"FROM {busybox_image}\n{seen}")
    image, tree = tmp_path / "image.tar", tmp_path / "tree"
    words = ["--output", f"type=oci,dest={image}", "--output", f"type=local,dest={tree}"]
    words += ["--metadata-file", str(tmp_path / "metadata"), str(context)]
    proxy = f"http://u:{PASSWORD}@p"
    first = pybuild(*words, root=tmp_path / "store", env=told(proxy))
    assert int((tree / "seen").read_text()) == 2 * len(proxy) + 1
    again = pybuild(*words, root=tmp_path / "store", env=told("http://other"))
    assert digest_of(first) == digest_of(again), "another proxy is no other step"
    stored = read_image(image)
    for written in (stored.raw_config, stored.raw_manifest, (tmp_path / "metadata").read_bytes()):
        assert b"HTTP_PROXY=" not in written
        assert PASSWORD.encode() not in written
    assert PASSWORD not in first.stdout + first.stderr

"""TLS: whose certificates are believed, by host, and what clients show; real handshakes on loopback."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from builder.image.reference import Reference
from builder.registry.certsd import CertificateDirectories, standard_directories
from builder.registry.client import Registry
from builder.registry.errors import RegistryError
from builder.registry.retry import RetryPolicy
from builder.registry.routes import InsecureHosts, Routes
from builder.registry.session import SessionSettings
from builder.registry.trust import Trust, missing_store
from tests.support.certificates import Authority, make_authority
from tests.support.fake_registry import FakeRegistry, Fault, first
from tests.support.need import need_root, need_tool
from tests.support.tunnels import Tunnel, tls_front

DATA = b"a layer"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def image(fake: FakeRegistry, stored: Any, pushed: Any, layer: Any) -> str:
    return str(stored("a/b", "1", pushed(layer(DATA))))


@pytest.fixture
def server(fake: FakeRegistry, authority: Authority, image: str) -> Iterator[Tunnel]:
    """The fake registry with TLS."""
    with tls_front(fake.host, authority.server()) as running:
        yield running


@pytest.fixture
def choosy(fake: FakeRegistry, authority: Authority, image: str) -> Iterator[Tunnel]:
    """The same, for clients with a certificate of the authority."""
    with tls_front(fake.host, authority.server(), authority.ca_file) as running:
        yield running


def resolve(host: str, routes: Routes) -> str:
    settings = SessionSettings(routes=routes)
    with Registry(settings=settings, retry=RetryPolicy(sleep=lambda _: None)) as registry:
        return str(registry.resolve(Reference.parse(f"{host}/a/b:1")).digest)


def under(directory: Path) -> Routes:
    return Routes(directory=CertificateDirectories([directory]).find)


def test_a_stranger_is_not_trusted(server: Tunnel) -> None:
    with pytest.raises(RegistryError, match=f"the certificate of {server.host} is not trusted") as caught:
        resolve(server.host, Routes())
    assert f"certs.d/{server.host}/ca.crt" in str(caught.value.hint)
    assert "SSL_CERT_FILE" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["HOST", "HOST_spelt_without_colons", "_default"])
def test_authorities_of_a_host(server: Tunnel, authority: Authority, image: str, tmp_path: Path, name: str) -> None:
    spelt = {"HOST": server.host, "_default": "_default"}.get(name, server.host.replace(":", "_") + "_")
    (tmp_path / spelt).mkdir()
    (tmp_path / spelt / "any.crt").write_bytes(authority.ca_file.read_bytes())
    assert resolve(server.host, under(tmp_path)) == image


def test_authorities_are_for_their_host_only(server: Tunnel, authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "127.0.0.1").mkdir()
    (tmp_path / "127.0.0.1" / "ca.crt").write_bytes(authority.ca_file.read_bytes())
    with pytest.raises(RegistryError, match="not trusted"):
        resolve(server.host, under(tmp_path))


def test_a_client_shows_its_certificate(choosy: Tunnel, authority: Authority, image: str, tmp_path: Path) -> None:
    home = tmp_path / choosy.host
    home.mkdir()
    (home / "ca.crt").write_bytes(authority.ca_file.read_bytes())
    with pytest.raises(RegistryError, match="refuses this client's certificate or misses one") as caught:
        resolve(choosy.host, under(tmp_path))
    assert f"certs.d/{choosy.host}/client.cert" in str(caught.value.hint)
    assert not caught.value.retryable
    certificate, key = authority.client()
    (home / "client.cert").write_bytes(certificate.read_bytes())
    (home / "client.key").write_bytes(key.read_bytes())
    assert resolve(choosy.host, under(tmp_path)) == image
    own = Trust(authorities=(authority.ca_file,), clients=((certificate, key),))
    assert resolve(choosy.host, Routes(trusts={choosy.host: own})) == image


def test_a_certificate_of_another_host(fake: FakeRegistry, authority: Authority) -> None:
    own = Trust(authorities=(authority.ca_file,))
    problem = pytest.raises(RegistryError, match=r"not trusted: .*not valid for")
    with tls_front(fake.host, authority.server(["other.example"])) as server, problem as caught:
        resolve(server.host, Routes(trusts={server.host: own}))
    assert caught.value.hint is None


def test_everybodys_certificate_is_shown_to_no_stranger(tmp_path: Path) -> None:
    tree(
        tmp_path,
        {
            "_default/a.cert": b"",
            "_default/a.key": b"",
            "_default/ca.crt": b"",
            "known/b.cert": b"",
            "known/b.key": b"",
        },
    )
    made = under(tmp_path)
    assert made.trust("reg.example").clients
    assert made.trust("cdn.example", stranger=True) == Trust(authorities=(tmp_path / "_default/ca.crt",))
    assert made.trust("known", stranger=True).clients


def test_an_insecure_registry_may_have_any_certificate(server: Tunnel, image: str) -> None:
    assert resolve(server.host, Routes(insecure=InsecureHosts([server.host]))) == image
    assert resolve(server.host, Routes(insecure=InsecureHosts(["127.0.0.0/8"]))) == image


def test_an_insecure_registry_may_still_want_a_clients_certificate(
    choosy: Tunnel, authority: Authority, image: str
) -> None:
    routes = Routes(insecure=InsecureHosts([choosy.host]), trusts={choosy.host: Trust(clients=(authority.client(),))})
    assert resolve(choosy.host, routes) == image


# --- what plain http is tried with first


HANGS_UP, ALERT = b"", b"\x15\x03\x01\x00\x02\x02\x46"


@pytest.mark.parametrize("plain", [HANGS_UP, ALERT])
def test_a_server_that_only_hangs_up_on_plain_http(
    fake: FakeRegistry, authority: Authority, image: str, plain: bytes
) -> None:
    """Half of all TLS servers do not say that plain http was a mistake."""
    own = Trust(authorities=(authority.ca_file,))
    with tls_front(fake.host, authority.server(), plain=plain) as server:
        assert resolve(server.host, Routes(trusts={server.host: own})) == image
        with pytest.raises(RegistryError, match=f"the certificate of {server.host} is not trusted") as caught:
            resolve(server.host, Routes())
    assert f"certs.d/{server.host}/ca.crt" in str(caught.value.hint)


def test_what_breaks_and_speaks_no_tls_is_asked_in_plain_http_again(fake: FakeRegistry, image: str) -> None:
    fake.plan = first(lambda seen: seen.method == "HEAD", Fault(drop=True), Fault(drop=True))
    assert resolve(fake.host, Routes()) == image


@pytest.mark.parametrize("insecure", [True, False])
def test_a_handshake_that_fails_is_no_reason_to_do_without(
    fake: FakeRegistry, authority: Authority, insecure: bool
) -> None:
    # For RSA, and the certificate is not.
    with tls_front(fake.host, authority.server(), ciphers="AES128-SHA") as server:
        routes = Routes(insecure=InsecureHosts([server.host] if insecure else []))
        with pytest.raises(RegistryError, match=f"{server.host} does not speak TLS as we do") as caught:
            resolve(server.host, routes)
    assert not caught.value.retryable
    assert not fake.seen


def test_a_bad_file_is_told_of_an_insecure_registry_too(fake: FakeRegistry, tmp_path: Path) -> None:
    tree(tmp_path / fake.host, {"ca.crt": b"nothing"})
    routes = Routes(insecure=InsecureHosts([fake.host]), directory=CertificateDirectories([tmp_path]).find)
    with pytest.raises(RegistryError, match="is not certificates of authorities"):
        resolve(fake.host, routes)


def test_the_systems_store_can_be_replaced(
    server: Tunnel, authority: Authority, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    assert resolve(server.host, Routes()) == image
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with pytest.raises(RegistryError, match="not trusted"):
        resolve(server.host, Routes())
    (tmp_path / "ca.pem").write_bytes(authority.ca_file.read_bytes())
    subprocess.run([need_tool("openssl"), "rehash", tmp_path], check=True, capture_output=True)
    assert resolve(server.host, Routes()) == image


def test_a_store_that_is_not_there_is_named(server: Tunnel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert "none.pem" in missing_store()
    with pytest.raises(RegistryError, match="not trusted") as caught:
        resolve(server.host, Routes())
    assert "none.pem" in str(caught.value.hint)


def test_what_authorities_are_added_to(authority: Authority) -> None:
    assert missing_store() == ""
    with_own, without = Trust(authorities=(authority.ca_file,)).context(), Trust().context()
    assert with_own.cert_store_stats()["x509_ca"] == without.cert_store_stats()["x509_ca"] + 1


def tree(directory: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return directory


@pytest.mark.parametrize(
    ("files", "named", "problem"),
    [
        ({"ca.crt": b"nothing"}, "ca.crt", "is not certificates of authorities"),
        ({"ca.crt": b""}, "ca.crt", "is not certificates of authorities"),
        ({"a.cert": b"x"}, "a.cert", "has no key beside it"),
        ({"a.key": b"x"}, "a.key", "has no certificate beside it"),
        ({"a.cert": b"x", "a.key": b"x"}, "a.cert", "is not a client's certificate with the key"),
        ({"hosts.toml": b"= ="}, "hosts.toml", "is not TOML"),
        ({"hosts.toml": b"\xff"}, "hosts.toml", "is not TOML"),
        ({"hosts.toml": b" " * ((1 << 20) + 1)}, "hosts.toml", "is larger than 1048576 bytes"),
        ({"hosts.toml/x": b""}, "hosts.toml", "is no file"),
        ({"ca.crt/x": b""}, "ca.crt", "cannot read"),
    ],
)
def test_bad_files_are_named(files: dict[str, bytes], named: str, problem: str, tmp_path: Path) -> None:
    tree(tmp_path / "reg.example", files)
    with pytest.raises(RegistryError, match=problem) as caught:
        resolve("reg.example", under(tmp_path))
    assert str(tmp_path / "reg.example" / named) in str(caught.value)


def test_a_certificate_and_a_key_that_are_no_pair(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="is not a client's certificate with the key"):
        Trust(clients=((authority.client()[0], authority.client()[1]),)).context()


def test_nobody_is_asked_for_a_passphrase(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.client()
    locked = tmp_path / "locked.key"
    command = [need_tool("openssl"), "pkcs8", "-topk8", "-in", key, "-out", locked, "-passout", "pass:x"]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(RegistryError, match=f"the key {locked} is encrypted"):
        Trust(clients=((certificate, locked),)).context()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"cannot read .*none\.pem: No such file"):
        Trust(authorities=(tmp_path / "none.pem",)).context()


# --- where files are looked for


def test_the_users_directories_come_before_the_machines() -> None:
    found = [str(one) for one in standard_directories({"HOME": "/home/u"})]
    assert found == [
        "/home/u/.config/pybuild/certs.d",
        "/home/u/.config/containers/certs.d",
        "/home/u/.config/docker/certs.d",
        "/home/u/.docker/certs.d",
        "/etc/pybuild/certs.d",
        "/etc/containers/certs.d",
        "/etc/docker/certs.d",
        "/etc/containerd/certs.d",
    ]
    assert "/x/pybuild/certs.d" in map(str, standard_directories({"HOME": "/home/u", "XDG_CONFIG_HOME": "/x"}))
    # What would be beside the project is none of the user's.
    relative = standard_directories({"HOME": "home", "XDG_CONFIG_HOME": "config"})
    assert all(str(one).startswith("/etc/") for one in relative)


def test_the_first_directory_that_knows_a_host_answers(tmp_path: Path) -> None:
    tree(tmp_path, {"1/other/ca.crt": b"", "2/reg:5000/ca.crt": b"", "3/reg:5000/b.crt": b"", "1/_default/d.crt": b""})
    known = CertificateDirectories([tmp_path / "1", tmp_path / "2", tmp_path / "3"])
    found = known.find("reg:5000")
    assert found is not None
    assert found.server.trust.authorities == (tmp_path / "2/reg:5000/ca.crt",)
    default = known.find("unknown")
    assert default is not None
    assert default.server.trust.authorities == (tmp_path / "1/_default/d.crt",)
    assert CertificateDirectories().find("reg") is None


@pytest.mark.parametrize("name", ["docker.io", "registry-1.docker.io", "index.docker.io"])
def test_docker_hub_has_several_names(tmp_path: Path, name: str) -> None:
    tree(tmp_path, {f"{name}/ca.crt": b""})
    assert CertificateDirectories([tmp_path]).find("docker.io") is not None


@pytest.mark.parametrize("host", ["..", ".", "", "a/b", "../x", "_default"])
def test_hosts_lead_nowhere_else(tmp_path: Path, host: str) -> None:
    tree(tmp_path, {"in/a/b/x.crt": b"", "x/y.crt": b"", "y.crt": b""})
    assert CertificateDirectories([tmp_path / "in"]).find(host) is None


def test_directories_of_others_are_passed_over(tmp_path: Path, plain_user: Any) -> None:
    need_root("needs root, to have files of others")
    tree(tmp_path, {"reg/ca.crt": b""})
    os.chmod(tmp_path / "reg", 0)
    code = (
        "from pathlib import Path; from builder.registry.certsd import CertificateDirectories; "
        f"print(CertificateDirectories([Path({str(tmp_path)!r})]).find('reg'))"
    )
    assert plain_user.run(plain_user.python, "-c", code).stdout.strip() == "None"

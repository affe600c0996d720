"""Proxies: which URL goes through one, what a proxy is told, and what is said when it does not lead anywhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.registry.errors import RegistryError, TransientRegistryError
from builder.registry.proxies import Proxies, without_account
from builder.registry.transport import Transport
from builder.registry.trust import Trust
from tests.support.certificates import Authority, make_authority
from tests.support.fake_registry import FakeRegistry
from tests.support.need import need
from tests.support.tunnels import Tunnel, http_proxy, socks_proxy, tls_front

PASSWORD = "s3cret-word"

# Go's golang.org/x/net/http/httpproxy: the rules of its documentation, and what its code does with odd entries.
TABLE = [
    ("", "https://reg.example", False),
    ("*", "https://reg.example", True),
    ("other.example,*", "https://reg.example", True),
    ("*.*", "https://reg.example", False),
    ("reg.example", "https://reg.example", True),
    ("reg.example", "https://sub.reg.example", True),
    ("reg.example", "https://REG.example", True),
    ("example", "https://reg.example", True),
    (".example", "https://reg.example", True),
    ("*.example", "https://reg.example", True),
    (".reg.example", "https://reg.example", False),
    ("*.reg.example", "https://reg.example", False),
    (".reg.example", "https://sub.reg.example", True),
    ("eg.example", "https://reg.example", False),
    ("reg.example.org", "https://reg.example", False),
    # ports
    ("reg.example:443", "https://reg.example", True),
    ("reg.example:80", "https://reg.example", False),
    ("reg.example:80", "http://reg.example", True),
    ("reg.example:5000", "https://reg.example", False),
    ("reg.example:5000", "https://reg.example:5000", True),
    (".example:5000", "https://reg.example:5000", True),
    ("*.example:5000", "https://reg.example:5001", False),
    ("reg.example:", "https://reg.example:5000", True),
    ("reg.example:https", "https://reg.example", False),
    (":443", "https://reg.example", False),
    # addresses
    ("10.1.2.3", "https://10.1.2.3:5000", True),
    ("10.1.2.3", "https://10.1.2.30", False),
    ("10.1.2.3:5000", "https://10.1.2.3:5000", True),
    ("10.1.2.3:5000", "https://10.1.2.3", False),
    ("2.3", "https://10.1.2.3", False),
    ("fd00::1", "https://[fd00::1]", True),
    ("fd00:0:0::1", "https://[fd00::1]", True),
    ("[fd00::1]:5000", "https://[fd00::1]:5000", True),
    ("[fd00::1]:5000", "https://[fd00::1]", False),
    ("[fd00::1]", "https://[fd00::1]:5000", True),
    ("10.1.2.3", "https://[::ffff:10.1.2.3]", True),
    ("::ffff:10.1.2.3", "https://10.1.2.3", True),
    # networks
    ("10.0.0.0/8", "https://10.1.2.3", True),
    ("10.1.2.3/8", "https://10.200.0.1:5000", True),
    ("10.0.0.0/8", "https://11.1.2.3", False),
    ("10.0.0.0/8", "https://[::ffff:10.1.2.3]", True),
    ("10.0.0.0/8", "https://reg.example", False),
    ("10.0.0.0/255.0.0.0", "https://10.1.2.3", False),
    ("0.0.0.0/0", "https://192.0.2.1", True),
    ("fd00::/8", "https://[fd00::1]", True),
    ("fd00::/8", "https://[fe00::1]", False),
    # lists
    ("a.example, reg.example ,b", "https://reg.example", True),
    ("a.example reg.example", "https://reg.example", False),
    (",,reg.example,", "https://reg.example", True),
    ("bad/99, REG.EXAMPLE", "https://reg.example", True),
    ("b\u00fccher.example", "https://xn--bcher-kva.example", True),
    # this machine
    ("", "https://localhost:5000", True),
    ("", "https://127.0.0.1", True),
    ("", "https://127.9.9.9:1", True),
    ("", "https://[::1]:5000", True),
    ("", "https://[::ffff:127.0.0.1]", True),
    ("", "https://localhost.example", False),
]


@pytest.mark.parametrize(("no_proxy", "url", "direct"), TABLE)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_exceptions_are_read_as_go_does(no_proxy: str, url: str, direct: bool, name: str) -> None:
    variables = {"HTTPS_PROXY": "proxy:3128", "HTTP_PROXY": "proxy:3128", name: no_proxy}
    assert Proxies.from_environment(variables).choose(url) == (None if direct else "http://proxy:3128")


@pytest.mark.parametrize(
    ("variables", "http", "https"),
    [
        ({}, None, None),
        ({"http_proxy": "a:1"}, "http://a:1", None),
        ({"HTTPS_PROXY": "https://a"}, None, "https://a"),
        ({"HTTP_PROXY": "up", "http_proxy": "low"}, "http://up", None),
        ({"HTTPS_PROXY": "", "https_proxy": "low"}, None, "http://low"),
        ({"HTTPS_PROXY": " spaced:1 "}, None, "http://spaced:1"),
        ({"HTTPS_PROXY": "socks5://s:1080"}, None, "socks5://s:1080"),
        ({"ALL_PROXY": "http://all", "all_proxy": "http://all"}, None, None),
        ({"HTTP_PROXY": "x", "HTTPS_PROXY": "y", "REQUEST_METHOD": "GET"}, None, "http://y"),
    ],
)
def test_variables(variables: dict[str, str], http: str | None, https: str | None) -> None:
    proxies = Proxies.from_environment(variables)
    assert (proxies.choose("http://reg.example"), proxies.choose("https://reg.example")) == (http, https)


@given(st.text(max_size=40), st.sampled_from(["https://reg.example", "https://10.0.0.1:5000", "https://[fd00::1]"]))
def test_no_exception_is_so_odd_that_it_fails(no_proxy: str, url: str) -> None:
    assert Proxies("http://p", "http://p", no_proxy).choose(url) in (None, "http://p")


@pytest.mark.parametrize("proxy", [f"http://user:{PASSWORD}@p:1", f"socks5://user:{PASSWORD}@p", f"user:{PASSWORD}@p"])
def test_accounts_of_proxies_are_not_shown(proxy: str) -> None:
    assert PASSWORD not in without_account(proxy)
    assert PASSWORD not in repr(Proxies.from_environment({"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy}))


# --- what goes over the wire


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(fake: FakeRegistry, authority: Authority) -> Iterator[Tunnel]:
    """The fake registry as https://reg.example, which only a proxy leads to."""
    with tls_front(fake.host, authority.server(["reg.example"])) as running:
        yield running


def get(proxy: str, url: str, ca_file: Path) -> int:
    transport = Transport(
        Proxies.from_environment({"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy}),
        lambda _: Trust(authorities=(ca_file,)),
    )
    try:
        with transport.exchange("GET", url, {}) as response:
            response.read()
        with transport.exchange("GET", url, {}) as response:
            return response.status_code
    finally:
        transport.close()


def refused(proxy: str, url: str, ca_file: Path) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        get(proxy, url, ca_file)
    seen: BaseException | None = caught.value
    while seen is not None:
        assert PASSWORD not in str(seen)
        seen = seen.__cause__
    assert PASSWORD not in str(caught.value.hint)
    return caught.value


def test_a_proxy_leads_to_https_by_a_tunnel(fake: FakeRegistry, server: Tunnel, authority: Authority) -> None:
    with http_proxy(server.host, account=f"us er:{PASSWORD}%") as proxy:
        assert get(f"http://us%20er:{PASSWORD}%25@{proxy.host}", "https://reg.example/v2/", authority.ca_file) == 200
    assert proxy.asked == ["CONNECT reg.example:443 HTTP/1.1"], "one connection, used again"
    assert [one.path for one in fake.seen] == ["/v2/", "/v2/"]
    assert not any("proxy-authorization" in one.headers for one in fake.seen)


def test_a_proxy_forwards_plain_http(fake: FakeRegistry, authority: Authority) -> None:
    with http_proxy(fake.host, account=f"user:{PASSWORD}") as proxy:
        assert get(f"http://user:{PASSWORD}@{proxy.host}", "http://reg.example/v2/", authority.ca_file) == 200
    assert proxy.asked[0] == "GET http://reg.example/v2/ HTTP/1.1"


def test_a_proxy_that_speaks_tls(server: Tunnel, authority: Authority) -> None:
    with http_proxy(server.host, pair=authority.server()) as proxy:
        assert get(f"https://{proxy.host}", "https://reg.example/v2/", authority.ca_file) == 200
    assert len(proxy.asked) == 1


def test_a_proxy_whose_certificate_is_not_trusted(server: Tunnel, authority: Authority, tmp_path: Path) -> None:
    other = make_authority(tmp_path / "other")
    with http_proxy(server.host, pair=other.server()) as proxy:
        error = refused(f"https://user:{PASSWORD}@{proxy.host}", "https://reg.example/v2/", authority.ca_file)
    assert f"or of the proxy https://{proxy.host} is not trusted" in str(error)


@pytest.mark.parametrize("url", ["https://reg.example/v2/", "http://reg.example/v2/"])
def test_a_proxy_that_wants_another_account(server: Tunnel, authority: Authority, url: str) -> None:
    with http_proxy(server.host, account="user:right") as proxy:
        address = f"http://user:{PASSWORD}@{proxy.host}"
        if url.startswith("https"):
            error = refused(address, url, authority.ca_file)
            assert "407" in str(error)
            assert "http://USER:PASSWORD@PROXY" in str(error.hint)
            assert not error.retryable
        else:
            assert get(address, url, authority.ca_file) == 407


@pytest.mark.parametrize(("answer", "retryable"), [("403 Forbidden", False), ("503 Service Unavailable", True)])
def test_a_proxy_that_does_not_lead_there(server: Tunnel, authority: Authority, answer: str, retryable: bool) -> None:
    with http_proxy(server.host, answer=answer) as proxy:
        error = refused(f"http://user:{PASSWORD}@{proxy.host}", "https://reg.example/v2/", authority.ca_file)
    assert str(error) == f"the proxy http://{proxy.host} does not lead to reg.example: {answer}"
    assert error.retryable == retryable


def test_a_proxy_that_is_not_there(authority: Authority) -> None:
    error = refused(f"http://user:{PASSWORD}@127.0.0.1:1", "https://reg.example/v2/", authority.ca_file)
    assert isinstance(error, TransientRegistryError)
    assert str(error) == "cannot connect to the proxy http://127.0.0.1:1: Connection refused"
    assert "NO_PROXY" in str(error.hint)


@pytest.mark.parametrize("scheme", ["ftp", "socks4"])
def test_what_is_no_proxy(authority: Authority, scheme: str) -> None:
    error = refused(f"{scheme}://user:{PASSWORD}@p:1", "https://reg.example/v2/", authority.ca_file)
    assert f"{scheme}://p:1 is no URL of a proxy" in str(error)


def test_socks_that_is_not_installed(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    assert httpcore.SOCKSProxy, "it looks for socksio once, when it is imported"
    monkeypatch.setitem(sys.modules, "socksio", None)
    error = refused(f"socks5://user:{PASSWORD}@p:1", "https://reg.example/v2/", authority.ca_file)
    assert str(error) == "the proxy socks5://p:1 speaks SOCKS, which is not installed"
    assert "pip install socksio" in str(error.hint)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_socks(fake: FakeRegistry, server: Tunnel, authority: Authority, scheme: str) -> None:
    try:
        import socksio as installed
    except ImportError:
        installed = None
    need(installed, "needs socksio, of the extra socks")
    with socks_proxy(server.host) as proxy:
        assert get(f"{scheme}://{proxy.host}", "https://reg.example/v2/", authority.ca_file) == 200
    assert proxy.asked == ["reg.example:443"], "the name is the proxy's to resolve"
    assert len(fake.seen) == 2


def test_nothing_on_this_machine_goes_through_a_proxy(fake: FakeRegistry, authority: Authority) -> None:
    assert get("http://127.0.0.1:1", f"http://{fake.host}/v2/", authority.ca_file) == 200

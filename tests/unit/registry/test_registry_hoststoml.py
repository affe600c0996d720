"""hosts.toml as containerd reads it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.registry.errors import RegistryError
from builder.registry.hosts import Address
from builder.registry.hoststoml import Host, HostsFile, parse_hosts
from builder.registry.trust import SYSTEM, Trust

HOME = Path("/etc/containerd/certs.d/reg")
ALL = frozenset({"pull", "resolve", "push"})


def parse(text: str) -> HostsFile:
    return parse_hosts(text.encode(), HOME / "hosts.toml")


def only(text: str) -> Host:
    (host,) = parse(text).hosts
    return host


def test_a_file_with_everything() -> None:
    found = parse(
        """
        server = "https://registry.example"
        ca = "root.pem"
        [header]
        x-root = "r"

        [host."https://mirror.example:5000"]
        capabilities = ["pull", "resolve"]
        ca = ["a.pem", "/abs/b.pem"]
        client = [["c.pem", "c.key"], ["both.pem", ""]]
        skip_verify = true
        dial_timeout = "1s"
        [host."https://mirror.example:5000".header]
        x-one = "1"
        x-two = ["2", "3"]

        [host."http://second.example/v2/proxy"]
        override_path = true
        """
    )
    assert found.server.address == Address("https", "registry.example")
    assert (found.server.root, found.server.headers) == ("/v2", {"x-root": "r"})
    assert found.server.trust == Trust(authorities=(HOME / "root.pem",))
    first, second = found.hosts
    assert first.address == Address("https", "mirror.example:5000")
    assert first.capabilities == {"pull", "resolve"}
    assert first.headers == {"x-one": "1", "x-two": "2, 3"}
    assert first.trust == Trust(
        authorities=(HOME / "a.pem", Path("/abs/b.pem")),
        clients=((HOME / "c.pem", HOME / "c.key"), (HOME / "both.pem", HOME / "both.pem")),
        verify=False,
    )
    assert second.address == Address("http", "second.example", "/v2/proxy")
    assert (second.root, second.capabilities, second.trust) == ("/v2/proxy", ALL, SYSTEM)


@pytest.mark.parametrize(
    ("line", "root"),
    [
        ('[host."https://m"]', "/v2"),
        ('[host."https://m/"]', "/v2"),
        ('[host."https://m/v2"]', "/v2"),
        ('[host."https://m/v2/"]', "/v2"),
        ('[host."https://m/hub"]', "/hub/v2"),
        ('[host."https://m/v2/hub"]\noverride_path = true', "/v2/hub"),
        ('[host."https://m/hub"]\noverride_path = true', "/hub"),
        ('[host."https://m"]\noverride_path = true', ""),
        ('[host."m:5000"]', "/v2"),
    ],
)
def test_where_an_api_begins(line: str, root: str) -> None:
    assert only(line).root == root


def test_a_push_needs_to_be_told_of() -> None:
    assert not only('[host."https://m"]').pushes
    assert not only('[host."https://m"]\ncapabilities = ["pull"]').pushes
    assert only('[host."https://m"]\ncapabilities = ["pull", "push"]').pushes


def test_an_empty_file_says_nothing() -> None:
    assert parse("") == HostsFile(Host(address=None))


def test_a_client_in_one_file() -> None:
    assert only('[host."https://m"]\nclient = "c.pem"').trust.clients == ((HOME / "c.pem", HOME / "c.pem"),)
    assert only('[host."https://m"]\nclient = ["c.pem"]').trust.clients == ((HOME / "c.pem", HOME / "c.pem"),)


def test_unknown_fields_are_for_others() -> None:
    assert only('new = 1\n[host."https://m"]\nnewer = 2').capabilities == ALL


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("server = 5", "server: expected a URL"),
        ('server = "ftp://x"', "server: expected a URL: it is neither http nor https"),
        ('server = "https://user:pw@x"', "server: expected a URL: an account does not belong into it"),
        ("host = 5", "host: expected tables"),
        ("[host]\nx = 5", 'host."x": expected a table'),
        ('[host.""]', 'host."": expected a URL: there is no host in it'),
        ('[host."https://x:y"]', 'host."https://x:y": expected a URL'),
        ('[host."https://x?a=b"]', "expected a URL"),
        ('[host."x"]\ncapabilities = ["fly"]', 'host."x".capabilities: expected some of pull, resolve, push'),
        ('[host."x"]\ncapabilities = 5', 'host."x".capabilities: expected a string or several'),
        ('[host."x"]\nca = [5]', 'host."x".ca: expected a string or several'),
        ('[host."x"]\nclient = 5', 'host."x".client: expected a file, or pairs'),
        ('[host."x"]\nclient = [["a", "b", "c"]]', 'host."x".client: expected a file, or pairs'),
        ('[host."x"]\nskip_verify = "no"', 'host."x".skip_verify: expected true or false'),
        ('[host."x"]\noverride_path = 1', 'host."x".override_path: expected true or false'),
        ('[host."x"]\nheader = 1', 'host."x".header: expected a table'),
        ('[host."x"]\nheader = {"a b" = "c"}', "expected a header that can be sent"),
        ('[host."x"]\nheader = {"a" = "b\\r\\nc: d"}', "expected a header that can be sent"),
        ('[host."x"]\nheader = {"" = "b"}', "expected a header that can be sent"),
        ("[" * 100000, "is not TOML"),
        ("\n".join(f'[host."m{number}"]' for number in range(101)), "at most 100"),
    ],
)
def test_mistakes_are_named(text: str, problem: str) -> None:
    with pytest.raises(RegistryError) as caught:
        parse(text)
    assert problem in str(caught.value)
    assert str(HOME / "hosts.toml") in str(caught.value)
    assert "pw" not in str(caught.value).replace(str(HOME), "")


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for written in (text, f"server = '''{text}'''", f"[host.'{text}']", f"[host.x.header]\n'{text}' = '{text}'"):
        with contextlib.suppress(RegistryError):
            parse_hosts(written.encode(errors="replace"), HOME / "hosts.toml")

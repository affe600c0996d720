"""What the command line gives RUN: which texts are understood, and which are refused before any work."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.cli.amounts import size
from builder.cli.options import parse
from builder.cli.requests import make_request
from builder.engine.request import AgentSource, BuildRequest
from builder.errors import BuilderError, ContextError, UsageError
from builder.run.spec import ULIMITS, UNLIMITED, Provision
from tests.support import ssh


def request(*words: str, **environment: str) -> BuildRequest:
    return make_request(parse("build", [*words, "."]), environment)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0), ("17", 17), ("64b", 64), ("1k", 1024), ("1.5k", 1536), ("64m", 64 << 20), ("64MB", 64 << 20),
        ("64MiB", 64 << 20), ("2G", 2 << 30), ("1t", 1 << 40),
    ],
)  # fmt: skip
def test_sizes(text: str, expected: int) -> None:
    assert size("--shm-size", text) == expected


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("db:10.0.0.5", ("db", "10.0.0.5")),
        ("db=10.0.0.5", ("db", "10.0.0.5")),
        ("db.example.com:fd00::5", ("db.example.com", "fd00::5")),
        ("db=[fd00:0::5]", ("db", "fd00::5")),
        ("db:[::1]", ("db", "::1")),
        ("my_db:host-gateway", ("my_db", "127.0.0.1")),
    ],
)
def test_hosts(text: str, pair: tuple[str, str]) -> None:
    assert request("--add-host", text).hosts == (pair,)


def test_name_servers_memory_and_cpus() -> None:
    words = ["--dns=192.0.2.1", "--dns=FD00::53", "--dns-search=a.example", "--memory=1g", "--cpus=1.5"]
    expected = Provision(memory=1 << 30, cpus=1.5, dns=("192.0.2.1", "fd00::53"), search=("a.example",))
    assert request(*words).provision == expected
    assert request().provision == Provision()
    assert request("--memory=4m").provision == Provision(memory=4 << 20)


def test_limits() -> None:
    made = request(
        "--ulimit=nofile=10", "--ulimit=core=0:0", "--ulimit=nofile=5:10", "--ulimit=cpu=5:-1", "--shm-size=0"
    )
    assert made.ulimits == (("nofile", 5, 10), ("core", 0, 0), ("cpu", 5, UNLIMITED))
    assert made.shm_size == 0


def test_the_kernels_numbers_of_limits() -> None:
    known = {name: getattr(resource, f"RLIMIT_{name.upper()}", number) for number, name in enumerate(ULIMITS)}
    assert list(known.values()) == list(range(16))


def test_permissions() -> None:
    made = request("--allow=security.insecure", "--allow", "network.host", "--allow", "network.host")
    assert made.allow == {"security.insecure", "network.host"}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--shm-size", "big"], "expected a size"),
        (["--shm-size", "-1"], "expected a size"),
        (["--shm-size", "1e3"], "expected a size"),
        (["--shm-size", "99999999t"], "more than any machine"),
        (["--memory", "1k"], "at least 4m"),
        (["--cpus", "0"], "number of CPUs"),
        (["--cpus", "nan"], "number of CPUs"),
        (["--cpus", "many"], "number of CPUs"),
        (["--add-host", "db"], "expected NAME:ADDRESS"),
        (["--add-host", ":1.2.3.4"], "expected NAME:ADDRESS"),
        (["--add-host", "a b:1.2.3.4"], "expected NAME:ADDRESS"),
        (["--add-host", "db:1.2.3"], "'1.2.3' is not an IP address"),
        (["--add-host", "db:1.2.3.4\nx"], "is not an IP address"),
        (["--add-host", "db=localhost"], "is not an IP address"),
        (["--dns", "example.com"], "is not an IP address"),
        (["--dns", "fe80::1%a\nb"], "is not an IP address"),
        (["--dns", "fe80::1%a b"], "is not an IP address"),
        (["--dns-search", "a b"], "not a domain"),
        (["--ulimit", "nofiles=1"], "no limit 'nofiles'"),
        (["--ulimit", "nofile"], "expected NAME=SOFT"),
        (["--ulimit", "nofile="], "expected NAME=SOFT"),
        (["--ulimit", "nofile=1:"], "expected NAME=SOFT"),
        (["--ulimit", "nofile=1:x"], "expected NAME=SOFT"),
        (["--ulimit", "nofile=\u0661"], "expected NAME=SOFT"),
        (["--ulimit", "nofile=5:4"], "soft limit is above"),
        (["--allow", "security.insecur"], "no such permission"),
        (["--ssh", ""], "expected ID"),
        (["--ssh", "a b"], "expected ID"),
        (["--ssh", "a="], "expected ID"),
        (["--ssh", "default"], "SSH_AUTH_SOCK is not set"),
        (["--ssh", "a=nosuch"], "nosuch: No such file"),
        (["--ssh", "a=text"], "neither a socket nor a private key"),
        (["--ssh", "a=.,text"], "cannot read the key"),
        (["--ssh", "a=socket,text"], "either one socket"),
        (["--ssh", "a=socket", "--ssh", "a=socket"], "given twice"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    words: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("ssh-ed25519 AAAA public")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        with pytest.raises(BuilderError, match=problem) as caught:
            request(*words)
    assert caught.value.exit_code in (64, 66)
    assert "nofile=\u0661" in words or caught.value.message.startswith(words[0])


def test_suggestions() -> None:
    for words, hint in ((["--ulimit=nofiles=1"], "nofile"), (["--allow=security.insecur"], "security.insecure")):
        with pytest.raises(UsageError) as caught:
            request(*words)
        assert caught.value.hint == f"did you mean {hint}?"


def test_a_hard_limit_that_cannot_be_raised_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.cli.granting._may_raise_limits", lambda: False)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert request(f"--ulimit=nofile={hard}").ulimits == (("nofile", hard, hard),)
    with pytest.raises(UsageError, match=f"hard limit of nofile is {hard} here"):
        request(f"--ulimit=nofile=1:{hard + 1}")


def test_agents(tmp_path: Path) -> None:
    place = tmp_path / "agent"
    keys = [ssh.make_key(tmp_path / name, name) for name in ("one", "two")]
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        made = request("--ssh=default", f"--ssh=x={place}", f"--ssh=k={keys[0]},{keys[1]}", SSH_AUTH_SOCK=str(place))
    assert made.ssh == {
        "default": AgentSource(place),
        "x": AgentSource(place),
        "k": AgentSource(keys=tuple(keys)),
    }


@pytest.mark.parametrize("form", [[], ["-m", "PEM"], ["-m", "PKCS8"]])
def test_a_key_with_a_passphrase_is_refused(tmp_path: Path, form: list[str]) -> None:
    key = ssh.make_key(tmp_path / "key", "key", "secret", kind="ecdsa", options=form)
    with pytest.raises(BuilderError, match="has a passphrase") as caught:
        request(f"--ssh=default={key}")
    assert "ssh-add" in (caught.value.hint or "")
    free = ssh.make_key(tmp_path / "free", "key", kind="ecdsa", options=form)
    assert request(f"--ssh=default={free}").ssh == {"default": AgentSource(keys=(free,))}
    assert not any(name not in ("key", "key.pub", "free", "free.pub") for name in os.listdir(tmp_path))


OPTIONS = ("--shm-size", "--memory", "--cpus", "--add-host", "--dns", "--dns-search", "--ulimit", "--allow", "--ssh")
TEXTS = st.one_of(
    st.text(max_size=40),
    st.from_regex(r"\A(nofile|cpu|core)?=?-?[0-9]*(:[0-9]*)?\Z"),
    st.from_regex(r"\A[a-z0-9.]*[:=]?[\[]?[0-9a-f.:%]*[\]]?\Z"),
    st.from_regex(r"\A[0-9]*\.?[0-9]*[kmgt]?i?b?\Z"),
)


@given(st.sampled_from(OPTIONS), TEXTS)
def test_any_text_is_understood_or_refused(option: str, text: str) -> None:
    try:
        made = request(f"{option}={text}")
    except (UsageError, ContextError):
        return
    assert not any(set(name + address) & set(" \t\n\r\0#") for name, address in made.hosts)
    assert not any(set(one) & set(" \t\n\r\0#") for one in (*made.provision.dns, *made.provision.search))
    assert all(0 <= soft <= hard <= UNLIMITED for _, soft, hard in made.ulimits)
    assert 0 <= made.shm_size < 1 << 60

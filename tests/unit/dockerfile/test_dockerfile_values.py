"""Durations, ports, signals, suggestions and word splitting (dockerfile.md 1.1, 1.6)."""

from __future__ import annotations

import pytest

from builder.dockerfile.durations import parse_duration
from builder.dockerfile.ports import expand_ports, parse_port
from builder.dockerfile.signals import signal_number
from builder.dockerfile.suggest import did_you_mean, distance, nearest
from builder.dockerfile.text import split_blanks, split_words


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("1ns", 1),
        ("1us", 1_000),
        ("1\u00b5s", 1_000),
        ("2ms", 2_000_000),
        ("1.5s", 1_500_000_000),
        (".5s", 500_000_000),
        ("1.s", 1_000_000_000),
        ("1h2m3s", 3_723_000_000_000),
        ("-1s", -1_000_000_000),
        ("+1s", 1_000_000_000),
    ],
)
def test_durations(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "1", "s", ".s", "1d", "1 s", "--1s", "1s ", "\u0661s", "9999999h", "1e3s"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ValueError, match="invalid duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("texts", "ports"),
    [
        (("80",), ("80/tcp",)),
        (("80/UDP", "53/sctp"), ("53/sctp", "80/udp")),
        (("8-10",), ("10/tcp", "8/tcp", "9/tcp")),
        (("80", "80/tcp", "80-80"), ("80/tcp",)),
        (("0", "65535"), ("0/tcp", "65535/tcp")),
        (("127.0.0.1:80:8080",), ("8080/tcp",)),
        (("80:8080/udp",), ("8080/udp",)),
        (("[::1]:80:90",), ("90/tcp",)),
        (("80/",), ("80/tcp",)),
    ],
)
def test_ports(texts: tuple[str, ...], ports: tuple[str, ...]) -> None:
    assert expand_ports(texts) == ports


@pytest.mark.parametrize("text", ["", "a", "65536", "10-9", "-1", "80/ftp", "80-", "1-2-3", "\u0661", "80:", "x:80"])
def test_bad_ports(text: str) -> None:
    with pytest.raises(ValueError, match="invalid"):
        parse_port(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9", 9),
        ("TERM", 15),
        ("SIGTERM", 15),
        ("sigusr1", 10),
        ("RTMIN+3", 37),
        ("SIGRTMAX-1", 63),
        ("64", 64),
        ("SYS", 31),
    ],
)
def test_signals(text: str, number: int) -> None:
    assert signal_number(text) == number


@pytest.mark.parametrize("text", ["0", "", "NOPE", "SIGSIGTERM", "1.5", "RTMIN+16", "\u0661", "9 9"])
def test_bad_signals(text: str) -> None:
    with pytest.raises(ValueError, match="invalid signal"):
        signal_number(text)


def test_suggestions() -> None:
    assert distance("kitten", "sitting") == 3
    assert nearest("bulid", ["build", "test"]) == "build"
    assert nearest("xyz", ["build", "test"]) is None
    assert nearest("RUN", ["run"]) == "run"
    assert nearest("b", ["a"]) is None, "nothing of it is left"
    assert nearest("ps", ["push"]) is None
    assert did_you_mean("FNTRYPOINT", ["ENTRYPOINT"]) == " (did you mean ENTRYPOINT?)"
    assert did_you_mean("x" * 1000, ["y" * 1000]) == ""


def test_splitting() -> None:
    assert split_blanks(" a\t\tb\u00a0c ") == [(1, "a"), (4, "b\u00a0c")]
    assert split_words("a 'b c' d\\ e\\", "\\") == [(0, "a"), (2, "'b c'"), (8, "d\\ e")]
    assert split_words("a 'b c", "\\") == [(0, "a"), (2, "'b c")]
    assert split_words("'a\\' b'", "\\") == [(0, "'a\\'"), (5, "b'")]
    assert split_words('"a\\" b"', "\\") == [(0, '"a\\" b"')]
    assert split_words("a\u00a0b", "\\") == [(0, "a"), (2, "b")]
    assert split_words("''", "\\") == [(0, "''")]

"""Platforms: one spelling for each, and which image serves which machine."""

from __future__ import annotations

import re

import pytest

from builder.errors import UsageError
from builder.image.platform import Platform, PlatformNotFoundError, best_match


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("linux/amd64", "linux/amd64"),
        ("amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("LINUX/X86-64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v9", "linux/arm64/v9"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/arm/7", "linux/arm/v7"),
        ("linux/arm/v5", "linux/arm/v5"),
        ("linux/i386", "linux/386"),
        ("linux/i686", "linux/386"),
        ("linux/ppc64le", "linux/ppc64le"),
        ("macos/arm64", "darwin/arm64"),
        ("windows/amd64", "windows/amd64"),
        ("windows(10.0.17763+win32k)/amd64", "windows/amd64"),
        ("linux/arm64/v8.0", "linux/arm64"),
        ("linux/arm64/v9.0", "linux/arm64/v9"),
    ],
)
def test_platforms_have_one_spelling(text: str, canonical: str) -> None:
    assert str(Platform.parse(text)) == canonical
    assert Platform.parse(Platform.parse(text).full) == Platform.parse(text)


@pytest.mark.parametrize(
    "text", ["", "/", "linux/", "/amd64", "a/b/c/d", "linux/amd 64", "linux/\u00e9", "a//b", "windows(", "a(b)c/d"]
)
def test_malformed_platforms_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="invalid platform"):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("wanted", "offered", "expected"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], 1),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm64"], 1),
        ("linux/arm/v7", ["linux/arm/v6", "linux/arm/v7"], 1),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm/v6"], 1),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2"], 1),
        ("linux/amd64/v3", ["linux/amd64/v4", "linux/amd64"], 1),
        ("linux/arm64/v9", ["linux/arm64"], 0),
        ("linux/amd64", ["linux/amd64", "linux/amd64"], 0),
        ("linux/amd64", ["linux/386", "linux/amd64"], 1),
        ("linux/amd64/v2", ["linux/386"], 0),
        ("linux/arm64", ["linux/arm/v6", "linux/arm/v7"], 1),
        ("linux/arm64", ["linux/arm/v7", "linux/arm64"], 1),
        ("linux/arm/v8", ["linux/arm/v6", "linux/arm/v7"], 1),
        ("linux/arm64/v9.1", ["linux/arm64/v8.6", "linux/arm64/v9"], 1),
        ("linux/arm64/v9", ["linux/arm64/v8.5", "linux/arm64"], 0),
        ("linux/arm64/v8.2", ["linux/arm64", "linux/arm64/v8.1"], 1),
        ("windows(10.0.17763)/amd64", ["windows(10.0.14393.1)/amd64", "windows(10.0.17763.5122)/amd64"], 1),
        ("windows(10.0.17763.7)/amd64", ["windows(10.0.17763.5)/amd64", "windows(10.0.17763.7)/amd64"], 1),
        ("windows(10.0.26100)/amd64", ["windows(10.0.17763.1)/amd64", "windows(10.0.20348.9)/amd64"], 1),
        ("windows(10.0.17763)/amd64", ["windows/amd64"], 0),
        ("windows(+win32k)/amd64", ["windows(+win32k)/amd64"], 0),
    ],
)
def test_the_best_variant_a_machine_runs_is_chosen(wanted: str, offered: list[str], expected: int) -> None:
    assert best_match(Platform.parse(wanted), [Platform.parse(one) for one in offered]) == expected


@pytest.mark.parametrize(
    ("wanted", "offered"),
    [
        ("linux/amd64", []),
        ("linux/amd64", ["linux/arm64", "windows/amd64"]),
        ("linux/amd64", ["linux/amd64/v2"]),
        ("linux/arm/v6", ["linux/arm/v7"]),
        ("linux/arm", ["linux/arm64"]),
        ("linux/386", ["linux/amd64"]),
        ("linux/arm64", ["linux/arm64/v9"]),
        ("linux/arm64/v9", ["linux/arm64/v8.6"]),
        ("windows(10.0.17763)/amd64", ["windows(10.0.20348)/amd64", "windows(6.3.17763)/amd64"]),
        ("windows(10.0.20348)/amd64", ["windows(10.0.17763)/amd64", "windows(10.0.26100)/amd64"]),
        ("windows/amd64", ["windows(+win32k)/amd64"]),
    ],
)
def test_what_a_machine_cannot_run_is_not_chosen(wanted: str, offered: list[str]) -> None:
    with pytest.raises(
        PlatformNotFoundError, match=re.escape(f"no manifest for platform {Platform.parse(wanted).full};")
    ):
        best_match(Platform.parse(wanted), [Platform.parse(one) for one in offered])


def test_the_error_lists_what_there_is_without_attestations() -> None:
    offered = [Platform("linux", "s390x"), Platform("unknown", "unknown")]
    with pytest.raises(PlatformNotFoundError) as caught:
        best_match(Platform.parse("linux/amd64"), offered)
    assert caught.value.message.endswith("available: linux/s390x")


def test_an_os_version_is_one_of_windows() -> None:
    assert best_match(Platform("linux", "amd64", "", "6.1"), [Platform("linux", "amd64")]) == 0


def test_json_round_trip() -> None:
    platform = Platform.normalised("linux", "arm", "v6", "")
    assert Platform.from_json(platform.to_json()) == platform
    windows = Platform.parse("windows(10.0.17763.1+win32k)/amd64")
    assert Platform.from_json(windows.to_json()) == windows
    assert platform.to_json() == {"architecture": "arm", "os": "linux", "variant": "v6"}
    assert Platform.from_json({"os": 7, "architecture": None}) == Platform("", "")

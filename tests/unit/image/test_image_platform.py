"""Platforms: one spelling for each, and which image serves which machine."""

from __future__ import annotations

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
    ],
)
def test_platforms_have_one_spelling(text: str, canonical: str) -> None:
    assert str(Platform.parse(text)) == canonical
    assert Platform.parse(canonical) == Platform.parse(text)


@pytest.mark.parametrize("text", ["", "/", "linux/", "/amd64", "a/b/c/d", "linux/amd 64", "linux/\u00e9", "a//b"])
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
        ("linux/arm64", ["linux/arm/v7"]),
    ],
)
def test_what_a_machine_cannot_run_is_not_chosen(wanted: str, offered: list[str]) -> None:
    with pytest.raises(PlatformNotFoundError, match=f"no manifest for platform {wanted}"):
        best_match(Platform.parse(wanted), [Platform.parse(one) for one in offered])


def test_the_error_lists_what_there_is_without_attestations() -> None:
    offered = [Platform("linux", "s390x"), Platform("unknown", "unknown")]
    with pytest.raises(PlatformNotFoundError) as caught:
        best_match(Platform.parse("linux/amd64"), offered)
    assert caught.value.message.endswith("available: linux/s390x")


def test_an_os_version_has_to_be_the_one_asked_for() -> None:
    old, new = (Platform("windows", "amd64", "", version) for version in ("10.0.1", "10.0.2"))
    assert best_match(new, [old, new]) == 1
    assert best_match(Platform("windows", "amd64"), [old, new]) == 0


def test_json_round_trip() -> None:
    platform = Platform.normalised("linux", "arm", "v6", "")
    assert Platform.from_json(platform.to_json()) == platform
    assert platform.to_json() == {"architecture": "arm", "os": "linux", "variant": "v6"}
    assert Platform.from_json({"os": 7, "architecture": None}) == Platform("", "")

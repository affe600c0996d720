"""Platforms: ``os/architecture[/variant]``, normalised and matched as containerd does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from builder.errors import ImageError, UsageError
from builder.patterns import pattern
from builder.values import dataclass

_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armhf": "arm",
    "armel": "arm",
    "armv7l": "arm",
    "armv6l": "arm",
    "i386": "386",
    "i686": "386",
    "ppc64el": "ppc64le",
}
_DEFAULT_VARIANT = {"armhf": "v7", "armv7l": "v7", "armel": "v6", "armv6l": "v6", "arm": "v7"}
_OSES = {"macos": "darwin"}
_SPELLED = {("arm64", "v8"): "", ("arm64", "v8.0"): "", ("arm64", "v9.0"): "v9", ("amd64", "v1"): ""}
_PART = pattern(r"[a-z0-9_.-]+", re.ASCII)
_OS = pattern(r"([a-z0-9_-]+)(?:\(([a-z0-9_.-]*)((?:\+[a-z0-9_.-]+)*)\))?", re.ASCII)
_WINDOWS_VERSION = pattern(r"(\d{1,9}\.\d{1,9})\.(\d{1,9})(?:\..*)?", re.ASCII)
_STABLE_WINDOWS = 20348
"""The build of Windows Server 2022: from it on, containers of it and later ones run on newer hosts."""


class PlatformNotFoundError(ImageError):
    """An index has no manifest for the platform asked for."""


@dataclass(frozen=True, slots=True)
class Platform:
    """A normalised platform: ``arm64/v8`` and ``amd64/v1`` carry no variant, ``arm`` always one.

    ``os_features`` are sorted.
    """

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))

    @property
    def full(self) -> str:
        """The text that ``parse`` reads back as the same: the OS with its version and features."""
        options = "+".join((self.os_version, *self.os_features))
        return "/".join(
            filter(None, (f"{self.os}({options})" if options else self.os, self.architecture, self.variant))
        )

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read ``os/arch[/variant]`` or ``arch``; the OS may be ``os(version+feature)``. Raises UsageError."""
        parts = text.lower().split("/")
        if len(parts) == 1:
            parts = ["linux", *parts]
        system = _OS.fullmatch(parts[0])
        if system is None or len(parts) > 3 or not all(_PART.fullmatch(part) for part in parts[1:]):
            raise UsageError(
                f"invalid platform {text!r}", hint="write it as os/architecture[/variant], e.g. linux/arm64"
            )
        features = (system[3] or "").split("+")[1:]
        return cls.normalised(system[1], parts[1], parts[2] if len(parts) == 3 else "", system[2] or "", features)

    @classmethod
    def normalised(
        cls, os: str, architecture: str, variant: str = "", os_version: str = "", os_features: Sequence[str] = ()
    ) -> Platform:
        """Return the canonical spelling of these words."""
        os, architecture, variant = _OSES.get(os.lower(), os.lower()), architecture.lower(), variant.lower()
        variant = variant or _DEFAULT_VARIANT.get(architecture, "")
        architecture = _ARCHITECTURES.get(architecture, architecture)
        if variant and variant[0].isdigit():
            variant = "v" + variant
        variant = _SPELLED.get((architecture, variant), variant)
        return cls(os, architecture, variant, os_version, tuple(sorted(set(os_features))))

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Platform:
        """Read a descriptor's or config's fields; absent ones are empty."""

        def text(key: str) -> str:
            found = value.get(key)
            return found if isinstance(found, str) else ""

        listed = value.get("os.features")
        features = [one for one in listed if isinstance(one, str)] if isinstance(listed, list | tuple) else []
        return cls.normalised(text("os"), text("architecture"), text("variant"), text("os.version"), features)

    def to_json(self) -> dict[str, object]:
        """Return a descriptor's ``platform`` object."""
        fields: dict[str, object] = {
            "architecture": self.architecture,
            "os": self.os,
            "os.version": self.os_version,
            "os.features": list(self.os_features),
            "variant": self.variant,
        }
        return {key: value for key, value in fields.items() if value}

    def rank(self, offered: Platform) -> int | None:
        """Say how well ``offered`` serves a machine of this platform: 0 is exact, None not at all.

        As containerd has it: arm runs lower variants, arm64 lower revisions and then arm, amd64 lower levels and then
        386; what is offered may need no OS feature that was not asked for, and Windows containers need their build.
        """
        if offered.os != self.os or not set(offered.os_features) <= set(self.os_features):
            return None
        if self.os == "windows" and not _runs_windows(self.os_version, offered.os_version):
            return None
        served = _served(self.architecture, self.variant)
        place = (offered.architecture, offered.variant)
        return served.index(place) if place in served else None


def _served(architecture: str, variant: str) -> list[tuple[str, str]]:
    """Return the architectures and variants that a machine runs, best first."""
    if architecture == "amd64":
        level = _number(variant or "v1")
        lower = [(architecture, f"v{one}" if one > 1 else "") for one in range(level - 1, 0, -1)]
        return [(architecture, variant), *lower, ("386", "")]
    if architecture == "arm":
        return [(architecture, variant), *((architecture, f"v{one}") for one in range(_number(variant) - 1, 4, -1))]
    if architecture == "arm64":
        major, _, minor = (variant or "v8").partition(".")
        lower = _arm64_below(_number(major), int(minor) if minor.isdecimal() and len(minor) < 3 else 0)
        return [(architecture, variant), *lower, *_served("arm", "v9" if variant == "v9" else "v8")]
    return [(architecture, variant)]


def _arm64_below(major: int, minor: int) -> list[tuple[str, str]]:
    """Return the revisions below: v9.x includes v8.(x+5)."""
    found = []
    if major == 9:
        found = [("arm64", f"v9.{one}" if one else "v9") for one in range(minor - 1, -1, -1)]
        major, minor = 8, minor + 6
    if major == 8:
        found += [("arm64", f"v8.{one}" if one else "") for one in range(minor - 1, -1, -1)]
    return found


def _number(variant: str) -> int:
    return int(variant[1:]) if re.fullmatch(r"v[0-9]{1,3}", variant) else 0


def _runs_windows(host: str, container: str) -> bool:
    mine, theirs = _WINDOWS_VERSION.fullmatch(host), _WINDOWS_VERSION.fullmatch(container)
    if mine is None or not container:
        return True
    if theirs is None or mine[1] != theirs[1]:
        return False
    build, needed = int(mine[2]), int(theirs[2])
    return build == needed or _STABLE_WINDOWS <= needed <= build


def best_match(wanted: Platform, offered: Sequence[Platform]) -> int:
    """Return the index of the best of ``offered``, the first among equals. Raises PlatformNotFoundError."""
    ranked = [
        (rank, one.os_version != wanted.os_version, index)
        for index, one in enumerate(offered)
        if (rank := wanted.rank(one)) is not None
    ]
    if not ranked:
        listed = ", ".join(sorted({one.full for one in offered if one.os != "unknown"})) or "none"
        raise PlatformNotFoundError(
            f"no manifest for platform {wanted.full}; available: {listed}",
            hint="choose one of these with --platform, or have the image built for yours",
        )
    return min(ranked)[2]

"""Platforms: ``os/architecture[/variant]``, normalised and matched as containerd does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from builder.errors import ImageError, UsageError
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
_PART = re.compile(r"[a-z0-9_.-]+", re.ASCII)


class PlatformNotFoundError(ImageError):
    """An index has no manifest for the platform asked for."""


@dataclass(frozen=True, slots=True)
class Platform:
    """A normalised platform: ``arm64/v8`` and ``amd64/v1`` carry no variant, ``arm`` always one."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read ``os/arch[/variant]`` or ``arch``. Raises UsageError."""
        parts = text.lower().split("/")
        if len(parts) > 3 or not all(_PART.fullmatch(part) for part in parts):
            raise UsageError(
                f"invalid platform {text!r}", hint="write it as os/architecture[/variant], e.g. linux/arm64"
            )
        if len(parts) == 1:
            parts = ["linux", *parts]
        return cls.normalised(parts[0], parts[1], parts[2] if len(parts) == 3 else "")

    @classmethod
    def normalised(cls, os: str, architecture: str, variant: str = "", os_version: str = "") -> Platform:
        """Return the canonical spelling of these words."""
        os, architecture, variant = _OSES.get(os.lower(), os.lower()), architecture.lower(), variant.lower()
        variant = variant or _DEFAULT_VARIANT.get(architecture, "")
        architecture = _ARCHITECTURES.get(architecture, architecture)
        if variant and variant[0].isdigit():
            variant = "v" + variant
        if (architecture, variant) in {("arm64", "v8"), ("amd64", "v1")}:
            variant = ""
        return cls(os, architecture, variant, os_version)

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Platform:
        """Read a descriptor's or config's fields; absent ones are empty."""

        def text(key: str) -> str:
            found = value.get(key)
            return found if isinstance(found, str) else ""

        return cls.normalised(text("os"), text("architecture"), text("variant"), text("os.version"))

    def to_json(self) -> dict[str, object]:
        """Return a descriptor's ``platform`` object."""
        fields = {
            "architecture": self.architecture,
            "os": self.os,
            "os.version": self.os_version,
            "variant": self.variant,
        }
        return {key: value for key, value in fields.items() if value}

    def rank(self, offered: Platform) -> int | None:
        """Say how well ``offered`` serves a machine of this platform: 0 is exact, None not at all.

        An arm machine runs lower variants, best first; an empty ``os.version`` accepts any.
        """
        if (offered.os, offered.architecture) != (self.os, self.architecture):
            return None
        if self.os_version and offered.os_version != self.os_version:
            return None
        if offered.variant == self.variant:
            return 0
        mine, theirs = _level(self), _level(offered)
        return None if mine is None or theirs is None or theirs > mine else mine - theirs


def _level(platform: Platform) -> int | None:
    variant = platform.variant or {"arm64": "v8", "amd64": "v1"}.get(platform.architecture, "")
    return int(variant[1:]) if re.fullmatch(r"v[0-9]{1,3}", variant) else None


def best_match(wanted: Platform, offered: Sequence[Platform]) -> int:
    """Return the index of the best of ``offered``, the first among equals. Raises PlatformNotFoundError."""
    ranked = [(rank, index) for index, one in enumerate(offered) if (rank := wanted.rank(one)) is not None]
    if not ranked:
        listed = ", ".join(sorted({str(one) for one in offered if one.os != "unknown"})) or "none"
        raise PlatformNotFoundError(f"no manifest for platform {wanted}; available: {listed}")
    return min(ranked)[1]

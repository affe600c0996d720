"""Platforms as the command line has them: ``os/architecture[/variant]``, an architecture alone, ``local``."""

from __future__ import annotations

import argparse

from builder.engine.machine import native_platform
from builder.errors import UsageError
from builder.image.platform import Platform

_ARCHITECTURES = (
    *("amd64", "arm64", "arm", "386", "ppc64le", "s390x", "riscv64", "loong64", "mips64le"),
    *("x86_64", "aarch64", "armhf", "armel", "armv7l", "armv6l", "i386", "i686"),
)
"""What may stand alone as a platform."""


def one_platform(text: str) -> Platform:
    """Read one platform. Raises UsageError."""
    if "/" not in text and text not in ("local", *_ARCHITECTURES):
        raise UsageError(f"--platform {text}: unknown architecture", hint="write os/architecture, e.g. linux/arm64")
    return native_platform() if text == "local" else Platform.parse(text)


def platform_of(options: argparse.Namespace) -> Platform | None:
    """Return what a command's ``--platform`` says, None without one. Raises UsageError."""
    return one_platform(options.platform) if options.platform else None


def platforms_of(options: argparse.Namespace) -> tuple[Platform, ...]:
    """Return what a command's ``--platform`` says that takes several, none without one. Raises UsageError."""
    return several_platforms(options.platform) if options.platform else ()


def several_platforms(text: str) -> tuple[Platform, ...]:
    """Read platforms with commas between them, each once. Raises UsageError."""
    return tuple(dict.fromkeys(one_platform(one.strip()) for one in text.split(",")))

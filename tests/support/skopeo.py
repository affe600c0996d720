"""Skopeo, which says of images what we say."""

from __future__ import annotations

from pathlib import Path

from tests.support.commands import run
from tests.support.need import need_tool


def skopeo(*arguments: str | Path) -> str:
    """Run it and return what it says."""
    return run([need_tool("skopeo"), "--insecure-policy", *arguments]).stdout


def raw_of(name: str) -> bytes:
    """Return the manifest of a name in a registry as skopeo sees it."""
    return skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{name}").encode()

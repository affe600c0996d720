"""What an image in a registry holds, so that builders that are compared have made the same.

Layers are applied by name only: files and their sizes, whiteouts, nothing else. What builders leave behind of their
sandbox is left out.
"""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.images import clean
from tests.support.registry import TestRegistry

_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_LEFT = ("dev/", "proc/", "sys/", "run/", "kaniko/", "workspace/", "etc/hosts", "etc/hostname", "etc/resolv.conf")


@dataclass(frozen=True)
class Contents:
    """The regular files of an image: their sizes by path."""

    files: Mapping[str, int]

    def __str__(self) -> str:
        return f"{len(self.files)} files, {sum(self.files.values()) / 1e6:.1f} MB"

    def differences(self, other: Contents) -> list[str]:
        """Return the paths that only one has, or that have other sizes."""
        names = self.files.keys() | other.files.keys()
        return sorted(name for name in names if self.files.get(name) != other.files.get(name))


def contents(registry: TestRegistry, repository: str, tag: str) -> Contents:
    """Read an image from the registry's files."""
    manifest = _manifest(registry, registry.tags(repository)[tag])
    files: dict[str, int] = {}
    for layer in manifest["layers"]:
        _apply(files, registry, layer["digest"])
    return Contents({name: size for name, size in files.items() if not name.startswith(_LEFT)})


def _manifest(registry: TestRegistry, digest: str) -> Any:
    document = json.loads(registry.blob(digest))
    if "manifests" not in document:
        return document
    # BuildKit adds attestations, which call themselves unknown/unknown.
    (found,) = [one for one in document["manifests"] if one.get("platform", {}).get("os") != "unknown"]
    return _manifest(registry, found["digest"])


def _apply(files: dict[str, int], registry: TestRegistry, digest: str) -> None:
    added: dict[str, int] = {}
    hidden: list[str] = []
    for member in _members(registry, digest):
        name = clean(member.name)
        folder, _, last = name.rpartition("/")
        prefix = folder + "/" if folder else ""
        if last == _OPAQUE:
            hidden.append(prefix)
        elif last.startswith(_WHITEOUT):
            hidden.append(prefix + last.removeprefix(_WHITEOUT))
        elif member.isfile():
            added[name] = member.size
        elif member.islnk():
            target = clean(member.linkname)
            added[name] = added.get(target, files.get(target, 0))
        else:
            files.pop(name, None)
    _hide(files, hidden)
    files.update(added)


def _hide(files: dict[str, int], hidden: list[str]) -> None:
    """Remove files by name; where that is no file it is a directory, with all below."""
    folders = []
    for name in hidden:
        if name not in files:
            folders.append(name.rstrip("/") + "/")
        files.pop(name, None)
    if folders:
        for name in [one for one in files if one.startswith(tuple(folders))]:
            del files[name]


def _members(registry: TestRegistry, digest: str) -> Iterator[tarfile.TarInfo]:
    # A file, because blobs that the registry hands out are in memory.
    _, _, name = digest.partition(":")
    with (registry.storage / "docker/registry/v2/blobs/sha256" / name[:2] / name / "data").open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        with gzip.open(raw) if zipped else raw as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            yield from archive

"""Archives of ``docker save`` from before Docker 1.10: a directory per layer, whose ``json`` names its parent's.

They have no ``manifest.json``; ``repositories`` names the images (Docker's image-spec v1.0). A config in today's format
is made of the topmost layer's json, the way Docker does when it loads one. The image ID is the same as there, but for
images of Docker before 1.8.3, whose json Docker writes anew with the fields that its own version knows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from builder.archive.files import MAX_FILES, Files, read_file
from builder.errors import ImageError
from builder.image.fields import JSON_LIMIT, Fields, to_bytes
from builder.image.manifest import LAYER_LIMIT, ManifestError
from builder.patterns import pattern
from builder.rootfs.compression import decompress
from builder.streams import CHUNK
from builder.values import dataclass, field

_ID = pattern(r"[a-f0-9]{64}")
_DROPPED = ("id", "parent", "parent_id", "Size", "layer_id", "throwaway")


@dataclass(frozen=True, slots=True)
class LegacyImage:
    """One image: its names, the files of its layers, bottom first, and the id of the topmost."""

    identity: str
    tags: tuple[str, ...]
    layers: tuple[str, ...]
    chain: tuple[Mapping[str, object], ...] = field(repr=False)
    known: dict[str, str] = field(repr=False, compare=False)
    """DiffIDs by file, shared with the archive's other images: each layer is read once."""

    def config(self, files: Files) -> bytes:
        """Return the image's config; every layer is read, because nothing says what its DiffID is."""
        value: dict[str, object] = {"architecture": "amd64", "os": "linux"}
        value |= {name: item for name, item in self.chain[-1].items() if name not in _DROPPED}
        value["rootfs"] = {"type": "layers", "diff_ids": [self._diff_id(files, name) for name in self.layers]}
        value["history"] = [_history(one) for one in self.chain]
        return _as_go(to_bytes(dict(sorted(value.items()))))

    def _diff_id(self, files: Files, name: str) -> str:
        if name not in self.known:
            self.known[name] = _diff_id(files, name)
        return self.known[name]


def legacy_images(files: Files) -> list[LegacyImage]:
    """Return the images of an archive that has no manifest.json. Raises ImageError for what is no archive at all."""
    names = _names(files)
    if not names:
        raise ImageError(
            f"{files.where} has neither a manifest.json nor a list of repositories: not an archive of docker save",
            hint="an OCI layout is named with oci-layout://",
        )
    found: list[LegacyImage] = []
    read: dict[str, Fields] = {}
    known: dict[str, str] = {}
    total = 0
    for identity, tags in names.items():
        chain = _chain(files, identity, read)
        total += len(chain)
        if total > MAX_FILES:
            raise ManifestError(f"{files.where}: images with more than {MAX_FILES} layers in all")
        layers = tuple(f"{one['id']}/layer.tar" for one in chain)
        found.append(LegacyImage(identity, tuple(tags), layers, tuple(chain), known))
    return found


def _names(files: Files) -> dict[str, list[str]]:
    """Return the topmost layers with their names; without names, all layers that are nobody's parent."""
    found: dict[str, list[str]] = {}
    if files.size("repositories") is not None:
        fields = Fields.parse(read_file(files, "repositories", JSON_LIMIT), "repositories")
        for name in fields.value:
            for tag, identity in fields.text_map(name).items():
                found.setdefault(_checked(files, identity), []).append(f"{name}:{tag}")
        return found
    layers = [name for name in files.directories() if _ID.fullmatch(name)][: LAYER_LIMIT + 1]
    if len(layers) > LAYER_LIMIT:
        raise ManifestError(f"{files.where}: more than {LAYER_LIMIT} layers")
    parents = {_layer(files, name).text("parent") for name in layers}
    return {name: [] for name in layers if name not in parents}


def _chain(files: Files, identity: str, read: dict[str, Fields]) -> list[Mapping[str, object]]:
    chain: list[Mapping[str, object]] = []
    while identity:
        if len(chain) == LAYER_LIMIT:
            raise ManifestError(f"{files.where}: an image with more than {LAYER_LIMIT} layers")
        if identity not in read:
            read[identity] = _layer(files, identity)
        layer = read[identity]
        chain.append({**layer.value, "id": identity})
        parent = layer.text("parent")
        identity = _checked(files, parent) if parent else ""
    return chain[::-1]


def _layer(files: Files, identity: str) -> Fields:
    return Fields.parse(read_file(files, f"{identity}/json", JSON_LIMIT), f"{identity}/json")


def _checked(files: Files, identity: str) -> str:
    if not _ID.fullmatch(identity):
        raise ManifestError(f"{files.where}: {json.dumps(identity[:100])} is not the id of a layer")
    return identity


def _history(layer: Mapping[str, object]) -> dict[str, object]:
    container = layer.get("container_config")
    command = container.get("Cmd") if isinstance(container, dict) else None
    words = [word for word in command if isinstance(word, str)] if isinstance(command, list) else []
    value = {
        "created": layer.get("created"),
        "author": layer.get("author"),
        "created_by": " ".join(words),
        "comment": layer.get("comment"),
    }
    return {name: item for name, item in value.items() if isinstance(item, str) and item}


def _as_go(raw: bytes) -> bytes:
    """Escape what Go's encoder escapes, so that the digest is that of Docker's own config."""
    for char in "<>&\u2028\u2029":
        raw = raw.replace(char.encode(), f"\\u{ord(char):04x}".encode())
    return raw


def _diff_id(files: Files, name: str) -> str:
    hasher = hashlib.sha256()
    with files.open(name) as stream:
        tar = decompress(stream)
        while chunk := tar.read(CHUNK):
            hasher.update(chunk)
    return f"sha256:{hasher.hexdigest()}"

"""Archives of ``docker save``, read in all their forms and written in the one that everybody loads.

Written ones carry ``manifest.json`` (docker, podman, skopeo) and an OCI layout (containerd) over the same blobs. Read
ones may be that, the modern form of Docker 25, the one with ``ID/layer.tar`` and symlinks between layers, or, without
``manifest.json``, one from before Docker 1.10 (``archive.legacy``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from builder.archive.files import Files, open_files, read_file
from builder.archive.image import Entry, FilesContent, blob_name, split_location
from builder.archive.legacy import LegacyImage, legacy_images
from builder.archive.oci_layout import LAYOUT_FILE, add_blobs, blobs_of, index_entries, read_index
from builder.archive.tarsink import TarSink, output
from builder.errors import ImageError
from builder.image import descriptor as media
from builder.image.artifact import IMAGE_CONFIGS, Artifact, Image
from builder.image.config import ImageConfig
from builder.image.descriptor import Descriptor
from builder.image.digest import DiffID, Digest
from builder.image.fields import JSON_LIMIT, Fields
from builder.image.manifest import LAYER_LIMIT, Index, Manifest, ManifestError
from builder.image.reference import Reference, ReferenceSyntaxError
from builder.patterns import pattern
from builder.streams import CHUNK
from builder.values import dataclass, replace

_BLOB_NAME = pattern(r"(?:blobs/sha256/)?([a-f0-9]{64})(?:\.tar(?:\.gz)?)?")
_GZIP_MAGIC = b"\x1f\x8b"
_FOREIGN_MAGIC = (b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")
_MAGIC_SIZE = 5
_IMAGE_LIMIT = 10_000


# --- reading


def open_docker_archive(location: str, scratch: Path | None = None) -> Image:
    """Open the image at ``PATH[:NAME[:TAG]]`` or ``PATH:@NUMBER`` in an archive of docker save, else its only one.

    An image stored with its manifest keeps it, others get one in Docker's format. Layers are read when opened. Raises
    ContextError, ImageError (ManifestError, DigestMismatchError, UnsafePathError).
    """
    path, name = split_location(location)
    files = open_files(path, scratch)
    try:
        return read_archive(files, name)
    except BaseException:
        files.close()
        raise


def read_archive(files: Files, name: str = "") -> Image:
    """Read the image called ``name`` out of an archive."""
    return _image(files, _choose(files, _listed(files), name))


def named_in_archive(files: Files) -> list[Entry]:
    """Return every image of an archive with its names. Raises ImageError."""
    return [
        Entry(_image(files, saved).artifact, tuple(Reference.parse(tag) for tag in saved.tags))
        for saved in _listed(files)
    ]


def _image(files: Files, saved: _Saved) -> Image:
    if saved.legacy is not None:
        return _made_up(files, saved, saved.legacy.config(files))
    raw_config = read_file(files, saved.config, JSON_LIMIT)
    stored = _stored_manifest(files, Digest.of(raw_config), raw_config)
    return stored or _made_up(files, saved, raw_config)


@dataclass(frozen=True, slots=True)
class _Saved:
    config: str
    tags: tuple[str, ...]
    layers: tuple[str, ...]
    legacy: LegacyImage | None = None


def _listed(files: Files) -> list[_Saved]:
    if files.size("manifest.json") is None:
        return [_Saved(one.identity, one.tags, one.layers, one) for one in legacy_images(files)]
    try:
        value = json.loads(read_file(files, "manifest.json", JSON_LIMIT))
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{files.where}: manifest.json is not valid JSON") from error
    if not isinstance(value, list) or len(value) > _IMAGE_LIMIT:
        raise ManifestError(f"{files.where}: manifest.json is not a list of images")
    saved = []
    for number, item in enumerate(value):
        fields = Fields(item, f"manifest.json[{number}]")
        layers = fields.texts("Layers") or ()
        if len(layers) > LAYER_LIMIT:
            raise ManifestError(f"{files.where}: an image with {len(layers)} layers; the limit is {LAYER_LIMIT}")
        saved.append(_Saved(fields.text("Config"), fields.texts("RepoTags") or (), layers))
    return saved


def _choose(files: Files, saved: Sequence[_Saved], name: str) -> _Saved:
    if name.startswith("@"):
        return _at(files, saved, name[1:])
    matching = [one for one in saved if not name or _canonical(name) in map(_canonical, one.tags)]
    if len({one.config for one in matching}) == 1:
        return matching[0]
    offered = ", ".join(tag for one in saved for tag in one.tags)[:500]
    problem = f"no image called {name!r}" if name else "several images; say which" if saved else "no images"
    if saved and not offered:
        offered = f"{len(saved)} without names; the first is @0"
    raise ImageError(f"{files.where} has {problem}", hint=f"it has: {offered}" if offered else None)


def _at(files: Files, saved: Sequence[_Saved], number: str) -> _Saved:
    if number.isascii() and number.isdigit() and len(number) < 9 and int(number) < len(saved):
        return saved[int(number)]
    raise ImageError(f"{files.where} has no image @{number}", hint=f"it has {len(saved)}, the first is @0")


def _canonical(tag: str) -> str:
    try:
        return str(Reference.parse(tag))
    except ReferenceSyntaxError:
        return tag


def _stored_manifest(files: Files, config: Digest, raw_config: bytes) -> Image | None:
    """Return the image of the archive's own OCI layout that has this config, so that its digest stays what it was."""
    if files.size("oci-layout") is None or files.size("index.json") is None:
        return None
    platform = ImageConfig.parse(raw_config).platform
    for descriptor in read_index(files).manifests:
        if files.size(blob_name(descriptor.digest)) is None:
            continue
        image = Artifact.at(FilesContent(files), descriptor).image(platform)
        if image.manifest.config.digest == config:
            return image
    return None


def _made_up(files: Files, saved: _Saved, raw_config: bytes) -> Image:
    diff_ids = ImageConfig.parse(raw_config).diff_ids
    if len(diff_ids) != len(saved.layers):
        raise ManifestError(
            f"{files.where}: {len(saved.layers)} layers in manifest.json, {len(diff_ids)} in the config"
        )
    layers = [_layer(files, name, diff_id) for name, diff_id in zip(saved.layers, diff_ids, strict=True)]
    manifest = Manifest(
        media_type=media.DOCKER_MANIFEST,
        config=Descriptor(media_type=media.DOCKER_CONFIG, digest=Digest.of(raw_config), size=len(raw_config)),
        layers=tuple(layers),
    )
    raw = manifest.to_bytes()
    names = {layer.digest: name for layer, name in zip(layers, saved.layers, strict=True)}
    content = FilesContent(files, {Digest.of(raw): raw, Digest.of(raw_config): raw_config}, names)
    return Artifact.of(content, raw).image()


def _layer(files: Files, name: str, diff_id: DiffID) -> Descriptor:
    size = files.size(name)
    if size is None:
        raise ManifestError(f"{files.where}: manifest.json names the layer {name!r}, which is not there")
    with files.open(name) as stream:
        head = stream.read(_MAGIC_SIZE)
        if head.startswith(_FOREIGN_MAGIC):
            raise ManifestError(f"{files.where}: the layer {name} is compressed in a way Docker's format does not know")
        if not head.startswith(_GZIP_MAGIC):
            # Uncompressed: the config says what its digest has to be.
            return Descriptor(media_type=media.DOCKER_LAYER, digest=Digest(diff_id), size=size)
        named = _BLOB_NAME.fullmatch(name)
        if named is not None and name.startswith("blobs/"):
            return Descriptor(media_type=media.DOCKER_LAYER_GZIP, digest=Digest.from_hex(named[1]), size=size)
        hasher = hashlib.sha256(head)
        while chunk := stream.read(CHUNK):
            hasher.update(chunk)
    return Descriptor(media_type=media.DOCKER_LAYER_GZIP, digest=Digest.from_hex(hasher.hexdigest()), size=size)


# --- writing


def write_docker_archive(entries: Sequence[Entry], target: Path | BinaryIO) -> None:
    """Write an archive for docker load, podman load, skopeo and ctr, with every entry under its names.

    A name without a tag is left out of RepoTags: docker load takes no digests. Raises OutputError, DigestMismatchError,
    ManifestError for an index.
    """
    listing = [_listing(entry) for entry in entries]
    index = Index(media_type=media.OCI_INDEX, manifests=index_entries(entries))
    blobs = blobs_of(entries)
    with output(target) as stream:
        sink = TarSink(stream)
        add_blobs(sink, blobs)
        sink.file("index.json", index.to_bytes())
        sink.file("manifest.json", json.dumps(listing, separators=(",", ":")).encode())
        sink.file("oci-layout", LAYOUT_FILE)
        sink.end()


def _listing(entry: Entry) -> dict[str, object]:
    manifest = entry.artifact.parsed()
    if not isinstance(manifest, Manifest):
        raise ManifestError(
            "a docker archive holds single images, not an index", hint="choose one with --platform, or write OCI"
        )
    if manifest.config.media_type not in IMAGE_CONFIGS:
        raise ManifestError(f"{entry.artifact.content.where} is no image, and a docker archive holds only images")
    # Names in full: podman takes a short one for localhost's.
    tags = [str(replace(name, digest=None)) for name in entry.names if isinstance(name, Reference) and name.tag]
    return {
        "Config": blob_name(manifest.config.digest),
        "RepoTags": list(dict.fromkeys(tags)),
        "Layers": [blob_name(layer.digest) for layer in manifest.layers],
    }

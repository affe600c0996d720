"""Images in files, read and written with the standard library: the tests' own word on what an OCI layout is.

Shares no code with builder/. Documents and layers are held in memory: these are small images.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import posixpath
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

_OCI = "application/vnd.oci.image."


def clean(name: str) -> str:
    """Return a tar member's name without leading slashes, dots and doubled slashes; the root is empty."""
    return posixpath.normpath("/" + name).lstrip("/")


def inflate(data: bytes) -> bytes:
    """Undo gzip or zstd; other bytes are returned as they are."""
    if data[:2] == b"\x1f\x8b":
        return gzip.decompress(data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as stream:
            return stream.read()
    return data


def open_tar(path: Path) -> tarfile.TarFile:
    """Open a tar of any compression."""
    return tarfile.open(fileobj=io.BytesIO(inflate(path.read_bytes())), mode="r:*")


# --- reading


@dataclass(frozen=True)
class StoredImage:
    """An image read from a layout or archive: parsed documents, their bytes, and each layer's bytes as stored."""

    manifest: Mapping[str, Any]
    config: Mapping[str, Any]
    raw_manifest: bytes
    raw_config: bytes
    layers: tuple[bytes, ...]

    @property
    def digest(self) -> str:
        """The manifest's digest; a plain docker-save tar has no manifest, and this makes no sense for it."""
        return _digest(self.raw_manifest)

    @property
    def image_id(self) -> str:
        """The configuration's digest."""
        return _digest(self.raw_config)


def read_image(source: Path, tag: str | None = None, *, docker: bool = False) -> StoredImage:
    """Read an OCI layout (directory or tar) or, failing that or with ``docker``, a docker-save tar.

    Takes the only image, or the one called ``tag`` (in a layout its ref.name annotation, in an archive a RepoTag).
    Every blob of a layout must have the digest it is stored under.
    """
    files = _Files(source)
    if files.has("index.json") and not docker:
        return _read_layout(files, tag)
    found = [
        one for one in json.loads(files.read("manifest.json")) if tag is None or tag in (one.get("RepoTags") or ())
    ]
    assert len(found) == 1, f"one image expected, found {len(found)}"
    raw_config = files.read(found[0]["Config"])
    layers = tuple(files.read(name) for name in found[0]["Layers"])
    return StoredImage(found[0], json.loads(raw_config), b"", raw_config, layers)


def _read_layout(files: _Files, tag: str | None) -> StoredImage:
    assert json.loads(files.read("oci-layout"))["imageLayoutVersion"] == "1.0.0"
    descriptors = json.loads(files.read("index.json"))["manifests"]
    if tag is not None:
        name = "org.opencontainers.image.ref.name"
        descriptors = [one for one in descriptors if one.get("annotations", {}).get(name) == tag]
    digests = {one["digest"] for one in descriptors}
    assert len(digests) == 1, f"one image expected, found {sorted(digests)}"
    raw_manifest = files.blob(digests.pop())
    manifest = json.loads(raw_manifest)
    assert "manifests" not in manifest, "an index of platforms: choose one"
    raw_config = files.blob(manifest["config"]["digest"])
    layers = tuple(files.blob(one["digest"]) for one in manifest["layers"])
    return StoredImage(manifest, json.loads(raw_config), raw_manifest, raw_config, layers)


class _Files:
    """The files of a directory or of a tar, by name. Docker's own archives link equal layers to each other."""

    def __init__(self, source: Path) -> None:
        self._directory = source if source.is_dir() else None
        self._archived: dict[str, bytes] = {}
        if self._directory is None:
            with open_tar(source) as archive:
                for member in archive:
                    if member.isfile() or member.islnk() or member.issym():
                        stream = archive.extractfile(member)
                        assert stream is not None, f"{member.name} links to nothing"
                        self._archived[clean(member.name)] = stream.read()

    def has(self, name: str) -> bool:
        return (self._directory / name).exists() if self._directory else name in self._archived

    def read(self, name: str) -> bytes:
        return (self._directory / name).read_bytes() if self._directory else self._archived[name]

    def blob(self, digest: str) -> bytes:
        data = self.read("blobs/" + digest.replace(":", "/"))
        assert _digest(data) == digest, f"blob {digest} does not have its digest"
        return data


# --- writing


def layer(*members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Return an uncompressed layer tar of ``members`` exactly as given, in that order."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for given in members:
            member, contents = given if isinstance(given, tuple) else (given, b"")
            if contents:
                member.size = len(contents)
            archive.addfile(member, io.BytesIO(contents))
    return target.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, mode: int | None = None, **fields: Any) -> tarfile.TarInfo:
    """Return a tar header; ``fields`` are TarInfo attributes (linkname, uid, mtime, pax_headers ...)."""
    made = tarfile.TarInfo(name)
    made.type = kind
    made.mode = mode if mode is not None else 0o755 if kind == tarfile.DIRTYPE else 0o644
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def file(name: str, contents: bytes | str = b"", mode: int = 0o644, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """Return a regular file as ``layer`` takes it."""
    data = contents.encode() if isinstance(contents, str) else contents
    return member(name, tarfile.REGTYPE, mode, **fields), data


def directory(name: str, mode: int = 0o755, **fields: Any) -> tarfile.TarInfo:
    """Return a directory as ``layer`` takes it."""
    return member(name, tarfile.DIRTYPE, mode, **fields)


def symlink(name: str, target: str, **fields: Any) -> tarfile.TarInfo:
    """Return a symbolic link as ``layer`` takes it."""
    return member(name, tarfile.SYMTYPE, 0o777, linkname=target, **fields)


def hardlink(name: str, target: str, **fields: Any) -> tarfile.TarInfo:
    """Return a hard link as ``layer`` takes it."""
    return member(name, tarfile.LNKTYPE, linkname=target, **fields)


def tar_directory(root: Path) -> bytes:
    """Return ``root`` as a layer tar: sorted, everything owned by root, mtimes kept in whole seconds."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:

        def as_root(found: tarfile.TarInfo) -> tarfile.TarInfo:
            found.uid = found.gid = 0
            found.uname = found.gname = ""
            found.mtime = int(found.mtime)
            return found

        # TarFile.add walks in sorted order.
        archive.add(root, arcname=".", filter=as_root)
    return target.getvalue()


def write_layout(
    target: Path,
    layers: Sequence[bytes],
    *,
    tag: str = "latest",
    config: Mapping[str, Any] | None = None,
    container: Mapping[str, Any] | None = None,
    manifest: Mapping[str, Any] | None = None,
    compress: bool = True,
    architecture: str | None = None,
) -> str:
    """Write an OCI layout directory holding one image of uncompressed ``layers``; return its manifest's digest.

    ``container`` is the configuration's ``config`` member, ``config`` adds or replaces its other members, ``manifest``
    those of the manifest.
    """
    blobs = target / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def put(data: bytes, media_type: str) -> dict[str, Any]:
        (blobs / hashlib.sha256(data).hexdigest()).write_bytes(data)
        return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}

    stored = [gzip.compress(one, 1, mtime=0) if compress else one for one in layers]
    document = {
        "created": "2020-01-01T00:00:00Z",
        "architecture": architecture or host_architecture(),
        "os": "linux",
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], **(container or {})},
        "rootfs": {"type": "layers", "diff_ids": [_digest(one) for one in layers]},
        "history": [{"created": "2020-01-01T00:00:00Z", "created_by": f"test layer {n}"} for n in range(len(layers))],
        **(config or {}),
    }
    root = {
        "schemaVersion": 2,
        "mediaType": _OCI + "manifest.v1+json",
        "config": put(_json(document), _OCI + "config.v1+json"),
        "layers": [put(one, _OCI + "layer.v1.tar" + ("+gzip" if compress else "")) for one in stored],
        **(manifest or {}),
    }
    descriptor = put(_json(root), _OCI + "manifest.v1+json")
    descriptor["annotations"] = {"org.opencontainers.image.ref.name": tag}
    (target / "index.json").write_bytes(
        _json({"schemaVersion": 2, "mediaType": _OCI + "index.v1+json", "manifests": [descriptor]})
    )
    (target / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    return str(descriptor["digest"])


def host_architecture() -> str:
    """Return this machine's architecture in Go's words."""
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def layer_digests(layers: Iterable[bytes]) -> list[str]:
    """Return the DiffIDs of layers of any compression."""
    return [_digest(inflate(one)) for one in layers]


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()

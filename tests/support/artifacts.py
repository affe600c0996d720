"""Artifacts held in memory, made of plain JSON: images in both formats, indexes, attestations; and what they say."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from builder.image.artifact import Artifact
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest
from builder.image.reference import Reference
from builder.images.rewriting import Rewritten
from tests.support.images import file, layer

OCI, DOCKER = "application/vnd.oci.image.", "application/vnd.docker."
TYPES = {
    "oci": {
        "manifest": OCI + "manifest.v1+json",
        "index": OCI + "index.v1+json",
        "config": OCI + "config.v1+json",
        "gzip": OCI + "layer.v1.tar+gzip",
        "zstd": OCI + "layer.v1.tar+zstd",
        "uncompressed": OCI + "layer.v1.tar",
    },
    "docker": {
        "manifest": DOCKER + "distribution.manifest.v2+json",
        "index": DOCKER + "distribution.manifest.list.v2+json",
        "config": DOCKER + "container.image.v1+json",
        "gzip": DOCKER + "image.rootfs.diff.tar.gzip",
        "uncompressed": DOCKER + "image.rootfs.diff.tar",
    },
}
TARS = (layer(file("a", b"first " * 5000)), layer(file("b", b"second " * 9000)))


@dataclass
class Held:
    """Content in memory; ``opened`` remembers every blob that somebody wanted to read."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)
    where: str = "the test's image"

    def put(self, data: bytes, media_type: str, /, **more: Any) -> dict[str, Any]:
        """Keep ``data`` and return a descriptor as JSON has it."""
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data), **more}

    def put_json(self, value: Mapping[str, Any], media_type: str, /, **more: Any) -> dict[str, Any]:
        """Keep a document, written as others write: with spaces."""
        return self.put(json.dumps(value, indent=3).encode(), media_type, **more)

    def image(
        self,
        image_format: str = "oci",
        tars: Sequence[bytes] = TARS,
        *,
        platform: Mapping[str, str] | None = None,
        container: Mapping[str, Any] | None = None,
        entry: Mapping[str, Any] | None = None,
        **manifest: Any,
    ) -> dict[str, Any]:
        """Keep an image of gzip layers and return its descriptor; ``manifest`` is added to that, ``entry`` to this."""
        types = TYPES[image_format]
        machine = {"os": "linux", "architecture": "amd64", **(platform or {})}
        config = {
            **machine,
            "created": "2020-01-01T00:00:00Z",
            "config": {"Env": ["PATH=/bin", "A=1"], "Cmd": ["sh"], "Labels": {"x": "1"}, **(container or {})},
            "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in tars]},
            "history": [{"created": "2020-01-01T00:00:00Z", "created_by": f"layer {n}"} for n in range(len(tars))],
            "unknown.to.us": {"kept": [1, 2.5, None]},
        }
        value = {
            "schemaVersion": 2,
            "mediaType": types["manifest"],
            "config": self.put_json(config, types["config"]),
            "layers": [self.put(gzip.compress(one, 1, mtime=0), types["gzip"]) for one in tars],
            **manifest,
        }
        return self.put_json(value, types["manifest"], platform=machine, **(entry or {}))

    def attestation(self, about: str) -> dict[str, Any]:
        """Keep an attestation as BuildKit writes them, with a config that looks like an image's."""
        statement = self.put(b'{"_type":"https://in-toto.io/Statement/v1"}', "application/vnd.in-toto+json")
        config = {
            "os": "unknown",
            "architecture": "unknown",
            "config": {},
            "rootfs": {"diff_ids": [statement["digest"]]},
        }
        value = {
            "schemaVersion": 2,
            "mediaType": TYPES["oci"]["manifest"],
            "config": self.put_json(config, TYPES["oci"]["config"]),
            "layers": [statement],
        }
        return self.put_json(
            value,
            TYPES["oci"]["manifest"],
            platform={"os": "unknown", "architecture": "unknown"},
            annotations={
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": about,
            },
        )

    def index(self, entries: Sequence[Mapping[str, Any]], image_format: str = "oci", **more: Any) -> dict[str, Any]:
        """Keep an index of ``entries`` and return its descriptor."""
        kind = TYPES[image_format]["index"]
        return self.put_json({"schemaVersion": 2, "mediaType": kind, "manifests": list(entries), **more}, kind)

    def artifact(self, descriptor: Mapping[str, Any]) -> Artifact:
        """Return what a descriptor leads to."""
        return Artifact.at(
            self,
            Descriptor(
                media_type=descriptor["mediaType"], digest=Digest(descriptor["digest"]), size=descriptor["size"]
            ),
        )

    # What builder.image.artifact.Content asks for.

    def document(self, descriptor: Descriptor) -> bytes:
        return self.blobs[descriptor.digest]

    def open(self, descriptor: Descriptor) -> BinaryIO:
        self.opened.append(descriptor.digest)
        return io.BytesIO(self.blobs[descriptor.digest])

    def origin(self, descriptor: Descriptor) -> Reference | None:
        del descriptor
        return None


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def said(artifact: Artifact) -> dict[str, Any]:
    """Return what the root document says."""
    found: dict[str, Any] = json.loads(artifact.raw)
    assert artifact.root.digest == digest(artifact.raw)
    assert artifact.root.size == len(artifact.raw)
    return found


def document(artifact: Artifact, descriptor: Mapping[str, Any]) -> dict[str, Any]:
    """Return what another document of the artifact says; its bytes must be those that are described."""
    raw = artifact.content.document(
        Descriptor(media_type=descriptor["mediaType"], digest=Digest(descriptor["digest"]), size=descriptor["size"])
    )
    assert digest(raw) == descriptor["digest"]
    assert len(raw) == descriptor["size"]
    found: dict[str, Any] = json.loads(raw)
    return found


def layers(artifact: Artifact, manifest: Mapping[str, Any]) -> list[bytes]:
    """Return the bytes of a manifest's layers as they are stored, after looking at size and digest."""
    found = []
    for one in manifest["layers"]:
        descriptor = Descriptor(media_type=one["mediaType"], digest=Digest(one["digest"]), size=one["size"])
        with artifact.content.open(descriptor) as stream:
            found.append(stream.read())
        assert (digest(found[-1]), len(found[-1])) == (one["digest"], one["size"])
    return found


def config_of(done: Rewritten) -> dict[str, Any]:
    """Return the config of what was changed."""
    return document(done.artifact, said(done.artifact)["config"])

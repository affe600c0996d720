"""Parts of the protocol that a plain push and pull do not need, against Debian's docker-registry."""

from __future__ import annotations

import json
import os
from io import BytesIO
from pathlib import Path

import pytest

from builder.image import descriptor as media
from builder.image.descriptor import Descriptor
from builder.image.digest import Digest
from builder.image.reference import Reference
from builder.registry import listing
from builder.registry.client import Registry
from builder.registry.errors import RegistryError
from tests.support.blobs import MemoryBlobs
from tests.support.registry import TestRegistry

DATA = os.urandom(300_000)
BLOB = Descriptor(media_type=media.OCI_LAYER, digest=Digest.of(DATA), size=len(DATA))


def at(registry: TestRegistry, name: str) -> Reference:
    return Reference.parse(f"{registry.host}/{name}")


def put_image(client: Registry, reference: Reference, *tags: str) -> Digest:
    """Push an image without layers under tags, and return its digest."""
    raw_config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}})
    config = raw_config.encode()
    described = Descriptor(media_type=media.OCI_CONFIG, digest=Digest.of(config), size=len(config))
    client.upload(reference, described, lambda: BytesIO(config))
    manifest = {"schemaVersion": 2, "mediaType": media.OCI_MANIFEST, "config": described.to_json(), "layers": []}
    raw = json.dumps({**manifest, "annotations": {"for": reference.repository}}).encode()
    for tag in tags:
        client.put_manifest(reference, tag, raw, media.OCI_MANIFEST)
    return Digest.of(raw)


def uploads(registry: TestRegistry, repository: str) -> list[Path]:
    """Return what began and has not ended; what this registry leaves of a cancelled one is the state of a hash."""
    return list((registry.storage / "docker/registry/v2/repositories" / repository / "_uploads").glob("*/startedat"))


def test_a_blob_in_pieces(registry: TestRegistry) -> None:
    name = at(registry, "protocol/pieces")
    mark = registry.mark()
    with Registry(upload_piece=100_000) as client:
        client.upload(name, BLOB, lambda: BytesIO(DATA))
        assert [one.method for one in registry.requests(mark)] == ["POST", "PATCH", "PATCH", "PATCH", "PUT"]
        blobs = MemoryBlobs()
        client.fetch_blob(name, BLOB, blobs)
    assert blobs.data == {BLOB.digest: DATA}
    assert uploads(registry, "protocol/pieces") == []


def test_a_question_for_rights_leaves_nothing_behind(registry: TestRegistry, client: Registry) -> None:
    mark = registry.mark()
    client.check_push(at(registry, "protocol/rights"))
    assert [(one.method, one.status) for one in registry.requests(mark)] == [("POST", 202), ("DELETE", 204)]
    assert uploads(registry, "protocol/rights") == []


def test_tags_and_repositories_page_by_page(
    registry: TestRegistry, client: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PAGE", 2)
    tags = ["1", "2", "3", "a", "b"]
    put_image(client, at(registry, "protocol/tags"), *tags)
    assert sorted(client.tags(at(registry, "protocol/tags"))) == tags
    for name in ("protocol/x", "protocol/y", "protocol/z"):
        put_image(client, at(registry, name), "1")
    mark = registry.mark()
    assert {"protocol/tags", "protocol/x", "protocol/y", "protocol/z"} <= set(client.catalog(registry.host))
    assert len(registry.requests(mark)) >= 2


def test_a_manifest_is_deleted_by_digest_only(registry: TestRegistry, client: Registry) -> None:
    name = at(registry, "protocol/gone:1")
    digest = put_image(client, name, "1", "2")
    with pytest.raises(RegistryError, match="cannot delete") as caught:
        client.delete_manifest(name)
    assert "by digest only" in str(caught.value.hint)
    client.delete_manifest(name, digest)
    with pytest.raises(RegistryError, match="MANIFEST_UNKNOWN"):
        client.resolve(name)
    with pytest.raises(RegistryError, match="MANIFEST_UNKNOWN"):
        client.delete_manifest(name, digest)


def test_what_refers_is_kept_under_a_tag(registry: TestRegistry, client: Registry) -> None:
    name = at(registry, "protocol/refers:1")
    subject = put_image(client, name, "1")
    empty = Descriptor(media_type="application/vnd.oci.empty.v1+json", digest=Digest.of(b"{}"), size=2)
    client.upload(name, empty, lambda: BytesIO(b"{}"))
    manifest = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "artifactType": "application/x.sbom",
        "config": empty.to_json(),
        "layers": [empty.to_json()],
        "subject": {"mediaType": media.OCI_MANIFEST, "digest": subject, "size": 5},
    }
    raw = json.dumps(manifest).encode()
    client.put_manifest(name, Digest.of(raw), raw, media.OCI_MANIFEST)
    found = client.referrers(name, subject)
    assert [(one.digest, one.extra["artifactType"]) for one in found] == [(Digest.of(raw), "application/x.sbom")]
    assert f"sha256-{subject.hex}" in client.tags(name)
    assert client.referrers(name, Digest.of(b"another")) == ()

"""Artifacts held in memory into layouts and registries, byte for byte, the way no tool of ours does it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.artifacts import Held
from tests.support.registry import TestRegistry


def to_layout(target: Path, held: Held, names: Mapping[str, Mapping[str, Any]], **index: Any) -> Path:
    """Write a layout with everything that is held; its index has the descriptors with their names as ref.name."""
    (target / "blobs/sha256").mkdir(parents=True)
    for digest, data in held.blobs.items():
        (target / "blobs" / digest.replace(":", "/")).write_bytes(data)
    entries = [
        {**one, **({"annotations": {"org.opencontainers.image.ref.name": name}} if name else {})}
        for name, one in names.items()
    ]
    (target / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries, **index}))
    (target / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return target


def to_registry(registry: TestRegistry, held: Held, descriptor: Mapping[str, Any], name: str) -> str:
    """Put an artifact into a registry as ``name`` (repository:tag) and return host/name."""
    repository, _, tag = name.partition(":")
    for document in _documents(held, descriptor):
        value = json.loads(held.blobs[document["digest"]])
        for blob in [value["config"], *value["layers"]] if "layers" in value else []:
            _upload(registry, repository, blob["digest"], held.blobs[blob["digest"]])
        target = tag if document["digest"] == descriptor["digest"] else document["digest"]
        path = f"/v2/{repository}/manifests/{target}"
        _request(registry, "PUT", path, 201, held.blobs[document["digest"]], document["mediaType"])
    return f"{registry.host}/{name}"


def _documents(held: Held, descriptor: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield what is below, children first, each perhaps more than once."""
    for child in json.loads(held.blobs[descriptor["digest"]]).get("manifests", ()):
        yield from _documents(held, child)
    yield descriptor


def _upload(registry: TestRegistry, repository: str, digest: str, data: bytes) -> None:
    if registry.has_blob(repository, digest):
        return
    location = _request(registry, "POST", f"/v2/{repository}/blobs/uploads/", 202)
    path = "/" + location.split("://", 1)[-1].partition("/")[2] if "://" in location else location
    joint = "&" if "?" in path else "?"
    _request(registry, "PUT", f"{path}{joint}digest={digest}", 201, data, "application/octet-stream")


def _request(
    registry: TestRegistry, method: str, path: str, status: int, body: bytes = b"", content_type: str = ""
) -> str:
    connection = registry.connect()
    try:
        connection.request(method, path, body, {"Content-Type": content_type} if content_type else {})
        response = connection.getresponse()
        said = response.read()
        assert response.status == status, f"{method} {path}: {response.status} {said!r}"
        return response.getheader("Location") or ""
    finally:
        connection.close()

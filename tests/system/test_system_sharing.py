"""Caches in a real registry: a second machine executes nothing, downloads nothing and makes the same image."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cli import digest_of, pybuild, write_context
from tests.support.need import need_root
from tests.support.registry import Request, TestRegistry

DOCKERFILE = """\
FROM {base} AS tools
RUN mkdir /made && head -c 100 /dev/urandom > /made/random
COPY src /src
FROM {base}
WORKDIR /app
COPY src ./
COPY --from=tools /made /made
COPY --link --chown=7 src/a /linked
RUN head -c 10 /dev/urandom > /own
ENV A=b
"""
FILES: dict[str, str | bytes] = {"src/a": "a" * 5000, "src/b/c": "c"}


@pytest.fixture
def context(tmp_path: Path, busybox_image: str) -> Path:
    need_root("needs root: RUN")
    return write_context(tmp_path / "context", DOCKERFILE.format(base=busybox_image), FILES)


@pytest.fixture
def cache(registry: TestRegistry, request: pytest.FixtureRequest) -> str:
    """A repository of this test's own."""
    name = "".join(char if char.isalnum() else "-" for char in request.node.name.lower()).strip("-")
    return f"{registry.host}/caches/{name}"


def executed(metadata: Path) -> list[str]:
    return [step["name"] for step in json.loads(metadata.read_text())["steps"] if not step["cached"]]


def layers(registry: TestRegistry) -> set[str]:
    """Return every layer that a manifest of the registry names, those of base images too."""
    found: set[str] = set()
    for link in registry.storage.glob("docker/registry/v2/repositories/**/_manifests/revisions/sha256/*/link"):
        named = json.loads(registry.blob(link.read_text())).get("layers", ())
        found |= {one["digest"] for one in named if "image.layer" in one["mediaType"]}
    return found


def downloads(registry: TestRegistry, since: int) -> list[Request]:
    """Return the requests for the bytes of a layer."""
    known = layers(registry)
    return [
        one
        for one in registry.requests(since=since)
        if one.method == "GET" and "/blobs/" in one.path and one.path.rpartition("/")[2] in known
    ]


def uploads(registry: TestRegistry, since: int) -> list[Request]:
    """Return the requests that carried bytes of a blob."""
    return [one for one in registry.requests(since=since) if one.method in ("PATCH", "PUT") and "/blobs/" in one.path]


def test_a_second_machine_executes_nothing_and_downloads_no_layer(
    registry: TestRegistry, context: Path, cache: str, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    name = f"{registry.host}/app/sharing:1"
    shared = f"type=registry,ref={cache}"
    meta = tmp_path / "meta.json"
    options = ["-t", name, "--push", f"--metadata-file={meta}"]
    one = pybuild(*options, f"--cache-to={shared},mode=max", context, root=first)
    assert len(executed(meta)) == 7
    mark = registry.mark()
    two = pybuild(*options, f"--cache-from={shared}", f"--cache-to={shared},mode=max", context, root=second)
    assert executed(meta) == []
    assert digest_of(one) == digest_of(two)
    assert downloads(registry, mark) == []
    assert uploads(registry, mark) == []
    assert "WARN" not in two.stderr.upper()

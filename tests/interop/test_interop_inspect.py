"""``inspect`` and ``history`` beside Docker's and podman's, of the same image; artifacts that others pushed."""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import images
from tests.support.cli import pybuild, write_context
from tests.support.docker import DockerEngine
from tests.support.registry import TestRegistry

_DOCKERFILE = """\
FROM scratch
MAINTAINER me <me@example.org>
COPY a /app/a
ENV A=1 B="two words"
LABEL org.example.key="value with spaces" plain=1
EXPOSE 80/tcp 53/udp
VOLUME /data
USER 5:6
WORKDIR /app
COPY b /app/b
ENTRYPOINT ["/app/a"]
CMD ["x", "y z"]
STOPSIGNAL SIGINT
HEALTHCHECK --interval=10s CMD ["true"]
ONBUILD RUN true
SHELL ["/bin/ash", "-c"]
"""

_SAME = ("Id", "Created", "Author", "Architecture", "Os", "RootFS")
_SAME_CONFIG = ("User", "ExposedPorts", "Env", "Cmd", "Healthcheck", "Volumes", "WorkingDir", "Entrypoint", "OnBuild",
                "Labels", "StopSignal", "Shell")  # fmt: skip

_TEMPLATES = (
    "{{.Id}}",
    "{{.RepoTags}} {{index .RepoTags 0}} {{len .RepoTags}}",
    "{{.Config.Env}} {{json .Config.Env}}",
    "{{.Config.Cmd}}|{{.Config.Entrypoint}}|{{.Config.Shell}}|{{.Config.OnBuild}}",
    "{{json .RootFS.Layers}} {{.RootFS.Type}} {{len .RootFS.Layers}}",
    '{{index .Config.Labels "org.example.key"}}|{{index .Config.Labels "nope"}}|{{.Config.Labels.plain}}',
    "{{.Config.Labels}}",
    "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}",
    "{{range $p, $_ := .Config.ExposedPorts}}{{$p}} {{end}}",
    "{{range .Config.Env}}{{println .}}{{end}}",
    "{{.Config.Volumes}} {{json .Config.Volumes}} {{.Config.ExposedPorts}}",
    "{{if .Config.Healthcheck}}{{json .Config.Healthcheck.Test}}{{else}}none{{end}}",
    "{{.Config.User}}:{{.Config.WorkingDir}}:{{.Config.StopSignal}}",
    "{{.Os}}/{{.Architecture}} {{.Author}} {{.Created}}",
    '{{join .Config.Env ","}} {{upper .Os}} {{title .Os}} {{printf "%-10s|" .Os}}',
    '{{with .Config}}{{.WorkingDir}}{{end}} {{if eq .Os "linux"}}yes{{end}}',
    "{{json .Config.Labels}}",
)


@pytest.fixture
def archive(tmp_path: Path, store_root: Path) -> Path:
    context = write_context(tmp_path / "context", _DOCKERFILE, {"a": "12345", "b": "x" * 2000})
    target = tmp_path / "image.tar"
    pybuild(context, "-t", "looked/at:1", "--format", "docker", "-o", f"type=docker,dest={target}", root=store_root)
    return target


def test_docker_says_the_same(docker_engine: DockerEngine, archive: Path, store_root: Path) -> None:
    docker_engine.run("load", "--input", archive)
    theirs = docker_engine.inspect("looked/at:1")
    for source in ("looked/at:1", str(archive)):
        (ours,) = json.loads(pybuild("inspect", source, root=store_root).stdout)
        assert {key: ours[key] for key in _SAME} == {key: theirs[key] for key in _SAME}
        assert {key: ours["Config"].get(key) for key in _SAME_CONFIG} == {
            key: theirs["Config"].get(key) for key in _SAME_CONFIG
        }
    assert json.loads(pybuild("inspect", "looked/at:1", root=store_root).stdout)[0]["RepoTags"] == theirs["RepoTags"]
    different = []
    for template in _TEMPLATES:
        expected = docker_engine.run("image", "inspect", "--format", template, "looked/at:1").stdout
        found = pybuild("inspect", "--format", template, "looked/at:1", root=store_root).stdout
        if found != expected:
            different.append((template, expected, found))
    assert different == []


def test_docker_tells_the_same_history(docker_engine: DockerEngine, archive: Path, store_root: Path) -> None:
    docker_engine.run("load", "--input", archive)
    form = "{{.ID}}|{{.CreatedBy}}|{{.Size}}|{{.Comment}}"
    for flags in ([], ["--no-trunc"], ["--no-trunc", "--human=false"]):
        theirs = docker_engine.run("history", *flags, "--format", form, "looked/at:1").stdout
        assert pybuild("history", "--sizes", *flags, "--format", form, "looked/at:1", root=store_root).stdout == theirs
    quiet = docker_engine.run("history", "-q", "looked/at:1").stdout
    assert pybuild("history", "-q", "looked/at:1", root=store_root).stdout == quiet


# Podman has neither Healthcheck and Shell there, nor Docker's split of StopSignal and OnBuild from the rest.
_NOT_PODMAN = (
    "Healthcheck",
    "Shell",
    "ExposedPorts",
    "RepoTags",
    "RootFS.Type",
    "{{.Id}}",
    "upper",
    "title",
    "Created",
)


def test_podman_says_the_same(podman: Callable[..., str], archive: Path, store_root: Path) -> None:
    podman("load", "--quiet", "--input", str(archive))
    (theirs,) = json.loads(podman("image", "inspect", "looked/at:1"))
    (ours,) = json.loads(pybuild("inspect", str(archive), root=store_root).stdout)
    assert ours["Id"] == f"sha256:{theirs['Id']}"
    assert ours["RootFS"] == theirs["RootFS"]
    assert ours["Digest"] == theirs["Digest"]
    different = []
    for template in _TEMPLATES:
        if any(one in template for one in _NOT_PODMAN):
            continue
        expected = podman("image", "inspect", "--format", template, "looked/at:1")
        found = pybuild("inspect", "--format", template, str(archive), root=store_root).stdout
        if found.rstrip("\n") != expected.rstrip("\n"):
            different.append((template, expected, found))
    assert different == []


def _send(registry: TestRegistry, method: str, path: str, body: bytes, kind: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=60)
    try:
        connection.request(method, path, body=body, headers={"Content-Type": kind})
        response = connection.getresponse()
        response.read()
        return response.status, response.headers.get("Location", "")
    finally:
        connection.close()


def test_artifacts_and_what_refers_to_an_image(registry: TestRegistry, tmp_path: Path, store_root: Path) -> None:
    """docker-registry has no referrers API: the tag that stands in for it is read (distribution-spec)."""
    layout = tmp_path / "layout"
    digest = images.write_layout(layout, [images.layer(images.file("a"))])
    target = registry.push(layout, "referred:1")
    none = pybuild("inspect", "--referrers", target, root=store_root).stdout
    assert none == "nothing refers to it\n"

    blobs: dict[bytes, dict[str, object]] = {}
    for data in (b"{}", b'{"spdxVersion":"SPDX-2.3"}'):
        name = "sha256:" + hashlib.sha256(data).hexdigest()
        _, location = _send(registry, "POST", "/v2/referred/blobs/uploads/", b"", "application/octet-stream")
        path = location[location.index("/v2/") :]
        path += ("&" if "?" in path else "?") + f"digest={name}"
        assert _send(registry, "PUT", path, data, "application/octet-stream")[0] == 201
        blobs[data] = {"mediaType": "application/spdx+json", "digest": name, "size": len(data)}
    kind = "application/vnd.oci.image.manifest.v1+json"
    subject = {"mediaType": kind, "digest": digest, "size": len(images.read_image(layout).raw_manifest)}
    config = {**blobs[b"{}"], "mediaType": "application/vnd.oci.empty.v1+json"}
    artifact = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": kind,
            "artifactType": "application/spdx+json",
            "config": config,
            "layers": [blobs[b'{"spdxVersion":"SPDX-2.3"}']],
            "subject": subject,
        }
    ).encode()
    name = "sha256:" + hashlib.sha256(artifact).hexdigest()
    assert _send(registry, "PUT", f"/v2/referred/manifests/{name}", artifact, kind)[0] == 201
    entry = {"mediaType": kind, "digest": name, "size": len(artifact), "artifactType": "application/spdx+json"}
    index_kind = "application/vnd.oci.image.index.v1+json"
    index = json.dumps({"schemaVersion": 2, "mediaType": index_kind, "manifests": [entry]}).encode()
    assert _send(registry, "PUT", f"/v2/referred/manifests/{digest.replace(':', '-')}", index, index_kind)[0] == 201

    listed = json.loads(pybuild("inspect", "--referrers", "--json", target, root=store_root).stdout)
    assert [(one["Digest"], one["ArtifactType"]) for one in listed] == [(name, "application/spdx+json")]
    shown = pybuild("inspect", "--referrers", target, root=store_root).stdout.splitlines()
    assert shown[0].split() == ["DIGEST", "ARTIFACT", "TYPE", "SIZE"]
    assert shown[1].startswith(f"{name}   application/spdx+json   ")
    other = pybuild("inspect", "--referrers", "--json", "--artifact-type", "text/other", target, root=store_root)
    assert json.loads(other.stdout) == []
    repository = target.rpartition(":")[0]
    (value,) = json.loads(pybuild("inspect", f"{repository}@{name}", root=store_root).stdout)
    assert value["ArtifactType"] == "application/spdx+json"
    assert value["Subject"] == subject
    pybuild("validate", f"{repository}@{name}", root=store_root)

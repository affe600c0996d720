"""``pybuild manifest`` beside Docker's own: the same steps give the same answers and the same lists in a registry."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.cli import pybuild
from tests.support.commands import run
from tests.support.need import need_tool
from tests.support.registry import TestRegistry

_LISTS = (
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
)


def _images(registry: TestRegistry, directory: Path, form: str, repositories: dict[str, str]) -> None:
    """Push an image for each architecture, in ``form`` (oci or v2s2), as ``name:tag``."""
    for architecture, name in repositories.items():
        layout = directory / f"{form}-{architecture}"
        images.write_layout(layout, [images.layer(images.file("a", architecture))], architecture=architecture)
        copy = ["copy", "--quiet", "--format", form, "--dest-tls-verify=false", f"oci:{layout}:latest"]
        run([need_tool("skopeo"), "--insecure-policy", *copy, f"docker://{registry.host}/{name}"])


def _pushed(registry: TestRegistry, name: str, tag: str) -> tuple[str, Any, bytes]:
    status, headers, body = registry.get(f"/v2/{name}/manifests/{tag}", accept=", ".join(_LISTS))
    assert status == 200
    return headers["content-type"], json.loads(body), body


def test_the_documented_steps(registry: TestRegistry, store_root: Path, tmp_path: Path) -> None:
    """Create, annotate, inspect and push as Docker's manual has them; each answer as it is printed there."""
    _images(registry, tmp_path, "v2s2", {one: f"doc/coolapp-{one}-linux:v1" for one in ("ppc64le", "arm", "amd64")})
    prefix = f"{registry.host}/doc/coolapp"
    members = [f"{prefix}-{one}-linux:v1" for one in ("ppc64le", "arm", "amd64")]

    created = pybuild("manifest", "create", f"{prefix}:v1", *members, root=store_root)
    assert created.stdout == f"Created manifest list {prefix}:v1\n"
    annotated = pybuild("manifest", "annotate", f"{prefix}:v1", members[1], "--arch", "arm", "--variant", "v7",
                        root=store_root)  # fmt: skip
    assert annotated.stdout == ""
    again = pybuild("manifest", "create", f"{prefix}:v1", *members, root=store_root, status=67)
    assert "refusing to amend an existing manifest list with no --amend flag" in again.stderr

    shown = pybuild("manifest", "inspect", f"{prefix}:v1", root=store_root).stdout
    digests = [one["digest"] for one in json.loads(shown)["manifests"]]
    assert [one["platform"] for one in json.loads(shown)["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm", "os": "linux", "variant": "v7"},
        {"architecture": "ppc64le", "os": "linux"},
    ]
    verbose = json.loads(pybuild("manifest", "inspect", "-v", f"{prefix}:v1", root=store_root).stdout)
    assert [one["Ref"] for one in verbose] == sorted(members)
    assert verbose[1]["Descriptor"]["platform"]["variant"] == "v7"

    mark = registry.mark()
    pushed = pybuild("manifest", "push", "--purge", f"{prefix}:v1", root=store_root).stdout.splitlines()
    sent = [(method, path) for method, path, _, _ in registry.requests(since=mark) if method not in ("GET", "HEAD")]
    # Blobs are mounted from the members' repositories: not one travels.
    assert {method for method, path in sent if "/blobs/" in path} == {"POST"}
    assert all("mount=" in path for _, path in sent if "/blobs/" in path)
    assert pushed[:-1] == [f"Pushed ref {prefix}@{one} with digest: {one}" for one in digests]
    assert re.fullmatch("sha256:[0-9a-f]{64}", pushed[-1])
    kind, _, body = _pushed(registry, "doc/coolapp", "v1")
    assert kind == _LISTS[0]
    assert body.decode() + "\n" == shown
    gone = pybuild("manifest", "push", f"{prefix}:v1", root=store_root, status=67)
    assert f"No such manifest: {prefix}:v1" in gone.stderr
    # Now from the registry.
    assert pybuild("manifest", "inspect", f"{prefix}:v1", root=store_root).stdout == shown


class _Both:
    """Runs every step with Docker's program and with ours, each on a list of its own."""

    def __init__(self, registry: TestRegistry, store: Path, config: Path) -> None:
        self._host = registry.host
        self._store = store
        self._config = config
        version = run([need_tool("docker"), "--version"]).stdout
        found = re.search(r"version (\d+)", version)
        assert found is not None, version
        self.modern = int(found[1]) >= 23
        """Whether it knows OCI manifests and keeps their bytes."""

    def step(self, action: str, *words: str, ok: bool = True) -> str:
        """Compare what both print for ``words``, in which LIST is each one's repository for lists; return it."""
        flags = ["--insecure"] if action in ("create", "inspect", "push") else []
        theirs = self._docker("manifest", action, *flags, *(self._named(one, "docker") for one in words))
        status = (0,) if ok else (64, 67, 69)
        ours = pybuild(
            "manifest", action, *flags, *(self._named(one, "pybuild") for one in words), root=self._store, status=status
        )
        assert (theirs.returncode == 0) == ok, theirs.stderr
        expected = theirs.stdout.replace("/docker:", "/pybuild:").replace("/docker@", "/pybuild@")
        assert _comparable(ours.stdout, self.modern) == _comparable(expected, self.modern)
        return ours.stdout

    def _named(self, word: str, which: str) -> str:
        return word.replace("LIST", f"{self._host}/both/{which}").replace("HOST", self._host)

    def _docker(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DOCKER_CONFIG": str(self._config)}
        command = [need_tool("docker"), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def _comparable(text: str, modern: bool) -> Any:
    """Return JSON parsed, without what old Dockers do not show; other text as it is."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if not modern:
        for one in value if isinstance(value, list) else [value]:
            one.pop("Raw", None)
        return value
    return text


@pytest.fixture
def both(registry: TestRegistry, store_root: Path, tmp_path: Path) -> _Both:
    config = tmp_path / "docker-config"
    config.mkdir()
    return _Both(registry, store_root, config)


_ARCHITECTURES = ("amd64", "arm", "arm64")


def test_docker_does_the_same(both: _Both, registry: TestRegistry, tmp_path: Path) -> None:
    # In the list's own repository: Docker 20.10 writes manifests anew that it copies from others.
    for which in ("docker", "pybuild"):
        _images(registry, tmp_path / which, "v2s2", {one: f"both/{which}:{one}" for one in _ARCHITECTURES})
    both.step("create", "LIST:1", "LIST:nope", ok=False)
    both.step("create", "LIST:1", "LIST:arm64", "LIST:amd64")
    both.step("create", "LIST:1", "LIST:arm", ok=False)
    both.step("create", "--amend", "LIST:1", "LIST:arm")
    both.step("annotate", "LIST:1", "LIST:arm", "--variant", "v7", "--os-features", "a,b", "--os-version", "1.2")
    both.step("annotate", "LIST:1", "LIST:arm", "--os-features", "b,c")
    both.step("annotate", "LIST:1", "LIST:nope", "--arch", "arm", ok=False)
    both.step("annotate", "LIST:1", "LIST:arm", "--arch", "nonsense", ok=False)
    both.step("inspect", "LIST:1")
    both.step("inspect", "--verbose", "LIST:1")
    both.step("inspect", "LIST:1", "LIST:arm")
    both.step("inspect", "-v", "LIST:1", "LIST:arm")
    both.step("inspect", "LIST:1", "LIST:nope", ok=False)
    both.step("inspect", "LIST:arm64")
    both.step("inspect", "-v", "LIST:arm64")
    both.step("inspect", "LIST:nope", ok=False)
    both.step("push", "LIST:1")
    assert _pushed(registry, "both/docker", "1") == _pushed(registry, "both/pybuild", "1")
    both.step("push", "--purge", "LIST:1")
    both.step("push", "LIST:1", ok=False)
    both.step("inspect", "LIST:1")
    both.step("inspect", "-v", "LIST:1")
    both.step("create", "LIST:2", "LIST:1", ok=False)
    both.step("create", "LIST:2", "LIST:arm")
    both.step("rm", "LIST:2")
    both.step("rm", "LIST:2", ok=False)


@pytest.mark.parametrize("form", ["v2s2", "oci"])
def test_docker_does_the_same_with_other_repositories(
    both: _Both, registry: TestRegistry, tmp_path: Path, form: str
) -> None:
    if not both.modern:
        pytest.skip("this Docker writes manifests anew that it copies, and knows no OCI manifests")
    members = [f"HOST/{form}-{one}:1" for one in _ARCHITECTURES]
    _images(registry, tmp_path, form, {one: f"{form}-{one}:1" for one in _ARCHITECTURES})
    both.step("create", f"LIST:{form}", *reversed(members))
    both.step("inspect", f"LIST:{form}")
    both.step("inspect", "-v", f"LIST:{form}", members[0])
    both.step("push", f"LIST:{form}")
    assert _pushed(registry, "both/docker", form) == _pushed(registry, "both/pybuild", form)
    both.step("inspect", "-v", f"LIST:{form}")


def test_members_from_anywhere(registry: TestRegistry, store_root: Path, tmp_path: Path) -> None:
    """A layout, an archive and an image built here become one index, whose images skopeo reads."""
    layout, other = tmp_path / "amd64", tmp_path / "arm64"
    images.write_layout(layout, [images.layer(images.file("a", "amd64"))], architecture="amd64", tag="one")
    images.write_layout(other, [images.layer(images.file("a", "arm64"))], architecture="arm64")
    archive = tmp_path / "arm64.tar"
    run(
        [need_tool("skopeo"), "--insecure-policy", "copy", "--quiet", f"oci:{other}:latest", f"oci-archive:{archive}:x"]
    )
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    pybuild(tmp_path / "context", "-t", "here:1", "--platform", "linux/s390x", root=store_root)
    target = f"{registry.host}/anywhere:1"
    places = [f"oci-layout://{layout}:one", f"oci-archive:{archive}:x", "store:here:1"]
    pybuild("manifest", "create", target, *places, root=store_root)
    digest = pybuild("manifest", "push", target, root=store_root).stdout.splitlines()[-1]
    kind, value, _ = _pushed(registry, "anywhere", "1")
    assert kind == _LISTS[1]
    assert {one["platform"]["architecture"] for one in value["manifests"]} == {"amd64", "arm64", "s390x"}
    for architecture in ("amd64", "arm64", "s390x"):
        copied = tmp_path / f"copied-{architecture}"
        command = [need_tool("skopeo"), "--insecure-policy", "--override-arch", architecture, "copy", "--quiet"]
        run([*command, "--src-tls-verify=false", f"docker://{registry.host}/anywhere@{digest}", f"oci:{copied}:x"])
        assert images.read_image(copied).config["architecture"] == architecture

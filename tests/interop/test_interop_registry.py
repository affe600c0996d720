"""Our client, layouts and archives against the tools that people use: what we write they read, and the reverse."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.archive.docker_archive import open_docker_archive, write_docker_archive
from builder.archive.image import Entry
from builder.archive.oci_layout import open_oci_layout, write_oci_archive, write_oci_directory
from builder.events import SilentReporter
from builder.image.artifact import Image
from builder.image.digest import Digest
from builder.image.platform import Platform
from builder.image.reference import Reference
from builder.registry.client import Registry
from builder.registry.credentials import ConfiguredCredentials
from builder.registry.errors import AuthenticationError, RegistryError
from builder.registry.repository import remote_artifact
from builder.registry.routes import InsecureHosts, Routes
from builder.registry.session import SessionSettings
from builder.registry.trust import Trust
from tests.support import images, trees
from tests.support import registry as registries
from tests.support.blobs import MemoryBlobs
from tests.support.certificates import make_authority
from tests.support.commands import run
from tests.support.docker import DockerEngine
from tests.support.need import need_root, need_tool
from tests.support.pushing import PushedImage, push_image
from tests.support.registry import TestRegistry

PLATFORM = Platform.parse(f"linux/{images.host_architecture()}")
PASSWORD = "correct horse"
# Docker makes these in every container it creates.
MADE_BY_DOCKER = (".dockerenv", "dev", "proc", "sys", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab")


@pytest.fixture
def image(busybox_layout: Path) -> Iterator[Image]:
    opened = open_oci_layout(f"{busybox_layout}:latest", PLATFORM)
    yield opened
    opened.content.close()


def as_pushed(image: Image) -> PushedImage:
    return PushedImage(
        raw_manifest=image.raw_manifest, media_type=image.media_type, raw_config=image.raw_config, layers=image.layers
    )


def skopeo(*arguments: str | Path) -> Any:
    return run([need_tool("skopeo"), "--insecure-policy", *arguments])


# --- registry


def test_skopeo_pulls_what_we_push(registry: TestRegistry, client: Registry, image: Image, tmp_path: Path) -> None:
    names = [Reference.parse(f"{registry.host}/pushed/{name}") for name in ("one:1", "one:2", "two:1")]
    digest = push_image(client, names, as_pushed(image), SilentReporter())
    for name in names:
        inspected = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{name}").stdout)
        assert inspected["Digest"] == digest == image.digest
    skopeo("copy", "--src-tls-verify=false", f"docker://{names[2]}", f"oci:{tmp_path}/back:x")
    assert images.read_image(tmp_path / "back").digest == digest
    assert trees.difference(trees.tree_of(tmp_path / "back"), trees.apply_layers(tmp_path / "back")) == []


@pytest.mark.parametrize("form", ["v2s2", "oci"])
def test_we_pull_what_skopeo_pushes(registry: TestRegistry, client: Registry, busybox_layout: Path, form: str) -> None:
    name = f"{registry.host}/skopeo/{form}:1"
    skopeo("copy", "--dest-tls-verify=false", "--format", form, f"oci:{busybox_layout}:latest", f"docker://{name}")
    blobs = MemoryBlobs()
    pulled = remote_artifact(client, Reference.parse(name), blobs).image(PLATFORM)
    inspected = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{name}").stdout)
    assert (pulled.digest, [one.descriptor.digest for one in pulled.layers]) == (
        inspected["Digest"],
        inspected["Layers"],
    )
    with pulled.layers[0].open() as stream:
        assert images.layer_digests([stream.read()]) == [pulled.layers[0].diff_id]


def test_a_second_push_moves_no_bytes_and_another_repository_mounts(
    registry: TestRegistry, client: Registry, image: Image
) -> None:
    first = Reference.parse(f"{registry.host}/again/first:1")
    push_image(client, [first], as_pushed(image), SilentReporter())
    mark = registry.mark()
    push_image(client, [first], as_pushed(image), SilentReporter())
    assert sorted(one.method for one in registry.requests(mark)) == ["HEAD", "HEAD", "PUT"]
    mark = registry.mark()
    pushed = PushedImage(
        raw_manifest=image.raw_manifest,
        media_type=image.media_type,
        raw_config=image.raw_config,
        layers=image.layers,
        origins=(first,) * len(image.layers),
    )
    push_image(client, [Reference.parse(f"{registry.host}/again/second:1")], pushed, SilentReporter())
    mounted = [one for one in registry.requests(mark) if "mount=" in one.path]
    assert [one.status for one in mounted] == [201] * len(image.layers)
    assert len([one for one in registry.requests(mark) if one.method == "PUT"]) == 2, "the config and the manifest"


def test_a_missing_repository(registry: TestRegistry, client: Registry) -> None:
    with pytest.raises(RegistryError, match=r"MANIFEST_UNKNOWN|NAME_UNKNOWN"):
        client.resolve(Reference.parse(f"{registry.host}/no/such:thing"))


def test_htpasswd(tmp_path: Path, image: Image) -> None:
    with registries.serve(tmp_path / "registry", htpasswd={"ann": PASSWORD}) as running:
        name = Reference.parse(f"{running.host}/private/app:1")
        for wrong in ({}, docker_config(running.host, "wrong")):
            with Registry(ConfiguredCredentials(wrong)) as refused, pytest.raises(AuthenticationError) as caught:
                push_image(refused, [name], as_pushed(image), SilentReporter())
            assert (caught.value.status, caught.value.exit_code) == (401, 77)
        with Registry(ConfiguredCredentials(docker_config(running.host, PASSWORD))) as known:
            push_image(known, [name], as_pushed(image), SilentReporter())
            assert known.resolve(name).digest == image.digest
        logged_in = skopeo("inspect", "--tls-verify=false", f"--creds=ann:{PASSWORD}", f"docker://{name}")
        assert json.loads(logged_in.stdout)["Digest"] == image.digest


def docker_config(host: str, password: str) -> dict[str, str]:
    auth = base64.b64encode(f"ann:{password}".encode()).decode()
    return {"DOCKER_AUTH_CONFIG": json.dumps({"auths": {host: {"auth": auth}}})}


def test_tls_with_an_authority_of_ones_own(tmp_path: Path, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = make_authority(tmp_path / "authority")
    with registries.serve(tmp_path / "registry", tls=authority.server()) as running:
        name = Reference.parse(f"{running.host}/tls/app:1")
        with Registry() as unknowing, pytest.raises(RegistryError, match="not trusted") as caught:
            unknowing.resolve(name)
        assert "SSL_CERT_FILE" in str(caught.value.hint)
        own = Trust(authorities=(authority.ca_file,))
        with Registry(settings=SessionSettings(routes=Routes(trusts={running.host: own}))) as trusting:
            push_image(trusting, [name], as_pushed(image), SilentReporter())
            assert trusting.resolve(name).digest == image.digest
        with Registry(settings=SessionSettings(routes=Routes(insecure=InsecureHosts([running.host])))) as careless:
            assert careless.resolve(name).digest == image.digest
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
        with Registry() as told:
            assert told.resolve(name).digest == image.digest


# --- files

NAMES = [Reference.parse("demo/app:1"), Reference.parse("localhost:5000/app:2")]


@pytest.fixture
def archive(image: Image, tmp_path: Path) -> Path:
    write_docker_archive([Entry(image.artifact, tuple(NAMES))], tmp_path / "docker.tar")
    return tmp_path / "docker.tar"


def test_docker_loads_our_archive(
    docker_engine: DockerEngine, archive: Path, image: Image, busybox_layout: Path, tmp_path: Path
) -> None:
    said = docker_engine.run("load", "--input", archive).stdout
    assert said == "Loaded image: demo/app:1\nLoaded image: localhost:5000/app:2\n"
    assert docker_engine.inspect("demo/app:1")["Id"] == image.manifest.config.digest
    exported = docker_engine.export("localhost:5000/app:2", tmp_path / "exported.tar")
    expected = trees.tree_of(busybox_layout)
    assert trees.difference(expected, trees.tree_of(exported), ignore=MADE_BY_DOCKER) == []


def test_containerd_imports_our_archives(docker_engine: DockerEngine, image: Image, tmp_path: Path) -> None:
    address = Path(docker_engine.host.removeprefix("unix://")).parent / "exec/containerd/containerd.sock"
    ctr: list[str | Path] = [need_tool("ctr"), "--address", address, "--namespace", "pybuild-test", "images"]
    write_docker_archive([Entry(image.artifact, tuple(NAMES[:1]))], tmp_path / "docker.tar")
    write_oci_archive([Entry(image.artifact, tuple(NAMES[1:]))], tmp_path / "oci.tar")
    run([*ctr, "import", "--no-unpack", tmp_path / "docker.tar"])
    run([*ctr, "import", "--no-unpack", tmp_path / "oci.tar"])
    listed = run([*ctr, "list"]).stdout
    for name in NAMES:
        (line,) = [line for line in listed.splitlines() if line.startswith(f"{name} ")]
        assert image.digest in line


def test_podman_loads_our_archives(podman: Any, archive: Path, image: Image, tmp_path: Path) -> None:
    assert podman("load", "--input", archive).splitlines() == [f"Loaded image: {name}" for name in NAMES]
    write_oci_archive([Entry(image.artifact, (Reference.parse("demo/oci:3"),))], tmp_path / "oci.tar")
    podman("load", "--input", tmp_path / "oci.tar")
    for name in ("docker.io/demo/app:1", "localhost:5000/app:2"):
        assert json.loads(podman("inspect", name))[0]["Id"] == image.manifest.config.digest.hex


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci-dir"])
def test_we_read_what_podman_saves(podman: Any, archive: Path, image: Image, tmp_path: Path, form: str) -> None:
    podman("load", "--input", archive)
    podman("save", "--format", form, "--output", tmp_path / "saved", "docker.io/demo/app:1")
    if form == "docker-archive":
        saved = open_docker_archive(f"{tmp_path / 'saved'}:demo/app:1")
    else:
        saved = open_oci_layout(str(tmp_path / "saved"), PLATFORM)
    with saved.layers[0].open() as stream:
        assert images.layer_digests([stream.read()]) == [image.layers[0].diff_id]
    assert saved.raw_config == image.raw_config
    saved.content.close()


def test_we_read_what_docker_saves(docker_engine: DockerEngine, archive: Path, image: Image, tmp_path: Path) -> None:
    docker_engine.run("load", "--input", archive)
    docker_engine.run("save", "--output", tmp_path / "saved.tar", "demo/app:1", "localhost:5000/app:2")
    saved = open_docker_archive(f"{tmp_path / 'saved.tar'}:demo/app:1")
    assert saved.raw_config == image.raw_config
    with saved.layers[0].open() as stream:
        assert Digest.of(stream.read()) == image.layers[0].diff_id
    saved.content.close()


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive", "oci"])
def test_skopeo_reads_what_we_write(archive: Path, image: Image, tmp_path: Path, kind: str) -> None:
    location = f"docker-archive:{archive}:docker.io/demo/app:1"
    if kind == "oci-archive":
        write_oci_archive([Entry(image.artifact, tuple(NAMES))], tmp_path / "oci.tar")
        location = f"oci-archive:{tmp_path}/oci.tar:2"
    elif kind == "oci":
        write_oci_directory([Entry(image.artifact, tuple(NAMES))], tmp_path / "oci")
        location = f"oci:{tmp_path}/oci:2"
    skopeo("copy", location, f"oci:{tmp_path}/copied:x")
    copied = images.read_image(tmp_path / "copied")
    assert images.layer_digests(copied.layers) == [one.diff_id for one in image.layers]
    if kind != "docker-archive":
        assert copied.digest == image.digest


def test_umoci_unpacks_what_we_write(image: Image, busybox_layout: Path, tmp_path: Path) -> None:
    need_root("needs root: owners of what umoci unpacks")
    write_oci_directory([Entry(image.artifact, tuple(NAMES[:1]))], tmp_path / "oci")
    run([need_tool("umoci"), "unpack", "--image", f"{tmp_path}/oci:1", tmp_path / "bundle"])
    unpacked = trees.tree_of(tmp_path / "bundle/rootfs")
    assert trees.difference(trees.tree_of(busybox_layout), unpacked) == []


def test_umoci_changes_a_layout_of_ours_and_we_read_it(image: Image, tmp_path: Path) -> None:
    write_oci_directory([Entry(image.artifact, tuple(NAMES[:1]))], tmp_path / "oci")
    run([need_tool("umoci"), "config", "--image", f"{tmp_path}/oci:1", "--tag", "changed", "--config.user", "7"])
    changed = open_oci_layout(f"{tmp_path}/oci:changed", PLATFORM)
    assert json.loads(changed.raw_config)["config"]["User"] == "7"
    changed.content.close()

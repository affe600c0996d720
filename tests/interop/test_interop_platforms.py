"""Builds for several platforms: on a base that buildah made, read by skopeo, podman and buildah, the same each time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import images, trees
from tests.support.cli import digest_of, pybuild, write_context
from tests.support.commands import run
from tests.support.need import need_root, need_tool
from tests.support.registry import TestRegistry
from tests.support.skopeo import skopeo

HERE = images.host_architecture()
OTHER = "arm64" if HERE == "amd64" else "amd64"
PLATFORMS = f"linux/{HERE},linux/{OTHER}"
DOCKERFILE = """\
ARG BASE
FROM --platform=$BUILDPLATFORM $BASE AS tools
RUN head -c 16 /dev/urandom | sha256sum > /random
FROM $BASE
ARG TARGETPLATFORM TARGETARCH
LABEL for=$TARGETPLATFORM
COPY --from=tools /random /
COPY file /$TARGETARCH
"""


@dataclass(frozen=True)
class Base:
    """An image for two platforms in the test registry."""

    name: str
    digest: str


@pytest.fixture(scope="module")
def base(registry: TestRegistry, busybox_layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """Push busybox as it is, and once more as if it were for the other platform, in an index that buildah makes."""
    need_root("needs root: buildah")
    folder = tmp_path_factory.mktemp("two-platforms")
    busybox = images.read_image(busybox_layout, "latest")
    images.write_layout(folder / OTHER, [images.inflate(one) for one in busybox.layers], architecture=OTHER)
    registry.push(busybox_layout, "both:here")
    registry.push(folder / OTHER, "both:other")
    where = ["--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs"]
    (folder / "accounts").write_text("{}")
    remote = [f"--authfile={folder}/accounts", "--tls-verify=false"]

    def buildah(command: str, *arguments: str) -> None:
        run([need_tool("buildah"), *where, "manifest", command, *arguments])

    buildah("create", "both")
    for tag in ("here", "other"):
        buildah("add", *remote, "both", f"docker://{registry.host}/both:{tag}")
    buildah("push", *remote, "--all", "both", f"docker://{registry.host}/both:1")
    digest = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{registry.host}/both:1"))["Digest"]
    return Base(f"{registry.host}/both:1", digest)


@pytest.fixture
def build(base: Base, tmp_path: Path) -> Callable[..., Any]:
    context = write_context(tmp_path / "context", DOCKERFILE, {"file": "1"})

    def carry_out(*options: str, root: Path) -> Any:
        return pybuild("--platform", PLATFORMS, "--build-arg", f"BASE={base.name}", *options, context, root=root)

    return carry_out


@pytest.mark.parametrize("form", ["oci", "docker"])
def test_others_read_what_is_pushed(
    form: str,
    build: Callable[..., Any],
    base: Base,
    registry: TestRegistry,
    podman: Any,
    store_root: Path,
    tmp_path: Path,
) -> None:
    name, layout = f"{registry.host}/made-{form}:1", tmp_path / "layout"
    files = (
        "--iidfile",
        f"{tmp_path}/iid",
        "--digest-file",
        f"{tmp_path}/digest",
        "--metadata-file",
        f"{tmp_path}/meta",
    )
    output = f"type=oci,dest={layout},tar=false"
    done = build("-t", name, "--push", "-o", output, "--format", form, *files, root=store_root)
    digest = digest_of(done)
    assert done.stdout == f"{name}@{digest}\n"
    assert registry.missing(f"made-{form}") == set()
    assert (tmp_path / "iid").read_text() == (tmp_path / "digest").read_text() == digest
    metadata = json.loads((tmp_path / "meta").read_text())
    assert (metadata["containerimage.digest"], metadata["containerimage.descriptor"]["digest"]) == (digest, digest)
    assert [one["platform"] for one in metadata["platforms"]] == PLATFORMS.split(",")

    remote = f"docker://{name}"
    assert json.loads(skopeo("inspect", "--tls-verify=false", remote))["Digest"] == digest
    index = json.loads(skopeo("inspect", "--tls-verify=false", "--raw", remote))
    assert [one["platform"]["architecture"] for one in index["manifests"]] == [HERE, OTHER]
    skopeo("copy", "--all", "--src-tls-verify=false", remote, f"dir:{tmp_path}/all")
    assert json.loads((tmp_path / "all/manifest.json").read_text()) == index
    if form == "oci":  # skopeo looks for OCI's media types only in a layout
        skopeo("copy", "--all", f"oci:{layout}:1", f"dir:{tmp_path}/from-layout")
        assert json.loads((tmp_path / "from-layout/manifest.json").read_text()) == index
    (tmp_path / "accounts").write_text("{}")
    accounts = f"--authfile={tmp_path}/accounts"
    for architecture in (HERE, OTHER):
        chosen = ("--override-os=linux", f"--override-arch={architecture}")
        inspected = json.loads(skopeo(*chosen, "inspect", "--tls-verify=false", remote))
        assert inspected["Architecture"] == architecture
        assert inspected["Labels"]["for"] == f"linux/{architecture}"
        podman("pull", accounts, "--tls-verify=false", "--platform", f"linux/{architecture}", name)
        (image,) = json.loads(podman("image", "inspect", name))
        assert (image["Architecture"], image["Labels"]["for"]) == (architecture, f"linux/{architecture}")
        podman("image", "rm", "--force", name)
    where = ["--root", f"{tmp_path}/root", "--runroot", f"{tmp_path}/run", "--storage-driver", "vfs"]
    buildah = [need_tool("buildah"), *where]
    run([*buildah, "pull", accounts, "--tls-verify=false", "--platform", f"linux/{OTHER}", name])
    assert json.loads(run([*buildah, "inspect", "--type=image", name]).stdout)["OCIv1"]["architecture"] == OTHER


def test_a_step_for_the_build_platform_runs_once(
    build: Callable[..., Any], base: Base, store_root: Path, tmp_path: Path
) -> None:
    outputs = ("-o", f"type=local,dest={tmp_path}/out", "-o", f"type=oci,dest={tmp_path}/both.tar", "--progress=plain")
    done = build(*outputs, root=store_root)
    assert done.stderr.count("RUN head") == done.stderr.count(f"[linux/{HERE} tools 2/2] RUN head") > 0
    here, other = (tmp_path / f"out/linux_{one}" for one in (HERE, OTHER))
    assert (here / "random").read_bytes() == (other / "random").read_bytes()
    assert ((here / HERE).read_text(), (other / OTHER).read_text()) == ("1", "1")
    for architecture, folder in ((HERE, here), (OTHER, other)):
        chosen = ("--override-os=linux", f"--override-arch={architecture}")
        skopeo(*chosen, "copy", f"oci-archive:{tmp_path}/both.tar", f"oci:{tmp_path}/{architecture}:x")
        unpacked = trees.tree_of(tmp_path / architecture)
        assert unpacked["random"] == trees.tree_of(folder)["random"]


def test_the_digest_is_the_same_again_and_elsewhere(build: Callable[..., Any], tmp_path: Path) -> None:
    text = (tmp_path / "context/Dockerfile").read_text().replace("head -c 16 /dev/urandom", "echo")
    (tmp_path / "context/Dockerfile").write_text(text)
    epoch = ("--source-date-epoch", "1600000000")
    stores = (tmp_path / "one", tmp_path / "two", tmp_path / "one")
    assert len({digest_of(build(*epoch, root=store)) for store in stores}) == 1
    again = digest_of(build(*epoch, "--no-cache", root=tmp_path / "one"))
    assert again == digest_of(build(*epoch, root=tmp_path / "one"))


def test_the_base_is_named(build: Callable[..., Any], base: Base, store_root: Path, tmp_path: Path) -> None:
    build("-o", f"type=oci,dest={tmp_path}/layout,tar=false", root=store_root)
    said = {"org.opencontainers.image.base.name": base.name, "org.opencontainers.image.base.digest": base.digest}
    index = json.loads(skopeo("inspect", "--raw", f"oci:{tmp_path}/layout"))
    assert index["annotations"] == said
    for one in index["manifests"]:
        manifest = json.loads((tmp_path / "layout/blobs/sha256" / one["digest"].partition(":")[2]).read_text())
        assert manifest["annotations"] == said

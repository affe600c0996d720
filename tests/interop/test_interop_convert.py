"""What builds, ``convert``, ``append`` and ``mutate`` write in any form, in the hands of other tools."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import images, trees
from tests.support.artifacts import TARS, Held, digest
from tests.support.called import Call
from tests.support.cli import write_context
from tests.support.commands import run
from tests.support.need import need_root, need_tool
from tests.support.placing import to_registry
from tests.support.registry import TestRegistry
from tests.support.skopeo import raw_of, skopeo

FORMATS = ("oci", "docker")
COMPRESSIONS = ("gzip", "gzip-single-member", "zstd", "uncompressed")
FORMS = [
    (image_format, how)
    for image_format in FORMATS
    for how in COMPRESSIONS
    if (image_format, how) != ("docker", "zstd")  # there is no media type for it
]
ARM = {"architecture": "arm64"}
Tool = Callable[..., str]
_NUMBERS = itertools.count()


pytestmark = pytest.mark.usefixtures("empty_docker_config")


def id_of(raw_manifest: bytes) -> str:
    return str(json.loads(raw_manifest)["config"]["digest"])


def rootfs_of(podman: Tool, name: str, target: Path) -> trees.Tree:
    """Return what podman unpacks an image to; the image is then removed."""
    podman("pull", "--quiet", "--tls-verify=false", name)
    made = podman("create", name, "/x").strip()
    try:
        podman("export", "--output", str(target), made)
    finally:
        podman("rm", made)
        podman("rmi", "--force", name)
    return trees.tree_of(target)


@pytest.mark.parametrize(("image_format", "how"), FORMS)
def test_a_build_in_every_form(
    call: Call, podman: Tool, busybox_image: str, registry: TestRegistry, tmp_path: Path, image_format: str, how: str
) -> None:
    need_root("needs root: owners of what RUN makes")
    dockerfile = f"FROM {busybox_image}\nRUN echo made > /made && chown 5:6 /made\nCOPY file /copied\nWORKDIR /work\n"
    context = write_context(tmp_path / "context", dockerfile, {"file": "x" * 2_000_000})
    name = f"{registry.host}/forms/{image_format}:{how}"
    flags = [f"--format={image_format}", f"--compression={how}", "--force-compression", "--source-date-epoch=1000"]
    call(context, *flags, "-t", name, "--push", "-o", f"type=oci,dest={tmp_path}/oci.tar")

    ours = images.read_image(tmp_path / "oci.tar")
    raw = raw_of(name)
    assert digest(raw) == ours.digest
    kinds = {one["mediaType"].rpartition(".")[2].rpartition("+")[2] for one in json.loads(raw)["layers"]}
    assert kinds == {"tar" if how == "uncompressed" else how.removesuffix("-single-member")}
    skopeo("copy", "--quiet", "--src-tls-verify=false", f"docker://{name}", f"dir:{tmp_path}/dir")
    podman("pull", "--quiet", "--tls-verify=false", name)
    assert json.loads(podman("inspect", name))[0]["Id"] == ours.image_id[7:]
    theirs = rootfs_of(podman, name, tmp_path / "theirs.tar")
    for path in ("made", "copied", "work", "bin/busybox"):
        assert trees.difference({path: trees.tree_of(tmp_path / "oci.tar")[path]}, {path: theirs[path]}) == []
    # From the store, without executing anything, in the usual form: the same image.
    call(context, "--source-date-epoch=1000", "-o", f"type=oci,dest={tmp_path}/plain.tar")
    assert images.read_image(tmp_path / "plain.tar").image_id == ours.image_id


@pytest.mark.parametrize("how", ["gzip", "gzip-single-member", "uncompressed"])
def test_umoci_unpacks_what_we_recompressed(call: Call, tmp_path: Path, how: str) -> None:
    need_root("needs root: umoci")
    images.write_layout(tmp_path / "in", TARS, tag="1", compress=how != "gzip")
    level = ["--compression-level", "9"] if how == "gzip" else []
    call("convert", "--compression", how, *level, f"oci-layout://{tmp_path}/in:1", f"oci-layout://{tmp_path}/out:2")
    run([need_tool("umoci"), "unpack", "--image", f"{tmp_path}/out:2", str(tmp_path / "bundle")])
    assert trees.difference(trees.tree_of(tmp_path / "in"), trees.tree_of(tmp_path / "bundle/rootfs")) == []


@pytest.mark.parametrize("source", FORMATS)
def test_convert_says_what_skopeo_says(call: Call, registry: TestRegistry, tmp_path: Path, source: str) -> None:
    """Another tool's conversion has the same config and layers, under the same media types."""
    target = "docker" if source == "oci" else "oci"
    held = Held()
    name = to_registry(registry, held, held.image(source), f"convert/{next(_NUMBERS)}:t")
    ours = f"{registry.host}/convert/ours:{target}"
    call("convert", "--format", target, name, ours)
    skopeo(
        *("copy", "--quiet", "--src-tls-verify=false", "--format", "v2s2" if target == "docker" else "oci"),
        *(f"docker://{name}", f"dir:{tmp_path}/theirs"),
    )
    made, theirs = json.loads(raw_of(ours)), json.loads((tmp_path / "theirs/manifest.json").read_bytes())
    assert made["mediaType"] == theirs.get("mediaType", made["mediaType"])
    assert made["config"]["mediaType"] == theirs["config"]["mediaType"]
    fields = ("mediaType", "digest", "size")
    assert [[one[field] for field in fields] for one in made["layers"]] == (
        [[one[field] for field in fields] for one in theirs["layers"]]
    )
    assert made["config"]["digest"] == digest(held.blobs[made["config"]["digest"]])


@pytest.mark.parametrize("source", FORMATS)
def test_there_and_back(call: Call, registry: TestRegistry, tmp_path: Path, source: str) -> None:
    """Images and indexes through both formats, registries and files keep image IDs and DiffIDs."""
    target = "docker" if source == "oci" else "oci"
    held = Held()
    root = held.index([held.image(source), held.image(source, platform=ARM)], source)
    name = to_registry(registry, held, root, f"convert/{next(_NUMBERS)}:t")
    there, back = (f"{registry.host}/convert/{word}:{source}" for word in ("there", "back"))
    call("convert", "--format", target, name, there)
    call("convert", "--format", source, there, back)
    ids = []
    for one in (name, there, back):
        entries = json.loads(raw_of(one))["manifests"]
        repository = one.rpartition(":")[0]
        manifests = [raw_of(f"{repository}@{entry['digest']}") for entry in entries]
        ids.append(
            [(id_of(raw), entry["platform"]["architecture"]) for raw, entry in zip(manifests, entries, strict=True)]
        )
        skopeo("copy", "--quiet", "--all", "--src-tls-verify=false", f"docker://{one}", f"dir:{tmp_path}/{len(ids)}")
    assert ids[0] == ids[1] == ids[2]
    call("convert", "--format", "docker", "--platform", "linux/arm64", back, f"docker-archive:{tmp_path}/d.tar:x:1")
    skopeo("copy", "--quiet", f"docker-archive:{tmp_path}/d.tar:docker.io/library/x:1", f"dir:{tmp_path}/last")
    assert id_of((tmp_path / "last/manifest.json").read_bytes()) == ids[0][1][0]


@pytest.mark.parametrize("how", COMPRESSIONS)
def test_engines_run_what_was_converted(
    call: Call,
    podman: Tool,
    buildah_with_vfs: Tool,
    registry: TestRegistry,
    busybox_image: str,
    tmp_path: Path,
    how: str,
) -> None:
    name = f"{registry.host}/convert/engines:{how}"
    call("convert", "--compression", how, "--force-compression", busybox_image, name)
    assert id_of(raw_of(name)) == id_of(raw_of(busybox_image))
    before = rootfs_of(podman, busybox_image, tmp_path / "before.tar")
    assert trees.difference(before, rootfs_of(podman, name, tmp_path / "after.tar")) == []
    container = buildah_with_vfs("from", "--tls-verify=false", name).strip()
    mounted = Path(buildah_with_vfs("mount", container).strip())
    assert (mounted / "bin/busybox").exists()
    buildah_with_vfs("rm", container)
    buildah_with_vfs("rmi", "--force", name)


@pytest.mark.parametrize("image_format", FORMATS)
def test_appended_and_mutated_images(
    call: Call, podman: Tool, registry: TestRegistry, busybox_image: str, tmp_path: Path, image_format: str
) -> None:
    start, grown = (f"{registry.host}/changed/{word}:{image_format}" for word in ("start", "grown"))
    changed = f"{registry.host}/changed/config:{image_format}"
    call("convert", "--format", image_format, busybox_image, start)
    (tmp_path / "files/opt").mkdir(parents=True)
    (tmp_path / "files/opt/tool").write_text("#!/bin/sh\necho tool\n")
    (tmp_path / "files/opt/tool").chmod(0o755)
    (tmp_path / "fix.tar").write_bytes(images.layer(images.file("opt/fix", "fixed"), images.file("etc/.wh.group", "")))
    call("append", start, grown, "--layer", tmp_path / "files", "--layer", tmp_path / "fix.tar")
    call("mutate", grown, changed, "--entrypoint", '["/opt/tool"]', "--env", "A=b", "--label", "x=y", "--user", "7")

    before = rootfs_of(podman, start, tmp_path / "before.tar")
    after = rootfs_of(podman, changed, tmp_path / "after.tar")
    assert set(after) - set(before) >= {"opt/tool", "opt/fix"}
    assert "etc/group" in before
    assert "etc/group" not in after
    podman("pull", "--quiet", "--tls-verify=false", changed)
    (seen,) = json.loads(podman("inspect", changed))
    assert seen["Config"]["Entrypoint"] == ["/opt/tool"]
    assert "A=b" in seen["Config"]["Env"]
    assert (seen["Config"]["Labels"], seen["Config"]["User"]) == ({"x": "y"}, "7")
    assert [one.get("created_by") for one in seen["History"]][-2:] == ["pybuild append files", "pybuild append fix.tar"]
    assert seen["Id"] == id_of(raw_of(changed))[7:]
    if image_format == "oci":
        annotations: dict[str, Any] = json.loads(raw_of(grown))["annotations"]
        assert annotations["org.opencontainers.image.base.name"] == start
        assert annotations["org.opencontainers.image.base.digest"] == digest(raw_of(start))


def test_images_from_scratch(call: Call, podman: Tool, tmp_path: Path) -> None:
    (tmp_path / "one.tar").write_bytes(TARS[0])
    call("append", "scratch", f"docker-archive:{tmp_path}/d.tar:made:1", "--layer", tmp_path / "one.tar")
    assert "made:1" in podman("load", "--quiet", "--input", str(tmp_path / "d.tar"))
    skopeo("copy", "--quiet", f"docker-archive:{tmp_path}/d.tar", f"dir:{tmp_path}/dir")


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_foreign_layer_stays_where_it_is(call: Call, tmp_path: Path, image_format: str) -> None:
    images.write_layout(tmp_path / "in", TARS, tag="1")
    about = ["--digest", digest(b"elsewhere"), "--size", "9", "--diff-id", digest(b"tar")]
    out = f"oci-layout://{tmp_path}/out:1"
    call("convert", "--format", image_format, f"oci-layout://{tmp_path}/in:1", f"oci-archive:{tmp_path}/start.tar:1")
    call("append", f"oci-archive:{tmp_path}/start.tar", out, "--url", "https://files.test/layer.tar.gz", *about)
    (entry,) = json.loads((tmp_path / "out/index.json").read_bytes())["manifests"]
    raw = (tmp_path / "out/blobs" / entry["digest"].replace(":", "/")).read_bytes()
    if image_format == "oci":  # in a layout, skopeo takes OCI's media types only
        assert skopeo("inspect", "--raw", f"oci:{tmp_path}/out:1").encode() == raw
    layer = json.loads(raw)["layers"][-1]
    assert (layer["urls"], layer["digest"]) == (["https://files.test/layer.tar.gz"], digest(b"elsewhere"))
    assert "foreign" in layer["mediaType"] or "nondistributable" in layer["mediaType"]
    assert not (tmp_path / "out/blobs" / layer["digest"].replace(":", "/")).exists()

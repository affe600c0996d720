"""``copy``, ``pull``, ``push``, ``save`` and ``load`` against skopeo, umoci, podman, buildah and docker, both ways.

In Docker's and OCI's format, for one platform and for several; and manifests with the oddities of other tools.
"""

from __future__ import annotations

import base64
import itertools
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.artifacts import TARS, TYPES, Held, digest
from tests.support.called import Call
from tests.support.commands import run
from tests.support.docker import DockerEngine
from tests.support.legacy import identity, legacy_archive
from tests.support.need import need_tool
from tests.support.placing import to_layout, to_registry
from tests.support.registry import TestRegistry
from tests.support.skopeo import raw_of, skopeo

ARCH = images.host_architecture()
OTHER = "s390x" if ARCH != "s390x" else "amd64"
FORMATS = ("oci", "docker")
_NUMBERS = itertools.count()


pytestmark = pytest.mark.usefixtures("empty_docker_config")


def index(held: Held, image_format: str) -> dict[str, Any]:
    """Keep an index of two images and return its descriptor."""
    return held.index(
        [held.image(image_format, platform={"os": "linux", "architecture": one}) for one in (ARCH, OTHER)], image_format
    )


def placed(registry: TestRegistry, held: Held, root: Mapping[str, Any]) -> str:
    return to_registry(registry, held, root, f"interop/{next(_NUMBERS)}:t")


def blobs_of(layout: Path) -> set[str]:
    return {f"sha256:{path.name}" for path in layout.glob("blobs/sha256/*")}


# --- skopeo


@pytest.mark.parametrize("image_format", FORMATS)
def test_skopeo_copies_on_what_we_copied(call: Call, registry: TestRegistry, tmp_path: Path, image_format: str) -> None:
    held = Held()
    name = placed(registry, held, index(held, image_format))
    ours, back = f"{registry.host}/interop/ours:{image_format}", tmp_path / "back"
    call("copy", name, ours, f"oci-layout://{tmp_path}/layout:t", f"oci-archive:{tmp_path}/x.tar:t")

    assert digest(raw_of(ours)) == index(held, image_format)["digest"]
    skopeo(
        "copy", "--quiet", "--all", "--preserve-digests", "--src-tls-verify=false", f"docker://{ours}", f"dir:{back}"
    )
    assert digest((back / "manifest.json").read_bytes()) == index(held, image_format)["digest"]
    if image_format == "oci":  # in a layout, skopeo takes OCI's media types only
        for source in (f"oci:{tmp_path}/layout:t", f"oci-archive:{tmp_path}/x.tar:t"):
            skopeo("copy", "--quiet", "--all", source, f"oci:{tmp_path}/again:{next(_NUMBERS)}")
        assert blobs_of(tmp_path / "again") == set(held.blobs)


@pytest.mark.parametrize("image_format", ["oci", "v2s2"])
def test_we_copy_what_skopeo_copied(call: Call, registry: TestRegistry, tmp_path: Path, image_format: str) -> None:
    held = Held()
    name = placed(registry, held, index(held, "docker"))
    theirs = f"{registry.host}/interop/skopeo:{image_format}"
    secure = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    skopeo("copy", "--quiet", "--all", *secure, "--format", image_format, f"docker://{name}", f"docker://{theirs}")

    (line,) = call("copy", theirs, f"oci-layout://{tmp_path}/ours:t").lines

    assert line.endswith(digest(raw_of(theirs)))
    call("pull", "--all-platforms", theirs)
    call("push", theirs, f"{theirs}-again")
    assert raw_of(f"{theirs}-again") == raw_of(theirs)


def test_single_images_between_skopeos_files_and_ours(call: Call, tmp_path: Path) -> None:
    held = Held()
    start = to_layout(tmp_path / "start", held, {"t": held.image()})
    theirs = {
        "oci-archive": f"oci-archive:{tmp_path}/s.oci.tar:t",
        "docker-archive": f"docker-archive:{tmp_path}/s.docker.tar:app:1",
        "oci": f"oci:{tmp_path}/s-layout:t",
    }
    for kind, place in theirs.items():
        skopeo("copy", "--quiet", f"oci:{start}:t", place)
        ours = tmp_path / f"ours-{kind}"
        call(
            "copy",
            place.replace("oci:", "oci-layout://", 1),
            f"oci-layout://{ours}:t",
            f"docker-archive:{ours}.tar:a:1",
        )
        found = images.read_image(ours, "t")
        assert images.layer_digests(found.layers) == [digest(one) for one in TARS]
        skopeo("copy", "--quiet", f"docker-archive:{ours}.tar:docker.io/library/a:1", f"dir:{tmp_path}/dir-{kind}")
        assert json.loads((tmp_path / f"dir-{kind}/manifest.json").read_bytes())["config"]["digest"] == found.image_id


# --- umoci


def test_umoci_reads_our_layouts_and_we_read_its(call: Call, tmp_path: Path) -> None:
    held = Held()
    start = to_layout(tmp_path / "start", held, {"m": index(held, "oci"), "s": held.image()})
    ours = tmp_path / "ours"
    call("copy", f"oci:{start}:s", f"oci-layout://{ours}:s")
    umoci = need_tool("umoci")
    assert json.loads(run([umoci, "stat", "--image", f"{ours}:s", "--json"]).stdout)["history"]
    run([umoci, "config", "--image", f"{ours}:s", "--tag", "changed", "--config.user", "7"])
    run([umoci, "gc", "--layout", ours])
    call("copy", f"oci-layout://{ours}:changed", "store:changed:1")
    call("validate", "changed:1")
    (value,) = call("images", "--json").json
    assert value["reference"].endswith("changed:1")


# --- podman and buildah


@pytest.mark.parametrize("kind", ["docker", "oci"])
def test_podman_loads_what_we_save(call: Call, podman: Callable[..., str], tmp_path: Path, kind: str) -> None:
    held = Held()
    image = held.image()
    start = to_layout(tmp_path / "start", held, {"t": image})
    name = f"registry.example/saved-{kind}/app"
    call("copy", f"oci:{start}:t", f"store:{name}:1")
    call("save", f"--type={kind}", f"{name}:1", "-o", tmp_path / "saved.tar")
    podman("load", "--input", tmp_path / "saved.tar")
    found = json.loads(podman("inspect", "--type=image", f"{name}:1"))[0]
    assert found["Id"] == json.loads(held.blobs[image["digest"]])["config"]["digest"].removeprefix("sha256:")


def test_we_load_what_podman_saves(call: Call, podman: Callable[..., str], tmp_path: Path) -> None:
    held = Held()
    start = to_layout(tmp_path / "start", held, {"t": held.image()})
    podman("pull", "--quiet", f"oci:{start}:t")
    identity = podman("images", "--quiet", "--no-trunc").splitlines()[0]
    names = ["podman.example/saved:1", "podman.example/other:2"]
    podman("tag", identity, *names)
    many = ["--multi-image-archive", "--format=docker-archive", f"--output={tmp_path}/many.tar"]
    podman("save", "--quiet", *many, *names)
    podman("save", "--quiet", "--format=oci-archive", f"--output={tmp_path}/oci.tar", names[0])
    assert sorted(call("load", "-i", tmp_path / "many.tar").lines) == sorted(f"Loaded image: {name}" for name in names)
    assert call("load", "-i", tmp_path / "oci.tar").lines == [f"Loaded image: {names[0]}"]
    assert call("images", "-q", "--no-trunc").lines == [identity]
    for name in names:
        call("validate", name)


@pytest.mark.parametrize("image_format", ["oci", "v2s2"])
def test_manifest_lists_of_buildah(
    call: Call, buildah_with_vfs: Callable[..., str], registry: TestRegistry, tmp_path: Path, image_format: str
) -> None:
    held = Held()
    name, number = placed(registry, held, index(held, "docker")), next(_NUMBERS)
    buildah_with_vfs("manifest", "create", f"list-{number}")
    for one in (ARCH, OTHER):
        buildah_with_vfs("manifest", "add", "--tls-verify=false", "--arch", one, f"list-{number}", f"docker://{name}")
    target = f"{registry.host}/interop/buildah-{number}:t"
    buildah_with_vfs(
        "manifest",
        "push",
        "--all",
        "--tls-verify=false",
        f"--format={image_format}",
        f"list-{number}",
        f"docker://{target}",
    )

    call("copy", target, f"oci-layout://{tmp_path}/ours:t")
    for one in (ARCH, OTHER):
        call("pull", f"--platform=linux/{one}", target)
        call("save", f"--platform=linux/{one}", target, "-o", tmp_path / f"{one}.tar")
        assert images.read_image(tmp_path / f"{one}.tar").config["architecture"] == one


@pytest.mark.parametrize("image_format", FORMATS)
def test_podman_and_buildah_pull_what_we_push(
    call: Call,
    podman: Callable[..., str],
    buildah_with_vfs: Callable[..., str],
    registry: TestRegistry,
    tmp_path: Path,
    image_format: str,
) -> None:
    held = Held()
    root = index(held, image_format)
    start = to_layout(tmp_path / "start", held, {"t": root})
    name = f"{registry.host}/interop/pushed-{next(_NUMBERS)}:t"
    call("push", f"{start}:t", name)
    for tool in (podman, buildah_with_vfs):
        tool("pull", "--quiet", "--tls-verify=false", name)
        found = json.loads(tool("inspect", "--type=image", name))
        known = found[0]["RepoDigests"] if isinstance(found, list) else [found["FromImageDigest"]]
        native = json.loads(held.blobs[root["digest"]])["manifests"][0]["digest"]
        assert any(one.endswith((root["digest"], native)) for one in known)
        tool("pull", "--quiet", "--tls-verify=false", f"--arch={OTHER}", name)


# --- docker


def test_docker_loads_several_images_that_we_save(call: Call, docker_engine: DockerEngine, tmp_path: Path) -> None:
    held = Held()
    start = to_layout(tmp_path / "start", held, {"a": held.image(), "b": held.image("docker", TARS[:1])})
    for tag in ("a", "b"):
        call("copy", f"oci:{start}:{tag}", f"store:several/{tag}:1")
    call("save", "several/a:1", "several/b:1", "-o", tmp_path / "saved.tar")
    said = docker_engine.run("load", "--input", tmp_path / "saved.tar").stdout
    assert sorted(said.splitlines()) == ["Loaded image: several/a:1", "Loaded image: several/b:1"]
    for one in call("images", "--json").json:
        assert docker_engine.inspect(one["reference"].removeprefix("docker.io/"))["Id"] == one["id"]


def test_we_load_several_images_that_docker_saves(call: Call, docker_engine: DockerEngine, tmp_path: Path) -> None:
    held = Held()
    start = to_layout(tmp_path / "start", held, {"t": held.image()})
    call("copy", f"oci:{start}:t", "store:from/us:1")
    call("save", "from/us:1", "-o", tmp_path / "ours.tar")
    docker_engine.run("load", "--input", tmp_path / "ours.tar")
    docker_engine.run("tag", "from/us:1", "from/docker:2")
    docker_engine.run("save", "--output", tmp_path / "theirs.tar", "from/us:1", "from/docker:2")
    call("rmi", "from/us:1")
    done = call("load", "-i", tmp_path / "theirs.tar")
    assert sorted(done.lines) == ["Loaded image: from/docker:2", "Loaded image: from/us:1"]
    assert call("images", "-q", "--no-trunc").lines == [docker_engine.inspect("from/docker:2")["Id"]]
    call("validate", "from/docker:2")


@pytest.mark.parametrize("image_format", FORMATS)
def test_docker_pulls_what_we_copy(
    call: Call, docker_engine: DockerEngine, registry: TestRegistry, tmp_path: Path, image_format: str
) -> None:
    held = Held()
    root = index(held, image_format)
    start = to_layout(tmp_path / "start", held, {"t": root})
    name = f"{registry.host}/interop/docker-{image_format}:t"
    call("copy", f"oci:{start}:t", name)
    assert root["digest"] in docker_engine.run("pull", name).stdout
    docker_engine.run("tag", name, f"{name}-pushed")
    docker_engine.run("push", "--quiet", f"{name}-pushed")
    call("pull", f"{name}-pushed")
    call("tag", f"{name}-pushed", "pushed:1")
    call("validate", "pushed:1")


# --- manifests of other tools


def plain(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode()


def bare(held: Held, *, own_type: bool) -> dict[str, Any]:
    """Keep an OCI image whose manifest, made as some tools make them, does not say its media type."""
    types = TYPES["oci"]
    described = held.image()
    value = json.loads(held.blobs[described["digest"]])
    if not own_type:
        del value["mediaType"]
    value["config"]["data"] = base64.b64encode(held.blobs[value["config"]["digest"]]).decode()
    value["layers"][0]["data"] = ""
    value["layers"][0]["annotations"] = {"a": "b"}
    value["unknown"] = {"to": ["us"]}
    return held.put(json.dumps(value, indent=2).encode() + b"\n", types["manifest"], platform=described["platform"])


def with_history(held: Held, history: Any) -> dict[str, Any]:
    """Keep a schema 2 image whose config has another history than its layers would let one expect."""
    types = TYPES["docker"]
    config: dict[str, Any] = {
        "architecture": ARCH,
        "os": "linux",
        "created": "0001-01-01T00:00:00Z",
        "container": "c0ffee",
        "container_config": {"Cmd": None, "Hostname": ""},
        "config": {"Cmd": None, "Env": None, "Labels": None, "Entrypoint": ["/a"], "ArgsEscaped": True},
        "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in TARS]},
        "os.features": None,
    }
    if history is not None:
        config["history"] = history
    layers = json.loads(held.blobs[held.image("docker")["digest"]])["layers"]
    value = {
        "schemaVersion": 2,
        "mediaType": types["manifest"],
        "config": held.put(plain(config), types["config"]),
        "layers": layers,
    }
    return held.put(plain(value), types["manifest"])


def twice(held: Held) -> dict[str, Any]:
    """Keep an image that has one layer twice."""
    return held.image("oci", (TARS[0], TARS[0], TARS[1]))


def mixed(held: Held) -> dict[str, Any]:
    """Keep a Docker list of an OCI image and a Docker image, with platforms spelled by others."""
    entries = [
        {**held.image("oci"), "platform": {"architecture": ARCH, "os": "linux", "variant": "", "features": ["sse4"]}},
        {**held.image("docker", TARS[:1]), "platform": {"architecture": OTHER, "os": "linux", "os.version": ""}},
    ]
    return held.index(entries, "docker")


def untyped_index(held: Held) -> dict[str, Any]:
    """Keep an OCI index that does not say its media type, with annotations and an entry without a platform."""
    value = {
        "schemaVersion": 2,
        "manifests": [{key: one for key, one in held.image().items() if key != "platform"}],
        "annotations": {"org.opencontainers.image.ref.name": "x"},
    }
    return held.put(plain(value), TYPES["oci"]["index"])


def nested(held: Held) -> dict[str, Any]:
    """Keep an index of indexes."""
    return held.index([held.index([held.image(platform={"os": "linux", "architecture": ARCH})])])


ODD: dict[str, Callable[[Held], dict[str, Any]]] = {
    "no mediaType, data": lambda held: bare(held, own_type=False),
    "data, unknown fields": lambda held: bare(held, own_type=True),
    "no history": lambda held: with_history(held, None),
    "empty history": lambda held: with_history(held, []),
    "null history": lambda held: with_history(held, [{}, {"created": "0001-01-01T00:00:00Z", "created_by": ""}]),
    "one layer twice": twice,
    "mixed list": mixed,
    "untyped index": untyped_index,
    "nested index": nested,
}


@pytest.mark.parametrize("oddity", ODD)
def test_odd_manifests_go_everywhere_unchanged(call: Call, registry: TestRegistry, tmp_path: Path, oddity: str) -> None:
    held = Held()
    root = ODD[oddity](held)
    name = placed(registry, held, root)
    places = [
        f"{registry.host}/interop/odd-{next(_NUMBERS)}:t",
        "store:odd:1",
        f"oci-layout://{tmp_path}/layout:t",
        f"oci-archive:{tmp_path}/x.tar:t",
    ]
    for source, target in itertools.pairwise([name, *places]):
        assert call("copy", source, target).lines[0].endswith(root["digest"])
    assert raw_of(places[0]) == held.blobs[root["digest"]]
    secure = ["--src-tls-verify=false", "--all", "--preserve-digests", "--quiet"]
    if oddity != "nested index":  # skopeo does not know these
        skopeo("copy", *secure, f"docker://{places[0]}", f"dir:{tmp_path}/skopeo")


@pytest.mark.parametrize("oddity", [one for one in ODD if one not in ("untyped index",)])
def test_odd_images_are_bases_and_archives(
    call: Call, registry: TestRegistry, docker_engine: DockerEngine, tmp_path: Path, oddity: str
) -> None:
    held = Held()
    name = placed(registry, held, ODD[oddity](held))
    call("pull", name)
    (tmp_path / "Dockerfile").write_text(f"FROM {name}\nCOPY --from={name} /a /copied\nLABEL x=y\n")
    call("-t", "on/odd:1", tmp_path)
    for one in ("on/odd:1", name):
        call("save", one, "-o", tmp_path / "odd.tar")
        docker_engine.run("load", "--input", tmp_path / "odd.tar")
    exported = docker_engine.export("on/odd:1", tmp_path / "exported.tar")
    with tarfile.open(exported) as tar:
        stream = tar.extractfile("copied")
        assert stream is not None
        assert stream.read().startswith(b"first")


def test_the_id_of_an_image_from_before_docker_1_10(call: Call, docker_engine: DockerEngine, tmp_path: Path) -> None:
    archive = tmp_path / "old.tar"
    archive.write_bytes(legacy_archive(TARS, {"very/old": {"1": identity(2)}}))
    call("load", "-i", archive)
    ours = call("images", "-q", "--no-trunc").lines
    said = docker_engine.run("load", "--input", archive, check=False)
    if said.returncode == 0:  # of the engines that still read such archives
        assert ours == [docker_engine.inspect("very/old:1")["Id"]]
    call("save", "very/old:1", "-o", tmp_path / "new.tar")
    docker_engine.run("load", "--input", tmp_path / "new.tar")
    assert ours == [docker_engine.inspect("very/old:1")["Id"]]

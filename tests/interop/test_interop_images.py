"""What we push and save in the hands of registries, engines and tools: the same digest, tree and configuration."""

from __future__ import annotations

import json
import os
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import images, trees
from tests.support.commands import run
from tests.support.docker import DockerEngine
from tests.support.goldens import pybuild
from tests.support.need import need_root, need_tool
from tests.support.registry import TestRegistry
from tests.support.skopeo import skopeo

DOCKERFILE = """
    FROM {base} AS made
    COPY --chown=app src /out
    RUN cd /out && ln a b && ln -s a link && mkdir -m 1770 sticky && chmod 4755 tool && chown 5:6 sub/c

    FROM {base}
    ENV WHO=world LANG="C.UTF-8"
    LABEL org.example.name="a name" two=2
    COPY --from=made /out /srv
    COPY src /copied
    RUN rm -r /copied/sub /etc/os-release && ln /copied/a /copied/again && mkdir -p /var/run/app && mkfifo /var/fifo \\
        && mkdir /etc/hostname.d && rm -r /home && mkdir -m 700 /home && echo new > /home/new
    VOLUME /data
    EXPOSE 80 53/udp
    WORKDIR /srv
    USER app:staff
    STOPSIGNAL SIGUSR1
    HEALTHCHECK --interval=5s --retries=2 CMD test -e /srv/a
    SHELL ["/bin/sh", "-ec"]
    ONBUILD COPY . /later
    ENTRYPOINT ["/srv/tool"]
    CMD ["one", "two words"]
"""
# Docker makes these in every container it creates.
MADE_BY_DOCKER = (
    ".dockerenv",
    "dev",
    "proc",
    "sys",
    "etc/hostname",
    "etc/hosts",
    "etc/resolv.conf",
    "etc/mtab",
    "data",
)
ONLY_DOCKER_FORMAT = ("Healthcheck", "Shell", "OnBuild")
FORMATS = ["docker", "oci"]


@dataclass(frozen=True)
class Product:
    """One build and its outputs. ``names`` are its tags in the registry, which were pushed in the order given."""

    folder: Path
    format: str
    root: Path
    names: tuple[str, ...]
    said: str
    requests: list[Any]

    @property
    def image(self) -> images.StoredImage:
        return images.read_image(self.folder / "oci.tar")

    @property
    def tree(self) -> trees.Tree:
        return trees.tree_of(self.folder / "oci.tar")

    @property
    def container(self) -> dict[str, Any]:
        return dict(self.image.config["config"])


def write_project(folder: Path, dockerfile: str, base: str) -> Path:
    (folder / "src/sub").mkdir(parents=True)
    (folder / "Dockerfile").write_text(textwrap.dedent(dockerfile).replace("{base}", base))
    (folder / "src/a").write_text("a\n")
    (folder / "src/sub/c").write_text("c\n")
    (folder / "src/tool").write_text('#!/bin/sh\necho "hello $WHO: $*; $(id -u):$(id -g) in $(pwd)"\n')
    for path in (folder, folder / "src", folder / "src/sub"):
        path.chmod(0o755)
    for path in (folder / "src/a", folder / "src/sub/c"):
        path.chmod(0o644)
    (folder / "src/tool").chmod(0o755)
    return folder


@pytest.fixture(scope="module", params=FORMATS)
def product(
    request: pytest.FixtureRequest, busybox_image: str, registry: TestRegistry, tmp_path_factory: pytest.TempPathFactory
) -> Product:
    need_root("needs root: owners of what RUN makes")
    folder = write_project(tmp_path_factory.mktemp(f"product-{request.param}"), DOCKERFILE, busybox_image)
    root = folder / "store"
    names = tuple(f"{registry.host}/{request.param}/{name}" for name in ("app:1", "app:latest", "other:x"))
    outputs = [
        f"type=docker,dest={folder}/docker.tar",
        f"type=oci,dest={folder}/oci.tar",
        f"type=oci,dest={folder}/oci,tar=false",
        f"type=tar,dest={folder}/rootfs.tar",
        f"type=local,dest={folder}/rootfs",
    ]
    mark = registry.mark()
    flags = [f"--format={request.param}", "--push", *(f"--tag={name}" for name in names)]
    done = pybuild(*flags, *(f"--output={output}" for output in outputs), folder, root=root)
    return Product(folder, request.param, root, names, done.stdout, registry.requests(mark))


# --- the registry


def test_stdout_names_the_first_tag_and_the_digest(product: Product) -> None:
    assert product.said == f"{product.names[0].rpartition(':')[0]}:1@{product.image.digest}\n"


def test_skopeo_pulls_the_same_digest(product: Product, tmp_path: Path) -> None:
    for name in product.names:
        assert json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{name}"))["Digest"] == product.image.digest
    kept = ["--preserve-digests"] if product.format == "oci" else []
    target = f"oci:{tmp_path}/back:x" if product.format == "oci" else f"dir:{tmp_path}/back"
    skopeo("copy", *kept, "--src-tls-verify=false", f"docker://{product.names[2]}", target)
    if product.format == "oci":
        back = images.read_image(tmp_path / "back")
        assert (back.digest, back.raw_config) == (product.image.digest, product.image.raw_config)
        assert back.layers == product.image.layers
    else:
        assert (tmp_path / "back/manifest.json").read_bytes() == product.image.raw_manifest


def test_media_types_are_of_one_kind(product: Product, registry: TestRegistry) -> None:
    repository, _, tag = product.names[0].removeprefix(f"{registry.host}/").rpartition(":")
    kind = "vnd.docker." if product.format == "docker" else "vnd.oci."
    _, headers, raw = registry.get(
        f"/v2/{repository}/manifests/{tag}", f"application/{product.image.manifest['mediaType'][12:]}"
    )
    assert raw == product.image.raw_manifest
    manifest = json.loads(raw)
    found = [headers["content-type"], manifest["mediaType"], manifest["config"]["mediaType"]]
    assert all(kind in one for one in (*found, *(layer["mediaType"] for layer in manifest["layers"])))


def test_the_base_is_not_uploaded_and_bytes_go_up_once_a_repository(product: Product) -> None:
    base_layer = product.image.manifest["layers"][0]["digest"]
    posts = [one for one in product.requests if one.method == "POST"]
    mounted = [one for one in posts if f"mount={base_layer}" in one.path.replace("%3A", ":")]
    assert {one.status for one in mounted} == {201}
    assert len(mounted) == 2, "once for each repository"
    puts = [one.path.replace("%3A", ":") for one in product.requests if one.method == "PUT" and "/blobs/" in one.path]
    assert not [path for path in puts if base_layer in path]
    # The second repository gets its layers from the first.
    assert len(puts) == len(set(puts))
    manifests = [one for one in product.requests if one.method == "PUT" and "/manifests/" in one.path]
    assert len(manifests) == 3
    blobs = [
        index for index, one in enumerate(product.requests) if one.method in ("PUT", "POST") and "/blobs/" in one.path
    ]
    assert product.requests.index(manifests[-1]) > max(blobs)


def test_a_second_push_sends_nothing(product: Product, registry: TestRegistry) -> None:
    mark = registry.mark()
    pybuild("push", product.names[0], root=product.root)
    later = registry.requests(mark)
    assert not [
        one for one in later if one.method in ("POST", "PATCH") or (one.method == "PUT" and "/blobs/" in one.path)
    ]


def test_a_rebuild_is_cached_and_keeps_the_digest(product: Product, registry: TestRegistry) -> None:
    mark = registry.mark()
    done = pybuild(f"--format={product.format}", "--progress=plain", product.folder, root=product.root)
    assert done.stdout == f"{product.image.digest}\n"
    assert "CACHED" in done.stderr
    assert "DONE" not in done.stderr
    assert registry.requests(mark) == []


# --- engines and tools


def same_container(product: Product, theirs: dict[str, Any]) -> None:
    """Compare configurations; fields that a program adds empty are not of interest."""
    ours = {key: value for key, value in product.container.items() if value and key != "ArgsEscaped"}
    said = {key: theirs.get(key) for key in ours}
    assert said == ours


def test_docker_loads_it(product: Product, docker_engine: DockerEngine, tmp_path: Path) -> None:
    said = docker_engine.run("load", "--input", product.folder / "docker.tar").stdout
    assert said == "".join(f"Loaded image: {name}\n" for name in sorted(product.names))
    inspected = docker_engine.inspect(product.names[0])
    assert inspected["Id"] == product.image.image_id
    same_container(product, inspected["Config"])
    exported = docker_engine.export(product.names[1], tmp_path / "exported.tar")
    assert trees.difference(product.tree, trees.tree_of(exported), ignore=MADE_BY_DOCKER) == []


def test_docker_runs_and_pulls_it(product: Product, docker_engine: DockerEngine) -> None:
    docker_engine.run("load", "--input", product.folder / "docker.tar")
    said = docker_engine.run("run", "--rm", "--network", "none", product.names[0], "x").stdout
    # The tool is setuid, but scripts are run as who calls them.
    assert said == "hello world: x; 1000:50 in /srv\n"
    docker_engine.run("image", "rm", "--force", product.image.image_id)
    docker_engine.run("pull", product.names[0])
    inspected = docker_engine.inspect(product.names[0])
    assert inspected["Id"] == product.image.image_id
    assert inspected["RepoDigests"] == [f"{product.names[0].rpartition(':')[0]}@{product.image.digest}"]


def test_podman_loads_it(product: Product, podman: Any, tmp_path: Path) -> None:
    # podman wants one image in an OCI archive, and ours has one for each name.
    pybuild("save", product.names[0], "--type=oci", "--output", tmp_path / "oci.tar", root=product.root)
    for archive in (product.folder / "docker.tar", tmp_path / "oci.tar"):
        podman("load", "--input", archive)
        (inspected,) = json.loads(podman("image", "inspect", product.names[0]))
        assert inspected["Id"] == product.image.image_id.removeprefix("sha256:")
        container = inspected["Config"]
        ours = {key: value for key, value in product.container.items() if value and key in container}
        assert {key: container[key] for key in ours} == ours
        assert set(product.container) - set(ours) <= {"ArgsEscaped", *ONLY_DOCKER_FORMAT}
    mounted = podman("image", "mount", product.names[0]).strip()
    assert trees.difference(product.tree, trees.tree_of(mounted)) == []
    podman("image", "umount", product.names[0])
    podman("image", "rm", "--force", product.image.image_id.removeprefix("sha256:"))


def test_umoci_unpacks_it(product: Product, tmp_path: Path) -> None:
    layout = product.folder / "oci"
    if product.format == "docker":  # umoci knows OCI's media types only
        skopeo("copy", f"docker-archive:{product.folder}/docker.tar:{product.names[0]}", f"oci:{tmp_path}/oci:1")
        layout = tmp_path / "oci"
    tag = "1" if product.format == "docker" else named(layout)
    run([need_tool("umoci"), "unpack", "--image", f"{layout}:{tag}", tmp_path / "bundle"])
    assert trees.difference(product.tree, trees.tree_of(tmp_path / "bundle/rootfs")) == []
    process = json.loads((tmp_path / "bundle/config.json").read_text())["process"]
    assert process["args"] == ["/srv/tool", "one", "two words"]
    assert (process["cwd"], process["user"]["uid"], process["user"]["gid"]) == ("/srv", 1000, 50)


def named(layout: Path) -> str:
    descriptor = json.loads((layout / "index.json").read_text())["manifests"][0]
    return str(descriptor["annotations"]["org.opencontainers.image.ref.name"])


def test_skopeo_reads_every_output(product: Product, tmp_path: Path) -> None:
    sources = {"docker-archive": f"docker-archive:{product.folder}/docker.tar:{product.names[0]}"}
    if product.format == "oci":  # its reader of layouts passes over Docker's media types
        tag = named(product.folder / "oci")
        sources["oci-archive"] = f"oci-archive:{product.folder}/oci.tar:{tag}"
        sources["oci"] = f"oci:{product.folder}/oci:{tag}"
    for name, source in sources.items():
        skopeo("copy", source, f"dir:{tmp_path}/{name}")
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        config = (tmp_path / name / manifest["config"]["digest"].removeprefix("sha256:")).read_bytes()
        assert config == product.image.raw_config
        layers = [(tmp_path / name / one["digest"].removeprefix("sha256:")).read_bytes() for one in manifest["layers"]]
        assert images.layer_digests(layers) == product.image.config["rootfs"]["diff_ids"]


def test_containerd_imports_and_unpacks_it(product: Product, docker_engine: DockerEngine, tmp_path: Path) -> None:
    address = Path(docker_engine.host.removeprefix("unix://")).parent / "exec/containerd/containerd.sock"
    ctr: list[str | Path] = [need_tool("ctr"), "--address", address, "--namespace", f"pybuild-{product.format}"]
    for archive in ("docker.tar", "oci.tar"):
        run([*ctr, "images", "import", "--snapshotter", "native", product.folder / archive])
        (line,) = [
            line
            for line in run([*ctr, "images", "list"]).stdout.splitlines()
            if line.startswith(f"{product.names[0]} ")
        ]
        assert product.image.digest in line
        target = tmp_path / archive
        target.mkdir()
        run([*ctr, "images", "mount", "--snapshotter", "native", product.names[0], target])
        try:
            assert trees.difference(product.tree, trees.tree_of(target)) == []
        finally:
            run([*ctr, "images", "unmount", "--rm", "--snapshotter", "native", target])
        run([*ctr, "images", "rm", "--sync", *product.names])


def test_the_root_filesystem_outputs_are_the_same_tree(product: Product) -> None:
    assert trees.difference(product.tree, trees.tree_of(product.folder / "rootfs.tar")) == []
    # A directory belongs to who asked for it, and app's setuid program does not become one of theirs.
    fields = ("type", "mode", "size", "link", "group", "sha256", "xattrs")
    written = trees.tree_of(product.folder / "rootfs")
    known = "srv/tool: mode 0o4755 in ours, 0o755 in theirs"
    assert trees.difference(product.tree, written, ignore=["."], fields=fields) == [known]
    assert {(entry.uid, entry.gid) for entry in written.values()} == {(os.getuid(), os.getgid())}


def test_save_and_validate(product: Product, tmp_path: Path) -> None:
    pybuild("save", product.names[1], "--output", tmp_path / "saved.tar", root=product.root)
    assert images.read_image(tmp_path / "saved.tar").raw_config == product.image.raw_config
    for what in (product.names[0], tmp_path / "saved.tar", product.folder / "oci", product.folder / "oci.tar"):
        pybuild("validate", what, root=product.root)


def test_nothing_is_left_behind(product: Product) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(product.root) not in mounts
    assert list((product.root / "tmp").iterdir()) == []

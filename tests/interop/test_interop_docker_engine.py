"""The Docker engine of the tests loads what skopeo converts, what our own archives are then held against, and pulls."""

from __future__ import annotations

from pathlib import Path

from tests.support import trees
from tests.support.cli import pybuild, write_context
from tests.support.commands import run
from tests.support.docker import DockerEngine
from tests.support.need import need_tool
from tests.support.registry import TestRegistry

# Docker makes these in every container it creates.
MADE_BY_DOCKER = (".dockerenv", "dev", "proc", "sys", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab")


def test_a_loaded_image_is_the_same_tree(docker_engine: DockerEngine, busybox_layout: Path, tmp_path: Path) -> None:
    archive = tmp_path / "busybox.tar"
    run(
        [
            need_tool("skopeo"),
            "--insecure-policy",
            "copy",
            f"oci:{busybox_layout}:latest",
            f"docker-archive:{archive}:bb:1",
        ]
    )

    docker_engine.run("load", "--input", archive)
    exported = docker_engine.export("bb:1", tmp_path / "exported.tar")

    assert trees.difference(trees.tree_of(busybox_layout), trees.tree_of(exported), ignore=MADE_BY_DOCKER) == []
    assert docker_engine.run("run", "--rm", "--network", "none", "bb:1", "echo", "alive").stdout == "alive\n"


def test_gzip_with_one_member_is_pulled(
    docker_engine: DockerEngine, registry: TestRegistry, store_root: Path, tmp_path: Path
) -> None:
    context = write_context(tmp_path / "context", "FROM scratch\nCOPY large /\n", {"large": b"0123456789" * 300_000})
    name = f"{registry.host}/docker/single:1"
    pybuild("--compression=gzip-single-member", "--push", "-t", name, context, root=store_root)
    docker_engine.run("pull", name)
    docker_engine.run("create", "--name", "single", name, "none")
    docker_engine.run("cp", "single:/large", tmp_path / "large")
    assert (tmp_path / "large").read_bytes() == (context / "large").read_bytes()
    docker_engine.run("rm", "single")

"""The Docker engine of the tests loads what skopeo converts: what our own archives are then held against."""

from __future__ import annotations

from pathlib import Path

from tests.support import trees
from tests.support.commands import run
from tests.support.docker import DockerEngine
from tests.support.need import need_tool

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

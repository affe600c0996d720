"""The registry, images and users that other tests stand on."""

from __future__ import annotations

from pathlib import Path

from tests.support import images, trees
from tests.support.registry import TestRegistry
from tests.support.users import User


def test_the_registry_logs_what_it_is_asked(registry: TestRegistry) -> None:
    mark = registry.mark()

    registry.get("/v2/nothing/manifests/latest")

    assert [tuple(request)[:3] for request in registry.requests(mark)] == [("GET", "/v2/nothing/manifests/latest", 404)]


def test_a_pushed_image_keeps_its_digest(registry: TestRegistry, busybox_layout: Path, busybox_image: str) -> None:
    assert busybox_image == f"{registry.host}/busybox:latest"

    status, headers, _ = registry.get("/v2/busybox/manifests/latest", "application/vnd.oci.image.manifest.v1+json")

    assert status == 200
    assert headers["docker-content-digest"] == images.read_image(busybox_layout).digest


def test_busybox_has_a_shell_and_a_sticky_tmp(busybox_layout: Path) -> None:
    tree = trees.tree_of(busybox_layout)

    assert tree["bin/sh"].link == "busybox"
    assert tree["tmp"].mode == 0o1777
    assert {(entry.uid, entry.gid) for entry in tree.values()} <= {(0, 0), (1000, 1000)}


def test_users_can_import_the_package(plain_user: User, subuid_user: User) -> None:
    for user in (plain_user, subuid_user):
        said = user.run(user.python, "-c", "import builder, httpx, os; print(os.getuid(), builder.__file__)").stdout
        assert said.split() == [str(user.uid), str(user.source / "builder/__init__.py")]
    ranges = Path("/etc/subuid").read_text()
    assert f"{subuid_user.name}:" in ranges
    assert f"{plain_user.name}:" not in ranges

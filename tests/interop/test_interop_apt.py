"""Packages with real maintainer scripts have the same owners, modes and capabilities however they were installed.

run-sandbox.md 1: cron brings a group and set-group-id files, dbus a user and a set-user-id helper, ping a capability.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import trees
from tests.support.cli import pybuild, write_context
from tests.support.need import need, need_root
from tests.support.pods import Container, both_kinds
from tests.support.users import User

# What differs between any two installations goes: times, and what is derived from them.
DOCKERFILE = """
FROM {base}
RUN export DEBIAN_FRONTEND=noninteractive && apt-get update \\
    && apt-get install -y --no-install-recommends cron dbus iputils-ping \\
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/log/* /var/cache/ldconfig/*
"""
RIGHTS = ("type", "mode", "uid", "gid", "link", "group", "xattrs")
NO_MIRROR = ("Temporary failure resolving", "Could not connect to", "Failed to fetch")

Build = Callable[[str, Path], trees.Tree]


def tree(done: int, said: str, archive: Path) -> trees.Tree:
    need(not any(text in said for text in NO_MIRROR), "needs Debian's mirror")
    assert done == 0, said
    return trees.tree_of(archive)


@pytest.fixture(scope="module")
def context(debian_image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_root("needs root: dpkg changes owners")
    return write_context(tmp_path_factory.mktemp("context"), DOCKERFILE.format(base=debian_image))


@pytest.fixture(scope="module")
def as_root(context: Path, tmp_path_factory: pytest.TempPathFactory) -> trees.Tree:
    folder = tmp_path_factory.mktemp("root")
    output = f"type=oci,dest={folder}/image.tar"
    done = pybuild("--isolation=root", "-o", output, context, root=folder / "store", status=range(256))
    return tree(done.returncode, done.stderr, folder / "image.tar")


def as_user(user: User, context: Path, isolation: str) -> trees.Tree:
    place = user.home / "context"
    write_context(place, (context / "Dockerfile").read_text())
    archive = user.home / "image.tar"
    options = ["--root", user.home / "store", f"--isolation={isolation}", "-o", f"type=oci,dest={archive}"]
    done = user.pybuild(*options, place, check=False)
    return tree(done.returncode, done.stderr, archive)


@pytest.fixture(scope="module")
def pods() -> Iterator[tuple[Container, Container]]:
    with both_kinds("apt") as made:
        yield made


def in_a_pod(pod: Container, context: Path, isolation: str) -> trees.Tree:
    write_context(pod.volume / "context", (context / "Dockerfile").read_text())
    options = [f"--isolation={isolation}", "-o", "type=oci,dest=/volume/image.tar"]
    done = pod.pybuild(*options, "/volume/context", check=False)
    return tree(done.returncode, done.stderr, pod.volume / "image.tar")


def test_what_is_compared_is_there(as_root: trees.Tree) -> None:
    ping, crontab = as_root["usr/bin/ping"], as_root["usr/bin/crontab"]
    assert [name for name, _ in ping.xattrs] == ["security.capability"]
    assert (crontab.mode, crontab.gid) == (0o2755, as_root["var/spool/cron/crontabs"].gid)
    helper = as_root["usr/lib/dbus-1.0/dbus-daemon-launch-helper"]
    assert helper.mode == 0o4754
    assert helper.gid >= 100
    assert as_root["etc/shadow"].gid == 42


def test_with_subordinate_ids(as_root: trees.Tree, subuid_user: User, context: Path) -> None:
    assert trees.difference(as_user(subuid_user, context, "userns"), as_root, fields=RIGHTS) == []


def test_as_root_of_a_pod(as_root: trees.Tree, pods: tuple[Container, Container], context: Path) -> None:
    assert trees.difference(in_a_pod(pods[0], context, "userns"), as_root, fields=RIGHTS) == []


def test_in_a_container_that_refuses_namespaces(
    as_root: trees.Tree, pods: tuple[Container, Container], context: Path
) -> None:
    assert trees.difference(in_a_pod(pods[1], context, "chroot"), as_root, fields=RIGHTS) == []


# A program that writes a file anew with the owner it saw there makes it root's: the recorded one is not shown to it.
FORGOTTEN = ("etc/gshadow", "etc/gshadow-", "etc/shadow", "etc/shadow-")


def test_with_one_uid(as_root: trees.Tree, plain_user: User, context: Path) -> None:
    found = trees.difference(as_user(plain_user, context, "single"), as_root, fields=RIGHTS)
    assert found == [f"{path}: gid 0 in ours, 42 in theirs" for path in FORGOTTEN]

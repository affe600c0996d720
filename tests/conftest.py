"""Fixtures that many tests share. All are made when first asked for, and what is slow is kept between runs."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import docker, fake_registry, images, rootfs, users
from tests.support.fake_registry import FakeRegistry
from tests.support.need import machine_cache
from tests.support.registry import TestRegistry, serve

# The same examples in every run, so that a failure is the change's; the full suite looks further. Without a profile of
# ours hypothesis would take the same ones there too where CI=true, and elsewhere have a slow machine fail the laws.
settings.register_profile("seeded", derandomize=True, database=None, deadline=None)
settings.register_profile("searching", derandomize=False, database=None, deadline=None, print_blob=True)
settings.load_profile("searching" if os.environ.get("PYBUILD_TEST_FULL") else "seeded")

# A shell has what it runs in the background ignore these, and our children would inherit that.
for _number, _action in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _action)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write what came out as the expected results")


@pytest.fixture(scope="session", autouse=True)
def _own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's store, settings and credentials out of the tests, and what tests and tools forget out of /tmp."""
    home = tmp_path_factory.mktemp("home")
    private = {"HOME": str(home), "PYBUILD_ROOT": str(home / "store"), "DOCKER_CONFIG": str(home / "docker")}
    removed = ("SOURCE_DATE_EPOCH", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    # Not below pytest's own: sockets are made in it, whose paths have to be short, and by other users too.
    with (
        tempfile.TemporaryDirectory(prefix="pbt-", ignore_cleanup_errors=True) as temporary,
        pytest.MonkeyPatch.context() as patch,
    ):
        Path(temporary).chmod(0o1777)
        patch.setattr(tempfile, "tempdir", temporary)
        for name, value in {**private, "TMPDIR": temporary}.items():
            patch.setenv(name, value)
        for name in [*removed, *(name for name in os.environ if name.startswith("PYBUILD_") and name not in _OURS)]:
            if name not in private:
                patch.delenv(name, raising=False)
        yield


_OURS = ("PYBUILD_TEST_FULL", "PYBUILD_TEST_CACHE")


@pytest.fixture
def store_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store of this test's own, which $PYBUILD_ROOT names too."""
    path = tmp_path / "store"
    monkeypatch.setenv("PYBUILD_ROOT", str(path))
    return path


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether the long suites were asked for (scripts/test --full)."""
    return bool(os.environ.get("PYBUILD_TEST_FULL"))


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestRegistry]:
    """Debian's docker-registry on a loopback port, empty at first, shared by the session's tests."""
    with serve(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    """A registry in this process, which knows what it was asked and can be made to fail."""
    with fake_registry.serve() as running:
        yield running


@pytest.fixture(scope="session")
def busybox_rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a busybox root filesystem; not to be changed."""
    return rootfs.make_busybox(tmp_path_factory.mktemp("busybox"))


@pytest.fixture(scope="session")
def busybox_layout(busybox_rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI layout directory with that root filesystem as image ``latest``; not to be changed."""
    target = tmp_path_factory.mktemp("busybox-layout")
    images.write_layout(target, [images.tar_directory(busybox_rootfs)], container={"Cmd": ["sh"]})
    return target


@pytest.fixture(scope="session")
def busybox_image(busybox_layout: Path, registry: TestRegistry) -> str:
    """The reference of that image in the test registry: localhost:PORT/busybox:latest."""
    return registry.push(busybox_layout, "busybox:latest")


@pytest.fixture(scope="session")
def debian_rootfs_tar() -> Path:
    """A tar of a minimal Debian 12; the first run on a machine makes it."""
    return rootfs.debian_rootfs_tar()


@pytest.fixture(scope="session")
def debian_layout(debian_rootfs_tar: Path) -> Path:
    """An OCI layout directory with Debian as image ``latest``; kept between runs, not to be changed."""
    target = machine_cache() / "debian-12-layout"
    with rootfs.once(target) as missing:
        if missing:
            unfinished = target.with_name(f"debian-12-layout.{os.getpid()}")
            images.write_layout(unfinished, [debian_rootfs_tar.read_bytes()], container={"Cmd": ["bash"]})
            unfinished.rename(target)
    return target


@pytest.fixture(scope="session")
def debian_image(debian_layout: Path, registry: TestRegistry) -> str:
    """The reference of Debian in the test registry: localhost:PORT/debian:12."""
    return registry.push(debian_layout, "debian:12")


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[docker.DockerEngine]:
    """A Docker engine of our own; ``.run("load", "-i", path)``."""
    with docker.engine() as running:
        yield running


@pytest.fixture(scope="session")
def _public() -> Iterator[tuple[Path, Path]]:
    python = users.public_python()
    with users.public_source() as source:
        yield python, source


@pytest.fixture(scope="session")
def plain_user(_public: tuple[Path, Path]) -> Iterator[users.User]:
    """A user without subordinate ids."""
    with users.account("plain", subuids=False, python=_public[0], source=_public[1]) as user:
        yield user


@pytest.fixture(scope="session")
def subuid_user(_public: tuple[Path, Path]) -> Iterator[users.User]:
    """A user with 65536 subordinate uids and gids."""
    with users.account("subuid", subuids=True, python=_public[0], source=_public[1]) as user:
        yield user

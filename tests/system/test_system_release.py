"""What a release consists of, made by scripts/release as it stands, installed and started as users do."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder import __version__
from tests.support.cli import CHECKOUT, digest_of, expect, pybuild, write_context
from tests.support.commands import run
from tests.support.need import need, need_root

CONTEXT = ("FROM scratch\nCOPY f /f\nLABEL a=b\n", {"f": "x"})


@dataclass(frozen=True)
class Release:
    """The directory, and what is in it."""

    directory: Path

    def only(self, ending: str) -> Path:
        (found,) = self.directory.glob(f"*{ending}")
        return found

    @property
    def sums(self) -> str:
        return (self.directory / "SHA256SUMS").read_text()


def _released(folder: Path, *, umask: int) -> Release:
    """Make a release of what is committed, in a clone that lies in ``folder``."""
    clone = folder / "checkout"
    run(["git", "clone", "--quiet", CHECKOUT, clone])
    (clone / "builder/left-behind.py").write_text("raise SystemExit('nobody added this')\n")
    script = f"umask {umask:03o} && exec {clone}/scripts/release --draft"
    run(["sh", "-c", script], env={**os.environ, "PYTHON": sys.executable})
    return Release(clone / "dist")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    need((CHECKOUT / ".git").exists(), "needs a checkout of git")
    return _released(tmp_path_factory.mktemp("release"), umask=0o022)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "home"
    folder.mkdir()
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)


def clean(home: Path, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment in which nothing of the checkout is to be found."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "PATH"))}
    return {**kept, "HOME": str(home), "PYBUILD_ROOT": str(home / "store"), **(env or {})}


def start(
    release: Release, home: Path, *words: str | Path, env: Mapping[str, str] | None = None, python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    """Start the single file."""
    given = clean(home, env)
    return subprocess.run(
        [python, release.only(".pyz"), *words], env=given, cwd=home, capture_output=True, text=True, check=False
    )


def test_the_same_commit_gives_the_same_bytes(release: Release, tmp_path: Path) -> None:
    assert _released(tmp_path, umask=0o077).sums == release.sums
    assert len(release.sums.splitlines()) == 3


def test_it_has_what_was_added_and_nothing_else(release: Release) -> None:
    with zipfile.ZipFile(release.only(".whl")) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    tracked = run(["git", "ls-files", "builder"], cwd=release.directory.parent).stdout.split()
    assert names == {*tracked}
    assert {"builder/py.typed", "builder/dockerfile/words.lark"} <= names
    with tarfile.open(release.only(".tar.gz")) as source:
        top = {name.split("/")[1] for name in source.getnames()}
    assert {"builder", "docs", "scripts", "README.md", "CHANGELOG.md", "LICENSE"} <= top
    assert {".ci", ".git", "testdata"} & top == set()


def test_the_source_distribution_gives_the_same_wheel(release: Release, tmp_path: Path) -> None:
    with tarfile.open(release.only(".tar.gz")) as source:
        source.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "out"], cwd=folder)
    (wheel,) = (tmp_path / "out").iterdir()
    assert wheel.read_bytes() == release.only(".whl").read_bytes()


@pytest.mark.parametrize("ending", [".whl", ".tar.gz"])
def test_pipx_installs_it(release: Release, home: Path, ending: str) -> None:
    pipx = Path(sys.executable).with_name("pipx")
    need(pipx.exists(), "needs pipx, of the development tools")
    env = clean(home, {"PIPX_HOME": str(home / "pipx"), "PIPX_BIN_DIR": str(home / "bin")})
    run([pipx, "install", "--python", sys.executable, release.only(ending)], env=env)
    program = home / "bin/pybuild"
    assert run([program, "--version"], env=env, cwd=home).stdout == f"pybuild {__version__}\n"
    context = write_context(home / "context", *CONTEXT)
    built = run([program, "--source-date-epoch=0", context], env=env, cwd=home)
    assert digest_of(built) == digest_of(pybuild("--source-date-epoch=0", context, root=home / "other"))
    python = home / "pipx/venvs/pybuild-oci/bin/python"
    text = "from builder import BuildRequest, build; print(build(BuildRequest(context='context')).digest)"
    assert run([python, "-c", text], env=env, cwd=home).stdout.startswith("sha256:")
    assert run([python, "-m", "builder", "--version"], env=env, cwd=home).stdout == f"pybuild {__version__}\n"
    run([pipx, "uninstall", "pybuild-oci"], env=env)
    assert not [*(home / "bin").iterdir(), *(home / "pipx/venvs").glob("pybuild*")]


def test_the_single_file_builds_the_same(release: Release, home: Path) -> None:
    context = write_context(home / "context", *CONTEXT)
    done = start(release, home, "--source-date-epoch=0", context)
    expect(done, 0)
    assert digest_of(done) == digest_of(pybuild("--source-date-epoch=0", context, root=home / "other"))
    (unpacked,) = (home / ".cache/pybuild-app").iterdir()
    assert unpacked.stat().st_mode & 0o777 == 0o700
    before = {path: path.stat().st_mtime_ns for path in unpacked.rglob("*")}
    expect(start(release, home, "--version"), 0)
    assert {path: path.stat().st_mtime_ns for path in unpacked.rglob("*")} == before, "it is unpacked once"
    assert (unpacked / f"builder/cli/__pycache__/main.cpython-{sys.version_info[0]}{sys.version_info[1]}.pyc").exists()


def test_steps_run_in_the_single_file(release: Release, home: Path, busybox_rootfs: Path) -> None:
    need_root("needs root: RUN")
    context = write_context(home / "context", "FROM scratch\nADD rootfs.tar /\nRUN echo works >/f && cat /f\n")
    with tarfile.open(context / "rootfs.tar", "w") as archive:
        archive.add(busybox_rootfs, arcname=".")
    done = start(release, home, context)
    expect(done, 0)
    assert "works" in done.stderr


def test_many_first_starts_at_once(release: Release, home: Path) -> None:
    done: list[subprocess.CompletedProcess[str]] = []
    threads = [threading.Thread(target=lambda: done.append(start(release, home, "--version"))) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [one.stdout for one in done] == [f"pybuild {__version__}\n"] * 4, [one.stderr for one in done]
    assert len([*(home / ".cache/pybuild-app").iterdir()]) == 1


def test_what_others_can_write_is_not_used(release: Release, home: Path) -> None:
    """Whoever can put a file there would be pybuild."""
    expect(start(release, home, "--version"), 0)
    (unpacked,) = (home / ".cache/pybuild-app").iterdir()
    (unpacked / "builder/cli/main.py").write_text("print('a stranger')\n")
    for path in (unpacked, unpacked.parent):
        path.chmod(0o777)
        done = start(release, home, "--version", env={"XDG_CACHE_HOME": str(home / "another")})
        assert done.stdout == f"pybuild {__version__}\n"
        path.chmod(0o700)
    (home / "link").mkdir()
    (home / "link/pybuild-app").symlink_to(unpacked.parent)
    done = start(release, home, "--version", env={"PYBUILD_APP_DIR": str(home / "link/pybuild-app"), "HOME": "/"})
    assert done.stdout == f"pybuild {__version__}\n"


def test_another_python_is_told_which_one_it_takes(release: Release, home: Path) -> None:
    with zipfile.ZipFile(release.only(".pyz")) as archive:
        main = archive.read("__main__.py").decode()
    other = home / "other.pyz"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("__main__.py", main.replace(f"VERSION = {sys.version_info[:2]}", "VERSION = (3, 99)"))
    done = subprocess.run([sys.executable, other], env=clean(home), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "this file is for Python 3.99 on linux" in done.stderr
    assert "python3.99 FILE" in done.stderr


def test_nowhere_to_unpack_is_said(release: Release, home: Path) -> None:
    with zipfile.ZipFile(release.only(".pyz")) as archive:
        main = archive.read("__main__.py").decode()
    nowhere = home / "nowhere.pyz"
    with zipfile.ZipFile(nowhere, "w") as archive:
        archive.writestr("__main__.py", main.replace("/var/tmp/", "/proc/"))
    env = clean(home, {"HOME": "/proc"})
    done = subprocess.run([sys.executable, nowhere], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, "PYBUILD_APP_DIR" in done.stderr) == (1, True), done.stderr


def test_a_version_without_its_part_of_the_changelog_is_not_released(tmp_path: Path) -> None:
    need((CHECKOUT / ".git").exists(), "needs a checkout of git")
    run(["git", "clone", "--quiet", CHECKOUT, tmp_path / "checkout"])
    (tmp_path / "checkout/CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n")
    program = tmp_path / "checkout/scripts/release"
    done = run([program], env={**os.environ, "PYTHON": sys.executable}, check=False)
    assert (done.returncode, f"no section '## {__version__} (DATE)'" in done.stderr) == (1, True), done.stderr
    assert not (tmp_path / "checkout/dist").exists()

"""Docker makes the same tree and configuration of our Dockerfiles, wherever that engine knows the language they use.

As ``test_interop_buildah``: against the expected.json that our own builds are held against. Debian's Docker has the
BuildKit of 2021, so what came later is out, by ``options.json``: ``docker`` says why. Cases called ``project-*`` are
whole projects and always take part, the others by a seeded choice, or all of them with scripts/test --full.
"""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import goldens, images
from tests.support.commands import run
from tests.support.docker import DockerEngine
from tests.support.need import need, need_tool

_SEED = 20
_IN_ORDINARY_RUNS = 10
# Mount points stay in its images.
_LEFT = ("etc/hosts", "etc/resolv.conf", "dev", "proc", "sys")

Build = Callable[[goldens.Case, Path], dict[str, Any]]


def chosen() -> list[goldens.Case]:
    fit = [case for case in goldens.find() if case.options.get("docker", True) is True]
    projects = [case for case in fit if case.name.startswith("project-")]
    others = [case for case in fit if case not in projects]
    if not os.environ.get("PYBUILD_TEST_FULL"):
        others = random.Random(_SEED).sample(others, min(_IN_ORDINARY_RUNS, len(others)))
    return sorted([*projects, *others], key=lambda case: case.name)


def set_apart() -> list[goldens.Case]:
    """Return the cases of which we say that Docker cannot or does otherwise; in the full suite only."""
    found = [case for case in goldens.find() if case.options.get("docker", True) is not True]
    return found if os.environ.get("PYBUILD_TEST_FULL") else []


def client() -> str:
    """Return a ``docker`` that can ask for BuildKit: one of before 23, or one with the plugin that later ones need."""
    for directory in os.get_exec_path():
        found = shutil.which("docker", path=directory)
        if found is None:
            continue
        version = re.search(r"version (\d+)\.", run([found, "--version"]).stdout)
        if (version and int(version[1]) < 23) or run([found, "buildx", "version"], check=False).returncode == 0:
            return found
    need(False, "needs a docker command with BuildKit")
    raise AssertionError


@pytest.fixture(scope="module")
def bases(busybox_layout: Path, tmp_path_factory: pytest.TempPathFactory) -> goldens.Bases:
    return goldens.make_bases(busybox_layout, tmp_path_factory.mktemp("bases"))


@pytest.fixture(scope="module")
def docker(bases: goldens.Bases, docker_engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Build a case with Docker's BuildKit: the bases are images of the engine."""
    program, skopeo, archives = client(), need_tool("skopeo"), tmp_path_factory.mktemp("loaded")
    environment = {**os.environ, "DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"}
    tags: dict[str, Path] = {}

    def load(name: str, layout: Path) -> None:
        if tags.get(name) != layout:
            archive = archives / "image.tar"
            run(
                [
                    skopeo,
                    "--insecure-policy",
                    "copy",
                    "--quiet",
                    f"oci:{layout}:latest",
                    f"docker-archive:{archive}:{name}:latest",
                ]
            )
            docker_engine.run("load", "--input", archive)
            archive.unlink()
            tags[name] = layout

    def build(case: goldens.Case, work: Path) -> dict[str, Any]:
        context = case.copy(work)
        for name, layout in bases.of(case).items():
            load(name, layout)
        arguments = case.arguments("docker_args" if "docker_args" in case.options else "args", work)
        # The engine of the tests has no network of its own to give.
        named: list[str | Path] = ["--network=host", "--no-cache", "--file", work / "Dockerfile", "--tag", "built:case"]
        fails = bool(case.options.get("fails"))
        command = [program, "-H", docker_engine.host, "build", *named, *arguments, context]
        done = run(command, env=environment, check=not fails)
        if fails:
            assert done.returncode != 0
            return {}
        output = work / "docker.tar"
        docker_engine.run("save", "--output", output, "built:case")
        return goldens.describe(images.read_image(output), bases.tree)

    return build


def disagreement(theirs: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Say where Docker's result is another one, beyond what its sandbox leaves behind."""
    for path in _LEFT:
        if path not in expected["tree"] and theirs["tree"].get(path) in ('file 0755 0:0 ""', "dir 0755 0:0"):
            del theirs["tree"][path]
    ours, said = expected["config"], theirs["config"]
    return [
        f"{name}: {one.get(name)} in ours, {other.get(name)} in Docker's"
        for one, other in [(expected["tree"], theirs["tree"]), (ours, said)]
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    ]


@pytest.mark.parametrize("case", chosen(), ids=lambda case: case.name)
def test_docker_agrees(case: goldens.Case, docker: Build, tmp_path: Path) -> None:
    theirs = docker(case, tmp_path)
    if not case.options.get("fails"):
        assert disagreement(theirs, case.expected) == []
        assert theirs.get("author") == case.expected.get("author")


@pytest.mark.parametrize("case", set_apart(), ids=lambda case: case.name)
def test_docker_still_differs(case: goldens.Case, docker: Build, tmp_path: Path) -> None:
    try:
        theirs = docker(case, tmp_path)
    except AssertionError:
        return
    if case.options.get("fails"):
        return
    assert disagreement(theirs, case.expected), f"Docker agrees after all, contrary to: {case.options['docker']}"

"""buildah makes the same tree and configuration of our Dockerfiles, wherever it is right.

It is held against the expected.json that our own builds are held against too. A seeded choice of the cases, and of
those in which buildah is not right, takes part in ordinary runs, all of them with scripts/test --full.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import goldens, images
from tests.support.commands import run
from tests.support.need import need_root, need_tool

_SEED = 20
_IN_ORDINARY_RUNS = {True: 24, False: 4}
# buildah gives none of these defaults: BuildKit, whom we follow, does.
_DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Build = Callable[[goldens.Case, Path], dict[str, Any]]


def chosen(*, right: bool) -> list[goldens.Case]:
    """Return the cases of this run that buildah makes as we do, or those of which we say that it does not."""
    found = [case for case in goldens.find() if (case.options.get("buildah", True) is True) is right]
    if os.environ.get("PYBUILD_TEST_FULL"):
        return found
    picked = random.Random(_SEED).sample(found, min(_IN_ORDINARY_RUNS[right], len(found)))
    return sorted(picked, key=lambda case: case.name)


@pytest.fixture(scope="module")
def bases(busybox_layout: Path, tmp_path_factory: pytest.TempPathFactory) -> goldens.Bases:
    return goldens.make_bases(busybox_layout, tmp_path_factory.mktemp("bases"))


@pytest.fixture(scope="module")
def buildah(bases: goldens.Bases, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Build a case with buildah: the bases are images of its own store, called localhost/NAME."""
    need_root("needs root: buildah")
    program, skopeo = need_tool("buildah"), need_tool("skopeo")
    store = tmp_path_factory.mktemp("buildah")
    where: list[str | Path] = ["--root", store / "root", "--runroot", store / "run", "--storage-driver", "vfs"]

    def build(case: goldens.Case, work: Path) -> dict[str, Any]:
        context = case.copy(work)
        for name, layout in bases.of(case).items():
            image = f"containers-storage:[vfs@{store}/root+{store}/run]localhost/{name}:latest"
            run([skopeo, "--insecure-policy", "copy", "--quiet", f"oci:{layout}:latest", image])
        output = work / "buildah.tar"
        options: list[str | Path] = [
            "--format=docker",
            "--isolation=chroot",
            "--pull-never",
            "--identity-label=false",
            "--layers=false",
        ]
        arguments = case.arguments("buildah_args" if "buildah_args" in case.options else "args", work)
        named: list[str | Path] = ["--file", work / "Dockerfile", "--tag", f"docker-archive:{output}:built:latest"]
        fails = bool(case.options.get("fails"))
        done = run([program, *where, "bud", *options, *named, *arguments, context], check=not fails)
        if fails:
            assert done.returncode != 0
            return {}
        return goldens.describe(images.read_image(output), bases.tree)

    return build


def disagreement(theirs: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Say where buildah's result is another one, beyond what is known of it."""
    for path in ("etc/hosts", "etc/resolv.conf"):  # mount points of its RUN, which stay in its images
        if path not in expected["tree"] and theirs["tree"].get(path) == 'file 0755 0:0 ""':
            del theirs["tree"][path]
    ours, said = dict(expected["config"]), dict(theirs["config"])
    for config in (ours, said):
        config["Env"] = sorted(one for one in config.get("Env", ()) if one != _DEFAULT_PATH)
        if config.get("WorkingDir") == "/":
            del config["WorkingDir"]
    pairs = [(expected["tree"], theirs["tree"]), (ours, said)]
    return [
        f"{name}: {one.get(name)} in ours, {other.get(name)} in buildah's"
        for one, other in pairs
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    ]


@pytest.mark.parametrize("case", chosen(right=True), ids=lambda case: case.name)
def test_buildah_agrees(case: goldens.Case, buildah: Build, tmp_path: Path) -> None:
    theirs = buildah(case, tmp_path)
    if not case.options.get("fails"):
        assert disagreement(theirs, case.expected) == []
        assert theirs.get("author") == case.expected.get("author")


@pytest.mark.parametrize("case", chosen(right=False), ids=lambda case: case.name)
def test_buildah_is_still_not_right(case: goldens.Case, buildah: Build, tmp_path: Path) -> None:
    try:
        theirs = buildah(case, tmp_path)
    except AssertionError:
        return
    assert disagreement(theirs, case.expected), f"buildah agrees after all, contrary to: {case.options['buildah']}"

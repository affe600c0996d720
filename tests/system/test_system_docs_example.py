"""testdata/examples/python-without-run: an application's image without RUN, as docs/python-application.md says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import CHECKOUT, digest_of, pybuild
from tests.support.commands import run
from tests.support.docpages import blocks_of
from tests.support.githttp import repository
from tests.support.images import StoredImage, read_image
from tests.support.need import need_tool
from tests.support.trees import tree_of
from tests.support.wheels import write_examples_wheels

EXAMPLE = CHECKOUT / "testdata/examples/python-without-run"


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    need_tool("git")
    return repository(shutil.copytree(EXAMPLE, tmp_path / "origin", ignore=shutil.ignore_patterns("dependencies")))


def checkout(origin: Path, target: Path, umask: int, wheels: Path) -> Path:
    """Clone, and install the dependencies with a Python of the clone's own, as a user would with this umask."""
    python = f"{sys.executable} -m venv --without-pip {target}/.venv"
    run(["sh", "-c", f"umask {umask:03o} && git clone --quiet {origin} {target} && {python}"])
    own = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    pip = f"{sys.executable} -m pip --python .venv/bin/python install --quiet --no-compile"
    install = f"umask {umask:03o} && cd {target} && {pip} --target dependencies --requirement requirements.txt"
    run(["sh", "-c", install], env={**own, "PIP_ROOT_USER_ACTION": "ignore"})
    return target


def built(context: Path, base: Path, store: Path) -> tuple[str, StoredImage]:
    out = context.with_name(f"{context.name}.tar")
    named = ["--build-context", f"python:3.13-slim=oci-layout://{base}:latest"]
    done = pybuild("--reproducible", *named, "-o", f"type=oci,dest={out}", "-t", "hello:1", context, root=store)
    return digest_of(done), read_image(out)


def test_two_checkouts_give_the_same_image(origin: Path, tmp_path: Path, busybox_layout: Path) -> None:
    wheels = write_examples_wheels(tmp_path / "wheels")
    first = checkout(origin, tmp_path / "first", 0o022, wheels)
    second = checkout(origin, tmp_path / "somewhere/else", 0o077, wheels)
    one, image = built(first, busybox_layout, tmp_path / "store-1")
    other, _ = built(second, busybox_layout, tmp_path / "store-2")

    assert one == other
    # That there was something to make equal: the installed programs are not.
    assert (first / "dependencies/bin/sign").read_bytes() != (second / "dependencies/bin/sign").read_bytes()
    paths = tree_of(tmp_path / "first.tar").keys()
    assert {"app/dependencies/itsdangerous/__init__.py", "app/hello/__main__.py"} <= paths
    assert [path for path in paths if path.startswith("app/dependencies/bin") or path.endswith("RECORD")] == []

    (second / "src/hello/__init__.py").write_text('"""Changed."""\n')
    _, changed = built(second, busybox_layout, tmp_path / "store-2")
    assert image.layers[:-1] == changed.layers[:-1], "only the layer of the code changes"
    assert image.layers[-1] != changed.layers[-1]


def test_the_page_shows_these_files() -> None:
    shown = {one.title: one.text + "\n" for one in blocks_of("docs/python-application.md") if one.kind == "file"}
    assert shown.keys() == {"requirements.txt", "src/hello/__main__.py", "Dockerfile", ".dockerignore"}
    assert {name: (EXAMPLE / name).read_text() for name in shown} == shown


def test_it_works_where_it_is_unpacked(origin: Path, tmp_path: Path, busybox_layout: Path) -> None:
    context = checkout(origin, tmp_path / "app", 0o022, write_examples_wheels(tmp_path / "wheels"))
    named = ["--build-context", f"python:3.13-slim=oci-layout://{busybox_layout}:latest"]
    tree, about = tmp_path / "tree", tmp_path / "about.json"
    pybuild(
        *("--reproducible", *named, "-o", f"type=local,dest={tree}", "--metadata-file", about, context),
        root=tmp_path / "store",
    )
    environment = {"PYTHONPATH": str(tree / "app/dependencies"), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-m", "hello", "you"], cwd=tree / "app", env=environment, capture_output=True, check=True
    )
    assert done.stdout.startswith(b"you.")
    assert all("RUN" not in step["name"] for step in json.loads(about.read_text()).get("steps", []))

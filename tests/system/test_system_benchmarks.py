"""The benchmarks run, and the builders that they compare make the same images. Nothing is said about time."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.support.cli import CHECKOUT
from tests.support.commands import run
from tests.support.need import need_root, need_tool

BENCHMARKS = CHECKOUT / "benchmarks"


@pytest.fixture
def pybuild(tmp_path: Path) -> Path:
    """Make a command of this checkout."""
    path = tmp_path / "pybuild"
    path.write_text(f'#!/bin/sh\nPYTHONPATH={CHECKOUT} exec {sys.executable} -m builder.cli.main "$@"\n')
    path.chmod(0o755)
    return path


def test_workloads_once_and_small(pybuild: Path, tmp_path: Path, full: bool) -> None:
    """All of them with --full: of those on Debian one is enough to try, and buildah copies all of it at every step."""
    need_root("needs root: builders with stores of their own")
    for tool in ("buildah", "skopeo", "docker-registry", "mmdebstrap"):
        need_tool(tool)
    rows = ["W2-cold", "W3-cold", "W4", "W6", *(["W1-cold", "W1-warm", "W5", "W7"] if full else [])]
    sizes = ["--scale=0.002", "--repeat=1", "--factor=inf", "--limit=inf"]
    command = [sys.executable, BENCHMARKS / "compare.py", f"--pybuild={pybuild}", f"--rows={','.join(rows)}", *sizes]
    run([*command, f"--work={tmp_path}", f"--results={tmp_path}"])
    found = json.loads((tmp_path / "compare.json").read_text())
    assert len(found["rows"]) == len(rows)
    assert all(len(row["runs"]["buildah"]) == len(row["runs"]["pybuild"]) == 1 for row in found["rows"])
    assert (tmp_path / "compare.md").read_text().count("| met |") == len(rows)


def test_every_curve_once_and_small(pybuild: Path, tmp_path: Path) -> None:
    need_root("needs root: RUN on any machine")
    command = [sys.executable, BENCHMARKS / "curves.py", f"--pybuild={pybuild}", "--scale=0.002", "--axes=files,bytes"]
    run([*command, "--repeat=1", f"--work={tmp_path}", f"--results={tmp_path}"], check=False)
    assert {axis["axis"] for axis in json.loads((tmp_path / "curves.json").read_text())["axes"]} == {"files", "bytes"}


def test_the_floors_of_what_is_uploaded_once_and_small() -> None:
    need_root("needs root: builders with stores of their own")
    for tool in ("buildah", "docker-registry"):
        need_tool(tool)
    done = run([sys.executable, BENCHMARKS / "floors.py", "--rows=W2,W6", "--scale=0.002", "--repeat=1"])
    assert re.findall(r"^\| (W\d) \| [\d.]+ s \| [\d.]+ s \|", done.stdout, re.MULTILINE) == ["W2", "W6"]

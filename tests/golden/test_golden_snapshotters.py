"""The Dockerfiles with RUN give the same image whatever their steps write to (run-sandbox.md 3).

Without ``--full`` every fourth of them.
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

import pytest

from tests.support import goldens
from tests.support.fuse import need_fuse

RUNS = [case for case in goldens.find() if case.runs]
SHARE = 1 if os.environ.get("PYBUILD_TEST_FULL") else 4


@pytest.fixture(scope="module", params=["copy", "fuse"])
def command(request: pytest.FixtureRequest) -> functools.partial[object]:
    if request.param == "fuse":
        need_fuse()
    return functools.partial(goldens.pybuild, f"--snapshotter={request.param}")


@pytest.fixture(scope="module")
def shared_root(command: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("golden") / "store"


@pytest.mark.parametrize("case", RUNS[::SHARE], ids=lambda case: case.name)
def test_the_same_image(
    case: goldens.Case, command: functools.partial[object], bases: goldens.Bases, shared_root: Path, tmp_path: Path
) -> None:
    result, expected = goldens.build(case, bases, tmp_path, shared_root, command), case.expected
    if "error" in expected:
        assert expected.pop("error") in result.pop("error")
    assert json.dumps(result, indent=2) == json.dumps(expected, indent=2)

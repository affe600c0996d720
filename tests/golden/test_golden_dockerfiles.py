"""Every Dockerfile of testdata/dockerfiles gives the image its expected.json describes.

``--update-golden`` writes what came out instead; then read the diff.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import goldens


@pytest.mark.parametrize("case", goldens.find(), ids=lambda case: case.name)
def test_golden(
    case: goldens.Case, bases: goldens.Bases, shared_root: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    result = goldens.build(case, bases, tmp_path, shared_root)
    if request.config.getoption("--update-golden"):
        case.write(result)
        return
    expected = case.expected
    if "error" in expected:
        assert expected["error"] in result.pop("error")
        del expected["error"]
    assert json.dumps(result, indent=2) == json.dumps(expected, indent=2)

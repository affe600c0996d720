"""The Dockerfiles with RUN give the same image where there is one uid, but for what docs/compatibility.md says.

Without ``--full`` every fourth of them, and those that differ.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest

from tests.support import goldens

DOCUMENTED = {
    "run-devices": "mknod is not allowed",
    "run-metadata-only": "the owner of a link",
    "run-mount-secret": "the owner of a mount",
    "run-mount-secret-file": "the owner of a mount",
    "run-mount-tmpfs-and-cache": "the owner of a mount",
    "run-special-files": "the owner of a fifo",
    "run-umask-and-owners-of-user": "USER, run as root",
    "run-user": "USER, run as root",
    "users-and-their-directories": "USER, run as root",
}
RUNS = [case for case in goldens.find() if case.runs]
SHARE = 1 if os.environ.get("PYBUILD_TEST_FULL") else 4
CHOSEN = [case for number, case in enumerate(RUNS) if number % SHARE == 2 % SHARE or case.name in DOCUMENTED]
ONE_UID = functools.partial(goldens.pybuild, "--isolation=single", "--ignore-user")


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.name)
def test_the_same_image(case: goldens.Case, bases: goldens.Bases, shared_root: Path, tmp_path: Path) -> None:
    if case.name == "run-devices":
        with pytest.raises(AssertionError, match="mknod: null: Operation not permitted"):
            goldens.build(case, bases, tmp_path, shared_root, ONE_UID)
        return
    result, expected = goldens.build(case, bases, tmp_path, shared_root, ONE_UID), case.expected
    if "error" in expected:
        assert expected.pop("error") in result.pop("error")
    assert (result != expected) == (case.name in DOCUMENTED)
    assert result.get("tree", {}).keys() == expected.get("tree", {}).keys()

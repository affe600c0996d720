"""The digests of every compatibility level: streams and images of a small corpus, as testdata/goldens/ has them.

Also by other interpreters, users and numbers of processors, and on processors without, or with other, vector
instructions (emulated: qemu-user). ``scripts/goldens`` writes the expected ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from builder.engine.recompress import coding_of
from builder.levels import LEVELS, Level
from tests.support import corpus
from tests.support.cli import CHECKOUT
from tests.support.need import need, need_tool
from tests.support.pythons import interpreter
from tests.support.users import User

MODELS = ("qemu64", "Conroe", "Nehalem", "Haswell", "EPYC", "max")
"""Processors with SSE3, SSSE3, SSE4.2, AVX2, AVX2 and SHA, and with all that the emulator knows."""

ADD = "run scripts/goldens with these versions, read the diff and commit it"


@pytest.fixture(scope="module", params=LEVELS.values(), ids=lambda level: f"level-{level.number}")
def level(request: pytest.FixtureRequest) -> Level:
    assert isinstance(request.param, Level)
    return request.param


@pytest.fixture(scope="module")
def expected(level: Level) -> corpus.Digests:
    return corpus.golden(level)


@pytest.fixture(scope="module")
def found(level: Level) -> corpus.Digests:
    return corpus.measure(level)


def test_every_compressor_of_this_machine_has_its_digests(expected: corpus.Digests) -> None:
    assert expected["images"].keys() == corpus.CASES.keys()
    for choice in corpus.EFFORTS:
        fingerprint = coding_of(choice).fingerprint()
        known = expected["compressed"].get(fingerprint)
        if choice.kind == "gzip-single-member":  # zlib is the system's, and no dependency of ours
            need(known, f"{fingerprint} has no golden digests: {ADD}")
        assert known, f"{fingerprint} has no golden digests: {ADD}"
        assert known["streams"].keys() == corpus.STREAMS.keys(), ADD


def test_the_digests_are_those_of_the_level(expected: corpus.Digests, found: corpus.Digests) -> None:
    changed = list(corpus.differences(expected, found))
    assert changed == [], "at a level, bytes never change: what is better is a new level (docs/reproducibility.md)"


def test_what_identifies_an_image_depends_on_no_compressor(expected: corpus.Digests) -> None:
    for fingerprint, compressed in expected["compressed"].items():
        for name, image in compressed.get("images", {}).items():
            layers, diff_ids = image["layers"], expected["images"][name]["diff_ids"]
            assert [len(one) for one in layers] == [len(one) for one in diff_ids]
            if fingerprint == "none":
                assert layers == diff_ids


def test_the_files_are_of_levels_that_exist() -> None:
    numbers = {json.loads(path.read_text())["level"]: path.name for path in corpus.GOLDENS.glob("level-*.json")}
    assert numbers == {number: f"level-{number}.json" for number in LEVELS}


def test_a_difference_is_told_and_a_gap_is_none() -> None:
    old: Any = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    new: Any = {"a": {"x": 2, "y": [1, 3], "z": 3}, "c": 1}
    assert sorted(corpus.differences(old, new)) == ["a: x: 2, expected 1", "a: y: [1, 3], expected [1, 2]"]
    assert corpus.merged(old, new) == {"a": {"x": 1, "y": [1, 2], "z": 3}, "b": 1, "c": 1}


def measured(level: Level, *command: str | Path, kinds: Sequence[str] = ()) -> corpus.Digests:
    """Return the digests that another process gives, after ``command``."""
    arguments = [*command, "-m", "tests.support.corpus", str(level.number), *kinds]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=CHECKOUT, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("model", MODELS)
def test_on_other_processors(level: Level, model: str, found: corpus.Digests) -> None:
    """Compressing, inflating (ISA-L), SHA-256 and XXH3 choose their code by what the processor can."""
    need(os.uname().machine == "x86_64", "needs a machine of the kind that is emulated")
    emulator = shutil.which("qemu-x86_64") or need_tool("qemu-x86_64-static")
    emulated = measured(level, emulator, "-cpu", model, sys.executable, kinds=("gzip", "zstd"))
    assert list(corpus.differences(found, emulated)) == []
    assert emulated["images"] == found["images"]
    assert len(emulated["compressed"].keys() & found["compressed"].keys()) == 2


@pytest.mark.parametrize("count", [1, 2])
def test_on_one_and_two_processors(level: Level, count: int, found: corpus.Digests) -> None:
    usable = sorted(os.sched_getaffinity(0))
    need(len(usable) >= count, f"needs {count} processors")
    chosen = ",".join(map(str, usable[:count]))
    assert measured(level, need_tool("taskset"), "--cpu-list", chosen, sys.executable) == found


@pytest.mark.parametrize("version", [one for one in ("3.11", "3.12", "3.13") if not sys.version.startswith(one)])
def test_by_other_interpreters(level: Level, version: str, found: corpus.Digests) -> None:
    other = measured(level, interpreter(version))
    assert list(corpus.differences(found, other)) == []
    assert other["images"] == found["images"]
    assert coding_of(None).fingerprint() in other["compressed"], "other versions of the libraries"


def test_by_an_ordinary_user(level: Level, plain_user: User, found: corpus.Digests) -> None:
    """Also with another umask. The package is a copy, and the tests' own modules have to be one as well."""
    folder = plain_user.home / "corpus"
    shutil.copytree(CHECKOUT / "tests" / "support", folder / "tests" / "support")
    command = [plain_user.python, "-m", "tests.support.corpus", str(level.number)]
    env = {"PYTHONPATH": f"{plain_user.source}:{folder}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = plain_user.run("sh", "-c", 'umask 077; exec "$@"', "sh", *command, env=env, cwd=folder)
    other = json.loads(done.stdout)
    assert list(corpus.differences(found, other)) == []
    assert other["images"] == found["images"]
    shutil.rmtree(folder)


def test_a_new_version_of_a_library_is_told_by_its_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that hides its version is known by what it makes."""
    from builder.rootfs import chunked, coding

    usual = coding.USUAL.fingerprint()
    chunked.fingerprint_of.cache_clear()
    monkeypatch.setattr(chunked, "gzip_member", lambda data, _: hashlib.sha256(data).digest())
    other = coding.USUAL.fingerprint()
    chunked.fingerprint_of.cache_clear()
    assert other.rpartition("-")[0] == usual.rpartition("-")[0]
    assert other != usual

"""SIGKILL at any moment of a build: nothing of it runs on, and the next build gives the right image."""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

import pytest

from tests.support import reaper
from tests.support.cli import digest_of, environment, pybuild, write_context
from tests.support.commands import run
from tests.support.need import need_root
from tests.support.processes import mounts

DOCKERFILE = """\
FROM base AS one
COPY big/ /big/
RUN mkdir -p /d/e && cp /big/0 /d/e/ && rm -r /big && (sleep 0.05 & wait)
WORKDIR /w
FROM base AS two
RUN --mount=type=cache,target=/cache cp /bin/busybox /cache/ && cp /cache/busybox /copy && sleep 0.05
FROM base
COPY --from=one /d /d
COPY --from=two /copy /copy
ADD big/1 /from/
RUN echo done > /done
"""
FEW, MANY = 12, 50


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chance = random.Random(1)
    files: dict[str, str | bytes] = {f"big/{number}": chance.randbytes(1 << 20) for number in range(4)}
    return write_context(tmp_path_factory.mktemp("project"), DOCKERFILE, files)


def arguments(project: Path, layout: Path, out: Path) -> list[str | Path]:
    named = f"--build-context=base=oci-layout://{layout}:latest"
    return ["--source-date-epoch=1700000000", named, "-t", "x:1", "-o", f"type=oci,dest={out}", "--jobs=3", project]


def test_the_reaper_tells_on_those_left_behind() -> None:
    stray = ["sh", "-c", "setsid sleep 12345 & sleep 12345"]
    done = run([sys.executable, reaper.__file__, "0.1", "0.3", *stray], check=False)
    assert done.returncode == 1
    assert "12345" in done.stdout


def test_the_digest_is_right_after_a_kill_at_any_moment(
    project: Path, busybox_layout: Path, tmp_path: Path, full: bool
) -> None:
    need_root("needs root: RUN")
    words = arguments(project, busybox_layout, tmp_path / "expected")
    started = time.monotonic()
    expected = digest_of(pybuild(*words, root=tmp_path / "clean"))
    duration = time.monotonic() - started
    archive = (tmp_path / "expected").read_bytes()
    chance = random.Random(20)
    shared = tmp_path / "shared"
    killed = 0
    with_steps = [shared]
    for number in range(MANY if full else FEW):
        # Half of them in a store of their own, half in one that has seen the deaths before.
        store = shared if number % 2 else tmp_path / f"store-{number}"
        out = tmp_path / f"out-{number}"
        words = arguments(project, busybox_layout, out)
        command = [sys.executable, "-m", "builder.cli.main", *(["--no-cache"] if number % 2 else []), *words]
        delay = chance.uniform(0.1, duration)
        done = run([sys.executable, reaper.__file__, str(delay), "20", *command], env=environment(store), check=False)
        assert done.returncode == 0, done.stdout
        killed += done.stdout.startswith("killed")
        assert mounts(tmp_path) == []
        again = pybuild(*words, root=store)
        assert digest_of(again) == expected, f"killed after {delay} s"
        assert out.read_bytes() == archive
        left = [one for one in os.listdir(store / "tmp") if not one.endswith(".run")]
        assert (left, os.listdir(store / "leases")) == ([], [])
        if os.listdir(store / "tmp"):  # files of steps, which the next step removes
            with_steps.append(store)
    assert killed >= FEW // 4  # the first build, which was timed, is the slowest
    for store in with_steps[: None if full else 2]:
        assert digest_of(pybuild("--no-cache", *words, root=store)) == expected
        assert os.listdir(store / "tmp") == []

"""Builds of overlapping graphs on one store, some of them killed: who survives is right, and nothing is left."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support import reaper
from tests.support.cli import digest_of, environment, pybuild, write_context
from tests.support.need import need_root

AT_ONCE = 8
GROUPS = 4
FEW, MANY = 3, 100
PATIENCE = 600.0
"""Seconds until a round counts as a deadlock; one takes a few on a quiet machine."""

DOCKERFILE = """\
FROM base AS shared
COPY shared/ /shared/
RUN mkdir /work && cat /shared/* > /work/all
FROM base AS {halves}
ARG HALF={half}
COPY own/{half} /half
RUN --mount=type=cache,target=/cache,sharing=locked cp /half /cache/f && cmp /half /cache/f && cp /cache/f /$HALF
FROM shared AS together
RUN --mount=from={halves},target=/half cp /half/{half} /work/{half}
WORKDIR /made/{half}
FROM shared
COPY --from=together /work /work
COPY --link --from={halves} /{half} /link/{half}
RUN --network=none echo {group} > /group && rm -r /shared
"""


@dataclass(frozen=True)
class Job:
    """A build and what it has to give; ``options`` are those that do not decide that."""

    words: Sequence[str | Path]
    digest: str

    def command(self, chance: random.Random) -> list[str | Path]:
        fresh = ["--no-cache"] if chance.random() < 0.3 else []
        return [sys.executable, "-m", "builder.cli.main", *fresh, f"--jobs={chance.randint(1, 3)}", *self.words]


@dataclass
class Running:
    """A process; a ``victim`` is below the reaper, which kills it."""

    job: Job | None
    process: subprocess.Popen[str]
    victim: bool

    def end(self) -> bool:
        """Wait for it; fail unless it ended as it should. Return whether it was killed."""
        try:
            out, err = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise AssertionError(f"a deadlock: it did not end in {PATIENCE} s\n{out}{err}") from None
        assert self.process.returncode == 0, f"{out}{err}"
        assert "Traceback" not in err, err
        if self.victim:
            return out.startswith("killed")
        assert self.job is None or f"sha256:{out.strip().rpartition('sha256:')[2]}" == self.job.digest, err
        return False


def start(job: Job | None, command: Sequence[str | Path], store: Path, kill_after: float | None) -> Running:
    words = list(map(str, command))
    if kill_after is not None:
        words = [sys.executable, reaper.__file__, str(kill_after), str(PATIENCE / 2), *words]
    process = subprocess.Popen(
        words,
        env=environment(store),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    return Running(job, process, kill_after is not None)


def make_jobs(folder: Path, layout: Path) -> list[Job]:
    """Write the projects, which share some of their steps, and build each alone."""
    shared: dict[str, str | bytes] = {f"shared/{number}": bytes([number]) * 50_000 for number in range(20)}
    jobs = []
    for group in range(GROUPS):
        half = group % 2
        files = {**shared, f"own/{half}": f"half {half}" * 1000}
        text = DOCKERFILE.format(group=group, half=half, halves=f"half-{half}")
        context = write_context(folder / f"context-{group}", text, files)
        named = f"--build-context=base=oci-layout://{layout}:latest"
        words = ["--source-date-epoch=1200000000", named, str(context)]
        jobs.append(Job(words, digest_of(pybuild(*words, root=folder / f"alone-{group}"))))
    return jobs


def leftovers(store: Path) -> dict[str, list[str]]:
    """Return what no process uses any more and is there all the same."""
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(store) in line]
    found = {"mounts": mounts}
    for name in ("tmp", "leases", "locks"):
        found[name] = [
            str(one.relative_to(store)) for one in (store / name).rglob("*") if one.is_file() or name == "tmp"
        ]
    # Each unpacked layer has a lock, which says when it was used.
    layers = {str(one.relative_to(store)) for one in (store / "layers").glob("*/*")}
    witnesses = {str(one.relative_to(store)).replace(".locks/", "") for one in (store / "layers").glob("*/.locks/*")}
    found["locks"] += sorted(witnesses - layers)
    return {name: paths for name, paths in found.items() if paths}


def test_builds_that_share_a_store_with_dying_ones_are_right(busybox_layout: Path, tmp_path: Path, full: bool) -> None:
    need_root("needs root: RUN")
    chance = random.Random(5)
    jobs = make_jobs(tmp_path, busybox_layout)
    killed = 0
    prune = [sys.executable, "-m", "builder.cli.main", "cache", "prune", "--all"]
    store = tmp_path / "store-0"
    for number in range(MANY if full else FEW):
        if number % 7 == 1:
            store = tmp_path / f"store-{number}"
        running = []
        for one in range(AT_ONCE):
            job = jobs[(one + number) % GROUPS]
            kill_after = chance.uniform(0.2, 2.5) if one % 2 else None
            running.append(start(job, job.command(chance), store, kill_after))
        if number % 2:
            running.append(start(None, prune, store, None))
        killed += sum(one.end() for one in running)
        for job in jobs:
            assert digest_of(pybuild(*job.words, root=store)) == job.digest
        # Files of steps that were killed are left to the next step.
        job = chance.choice(jobs)
        assert digest_of(pybuild("--no-cache", *job.words, root=store)) == job.digest
        assert leftovers(store) == {}, f"round {number}"
    assert killed >= (MANY if full else FEW)
    assert os.listdir(store / "tmp") == []

#!/usr/bin/env python3
"""How long steps of RUN take, as root, beside `buildah bud --layers` doing the same.

    python3 -m venv /tmp/wheel && /tmp/wheel/bin/pip install .
    .venv/bin/python benchmarks/run.py --pybuild /tmp/wheel/bin/pybuild

PYBUILD should be the command of an installed wheel, with compiled bytecode (PYTHONDONTWRITEBYTECODE unset). Every
figure is the median of --repeat builds that take turns with those they are compared to; every RUN in them is a new one,
and the base image is warm: pulled and unpacked. "RUN true" is what one more such step costs: the difference between 21
and 1 of them on a base that holds one program, divided by 20. "the first RUN" is a build with one less one with none:
it starts the sandbox. The 20 steps each write a file on a Debian of 180 MB. Ends with status 1 if a figure is over its
limit; --factor multiplies the limits, for slow or busy machines. Without buildah that comparison is left out.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.support import bases
from benchmarks.support.command import Arguments

STEPS = 20
Tool = Callable[[Path], list[str]]


@dataclass(frozen=True)
class Figure:
    """What was measured, and the most it may be."""

    name: str
    value: float
    limit: float
    unit: str

    @property
    def over(self) -> bool:
        return self.value > self.limit if self.unit != "times" else self.value < self.limit


class Bench:
    """Stores, bases and contexts in a directory that goes away."""

    def __init__(self, work: Path, pybuild: str, repeat: int) -> None:
        self.work = work
        self.repeat = repeat
        self._pybuild = pybuild
        self._nonce = 0
        self.env = {**os.environ, "HOME": str(work), "PYBUILD_ROOT": str(work / "store")}
        self.env.pop("PYTHONDONTWRITEBYTECODE", None)

    def context(self, commands: Sequence[str]) -> Path:
        """Write a context whose RUNs nobody has built yet."""
        self._nonce += 1
        folder = self.work / "context"
        folder.mkdir(exist_ok=True)
        lines = ["FROM base", *(f"RUN {command} # {self._nonce}.{n}" for n, command in enumerate(commands))]
        (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
        return folder

    def pybuild(self, layout: Path) -> Tool:
        """Return pybuild with ``layout`` as its base."""
        named = f"--build-context=base=oci-layout://{layout}:latest"
        return lambda context: [self._pybuild, "--progress=quiet", "--isolation=root", named, "-t=x:1", str(context)]

    def buildah(self, layout: Path) -> Tool:
        """Return buildah with ``layout`` as its base, in a store on overlay with native diffs where it can."""
        where = ["--root", f"{self.work}/buildah", "--runroot", f"{self.work}/run", "--storage-driver", "overlay"]
        program = [shutil.which("buildah") or "buildah", *where]
        self._done([*program, "pull", "--quiet", f"oci:{layout}:latest"])
        (image,) = self._done([*program, "images", "--quiet"]).split()
        self._done([*program, "tag", image, "localhost/base"])
        options = ["bud", "--layers", "--quiet", "--isolation=chroot", "--pull-never", "--tag=x:1"]
        return lambda context: [*program, *options, str(context)]

    def take_turns(self, *jobs: tuple[Tool, Sequence[str]]) -> list[float]:
        """Return the median seconds of each job; one round before counts for nothing."""
        taken: list[list[float]] = [[] for _ in jobs]
        for number in range(self.repeat + 1):
            for (tool, commands), times in zip(jobs, taken, strict=True):
                command = tool(self.context(commands))
                began = time.perf_counter()
                self._done(command)
                if number:
                    times.append(time.perf_counter() - began)
        return [statistics.median(times) for times in taken]

    def _done(self, command: list[str]) -> str:
        done = subprocess.run(
            command, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout


def measure(bench: Bench) -> list[Figure]:
    """Measure everything."""
    ours = bench.pybuild(bases.busybox(bench.work))
    none, one, many = bench.take_turns((ours, []), (ours, ["true"]), (ours, ["true"] * (STEPS + 1)))
    figures = [
        Figure("a build without RUN", none * 1000, 200, "ms"),
        Figure("the first RUN", (one - none) * 1000, 120, "ms"),
        Figure("RUN true", (many - one) / STEPS * 1000, 25, "ms"),
    ]
    layout = bases.debian()
    commands = [f"echo {number} > /file-{number}" for number in range(STEPS)]
    jobs = [(bench.pybuild(layout), commands)]
    if shutil.which("buildah"):
        jobs.append((bench.buildah(layout), commands))
    seconds = bench.take_turns(*jobs)
    figures.append(Figure(f"{STEPS} RUN on Debian", seconds[0] * 1000, 700, "ms"))
    if len(seconds) > 1:
        figures.append(Figure(f"{STEPS} RUN on Debian, buildah", seconds[1] * 1000, float("inf"), "ms"))
        figures.append(Figure("faster than buildah", seconds[1] / seconds[0], 4, "times"))
    return figures


def judge(found: Sequence[Figure], factor: float, target: str | None) -> int:
    """Print figures, write them to ``target`` as JSON, and return 1 if one is over its limit."""
    figures = [replace(one, limit=one.limit * (factor if one.unit == "ms" else 1)) for one in found]
    for figure in figures:
        wanted = f"at least {figure.limit:4.0f}" if figure.unit == "times" else f"at most {figure.limit:5.0f}"
        bound = "" if figure.limit == float("inf") else f"   {wanted}"
        print(f"{figure.name:40} {figure.value:8.1f} {figure.unit:5}{bound}{'   TOO SLOW' if figure.over else ''}")
    if target:
        Path(target).write_text(json.dumps([asdict(figure) for figure in figures]))
    return int(any(figure.over for figure in figures))


def main() -> int:
    """Measure, print, and judge."""
    parser = Arguments(__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--factor", type=float, default=1.0)
    parser.add_argument("--json", metavar="FILE")
    options = parser.ready()
    # Not in /tmp, which may be a file system in memory: a store is on a disk.
    with tempfile.TemporaryDirectory(prefix="pybuild-bench-", dir="/var/tmp") as work:
        found = measure(Bench(Path(work), options.pybuild, options.repeat))
    return judge(found, options.factor, options.json)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""How long builds take that have nothing to do, as root, beside `buildah bud --layers` on the same projects.

    python3 -m venv /tmp/wheel && /tmp/wheel/bin/pip install .
    .venv/bin/python benchmarks/warm.py --pybuild /tmp/wheel/bin/pybuild

PYBUILD should be the command of an installed wheel, with compiled bytecode (PYTHONDONTWRITEBYTECODE unset). Every
figure is the median wall time of --repeat whole processes that take turns with those they are compared to, after one
that built the project and one that counts for nothing. "10 instructions" have three RUNs and four COPYs; the large
context is --files small files in directories of a hundred, all of them copied. "nothing" is `pybuild --version`, what
starting Python costs. Ends with status 1 if a figure is over its limit; --factor multiplies the limits in ms, for slow
or busy machines. Without buildah that comparison is left out.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from run import Bench, Figure, Tool, judge

from benchmarks.support import bases
from benchmarks.support.command import Arguments

INSTRUCTIONS = """\
FROM base
ENV MODE=production
WORKDIR /src
COPY requirements.txt ./
RUN cp requirements.txt /installed
COPY src/ ./src/
COPY --chown=1000:1000 config /etc/app/
RUN cat src/* > /all
COPY static /static
RUN echo done > /done
CMD ["sh"]
"""
LARGE = """\
FROM base
COPY . /src/
"""
WARM_LIMIT, LARGE_LIMIT, TIMES = 120, 250, 4


class Warm(Bench):
    """Builds that were there before."""

    def take_turns_again(self, context: Path, tools: Sequence[Tool]) -> list[float]:
        """Build once with each tool, then measure; return the median ms of each."""
        commands = [tool(context) for tool in tools]
        for command in commands:
            self._done(command)
        taken: list[list[float]] = [[] for _ in tools]
        for number in range(self.repeat + 1):
            for command, times in zip(commands, taken, strict=True):
                began = time.perf_counter()
                self._done(command)
                if number:
                    times.append((time.perf_counter() - began) * 1000)
        return [statistics.median(times) for times in taken]


def project(folder: Path) -> Path:
    """Write the project of ten instructions."""
    for name, count in {"src": 40, "config": 3, "static": 20}.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            (folder / name / f"{number}.txt").write_text(f"{name} {number}\n" * 50)
    (folder / "requirements.txt").write_text("nothing\n")
    (folder / "Dockerfile").write_text(INSTRUCTIONS)
    return folder


def large(folder: Path, files: int) -> Path:
    """Write the project with many files."""
    for number in range(files):
        below = folder / f"package-{number // 1000}" / f"module-{number // 100}"
        below.mkdir(parents=True, exist_ok=True)
        (below / f"file-{number}.py").write_text(f"value = {number}\n" * 20)
    (folder / "Dockerfile").write_text(LARGE)
    return folder


def measure(bench: Warm, pybuild: str, files: int) -> list[Figure]:
    """Measure everything."""
    layout = bases.busybox(bench.work)
    tools = [bench.pybuild(layout)]
    if shutil.which("buildah"):
        tools.append(bench.buildah(layout))
    nothing: Tool = lambda _: [pybuild, "--version"]  # noqa: E731  # one of a list of tools
    figures = []
    for name, context, limit in (
        ("10 instructions", project(bench.work / "project"), WARM_LIMIT),
        (f"{files} files", large(bench.work / "large", files), LARGE_LIMIT),
    ):
        start, ours, *theirs = bench.take_turns_again(context, [nothing, *tools])
        if not figures:
            figures.append(Figure("nothing", start, float("inf"), "ms"))
        figures.append(Figure(name, ours, limit, "ms"))
        for one in theirs:
            figures.append(Figure(f"{name}, buildah", one, float("inf"), "ms"))
            figures.append(Figure(f"{name}, faster than buildah", one / ours, TIMES, "times"))
    return figures


def main() -> int:
    """Measure, print, and judge."""
    parser = Arguments(__doc__)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--factor", type=float, default=1.0)
    parser.add_argument("--json", metavar="FILE")
    options = parser.ready()
    # Not in /tmp, which may be a file system in memory: a store is on a disk.
    with tempfile.TemporaryDirectory(prefix="pybuild-bench-", dir="/var/tmp") as work:
        found = measure(Warm(Path(work), options.pybuild, options.repeat), options.pybuild, options.files)
    return judge(found, options.factor, options.json)


if __name__ == "__main__":
    sys.exit(main())

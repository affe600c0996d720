#!/usr/bin/env python3
"""How pybuild's time and memory grow: one curve for each of files, layer size, layers, stages and RUN steps.

    python3 -m venv /tmp/wheel && /tmp/wheel/bin/pip install .
    .venv/bin/python benchmarks/curves.py --pybuild /tmp/wheel/bin/pybuild [--axes files,layers] [--scale 0.1]

Needs root, and busybox-static. PYBUILD should be the command of an installed wheel, with compiled bytecode
(PYTHONDONTWRITEBYTECODE unset). Every point is a build into the local store of what was never seen, on a base that was
used before, and then the same build again ("warm"); the medians of --repeat rounds over all sizes. What is measured is
told in support/measuring.py.

Growth is the slope of log(time) over log(size) through the three largest sizes, each less the smallest point; of RUN
steps b in c + a*n + b*n^2, a quadratic that fits all points. Ends with status 1 if an exponent is over 1.1, b over
0.3 ms, or a peak over 100 MB. Results are written if all axes were measured at full size, or if --results names a
directory.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.support import bases, machine, plots
from benchmarks.support.command import Arguments
from benchmarks.support.fits import exponent, polynomial
from benchmarks.support.measuring import Measured, done, measure, median
from benchmarks.support.rivals import environment
from benchmarks.support.workloads import MIB, many_files, one_file

RESULTS = Path(__file__).with_name("results")
EXPONENT, QUADRATIC, PEAK = 1.1, 0.0003, 100.0


@dataclass(frozen=True)
class Axis:
    """What grows: sizes, and how a context of one is written; returns the Dockerfile."""

    name: str
    unit: str
    sizes: tuple[int, ...]
    write: Callable[[Path, int], str]


@dataclass(frozen=True)
class Grown:
    """A curve: what a build cost at each size, cold and again."""

    axis: Axis
    cold: dict[int, Measured]
    warm: dict[int, Measured]

    @property
    def exponent(self) -> float:
        return exponent([(size, found.wall) for size, found in self.cold.items()])

    @property
    def quadratic(self) -> float:
        """Seconds that are added with the square of the size."""
        return polynomial([(size, found.wall) for size, found in self.cold.items()], 2)[2]

    @property
    def peak(self) -> float:
        return max(found.peak for runs in (self.cold, self.warm) for found in runs.values())

    @property
    def wrong(self) -> str:
        """What is over its limit; RUN steps are judged by their quadratic part, everything else by its exponent."""
        found = []
        if self.axis.name == "runs":
            if self.quadratic > QUADRATIC:
                found.append("quadratic")
        elif self.exponent > EXPONENT:
            found.append("exponent")
        if self.peak > PEAK:
            found.append("memory")
        return ", ".join(found)


def _files(folder: Path, size: int) -> str:
    many_files(folder, size)
    return "FROM base\nCOPY . /src/\n"


def _megabytes(folder: Path, size: int) -> str:
    one_file(folder, size * MIB)
    return "FROM base\nCOPY . /src/\n"


def _layers(folder: Path, size: int) -> str:
    _small(folder, size)
    return "FROM base\n" + "".join(f"COPY {number} /src/{number}\n" for number in range(size))


def _stages(folder: Path, size: int) -> str:
    """Write stages that each take a file of the context and all that the one before has."""
    _small(folder, size)
    lines = ["FROM base AS s0", "COPY 0 /src/0"]
    for number in range(1, size):
        lines += [f"FROM base AS s{number}", f"COPY --from=s{number - 1} /src/{number - 1} /before"]
        lines += [f"COPY {number} /src/{number}"]
    return "\n".join(lines) + "\n"


def _runs(_folder: Path, size: int) -> str:
    # A number that no other build had, so that no step is known.
    nonce = random.randrange(10**12)
    return "FROM base\n" + "".join(f"RUN echo {nonce} > /f{number}\n" for number in range(size))


def _small(folder: Path, count: int) -> None:
    for number in range(count):
        (folder / str(number)).write_text(f"file {number}\n")


AXES = (
    Axis("files", "files", (1000, 3000, 10_000, 30_000, 100_000), _files),
    Axis("bytes", "MiB in one layer", (1, 16, 128, 512, 1024, 2048), _megabytes),
    Axis("layers", "layers", (1, 10, 50, 100, 200), _layers),
    Axis("stages", "stages", (1, 5, 12, 25, 50), _stages),
    Axis("runs", "RUN steps", (1, 10, 25, 50, 75, 100), _runs),
)


class Bench:
    """A store with a base in it, which goes away."""

    def __init__(self, pybuild: str, work: Path) -> None:
        self._pybuild, self._work = pybuild, work
        self._env = environment(work)
        self._base = bases.busybox(work)
        done(self._command(self._context(lambda _, __: "FROM base\nRUN true\n", 0)), self._env)

    def grow(self, axis: Axis, sizes: Sequence[int], repeat: int) -> Grown:
        """Measure every size, ``repeat`` times over."""
        cold: dict[int, list[Measured]] = {size: [] for size in sizes}
        warm: dict[int, list[Measured]] = {size: [] for size in sizes}
        for _ in range(repeat):
            for size in sizes:
                command = self._command(self._context(axis.write, size))
                cold[size].append(measure(command, self._env))
                warm[size].append(measure(command, self._env))
        return Grown(
            axis,
            {size: median(found) for size, found in cold.items()},
            {size: median(found) for size, found in warm.items()},
        )

    def _context(self, write: Callable[[Path, int], str], size: int) -> Path:
        """Write a context into an empty directory, with bytes that are new to the store."""
        context = self._work / "context"
        bases.remove(context)
        context.mkdir()
        text = write(context, size)
        nonce = random.randbytes(8)
        for path in context.rglob("*"):
            if path.is_file():
                with path.open("r+b") as stream:
                    stream.write(nonce)
        (self._work / "Dockerfile").write_text(text)
        return context

    def _command(self, context: Path) -> list[str]:
        named = f"--build-context=base=oci-layout://{self._base}:latest"
        return [self._pybuild, "--progress=quiet", named, f"--file={self._work}/Dockerfile", "-t=x:1", str(context)]


def grown(options: argparse.Namespace, work: Path) -> Iterator[Grown]:
    """Yield a curve for each axis that was asked for; each has a store of its own."""
    names = {word.strip() for word in options.axes.split(",") if word.strip()}
    if unknown := names - {axis.name for axis in AXES}:
        sys.exit(f"there are no axes {', '.join(sorted(unknown))}; there are {', '.join(axis.name for axis in AXES)}")
    wanted = {axis: _scaled(axis, options.scale) for axis in AXES if not names or axis.name in names}
    for axis, sizes in wanted.items():
        folder = work / axis.name
        folder.mkdir()
        yield Bench(options.pybuild, folder).grow(axis, sizes, options.repeat)
        bases.remove(folder)


def _scaled(axis: Axis, scale: float) -> list[int]:
    sizes = list(dict.fromkeys(max(1, int(size * scale)) for size in axis.sizes))
    if len(sizes) < 3:
        sys.exit(f"--scale={scale:g} leaves too few sizes of {axis.name}")
    return sizes


def table(found: Sequence[Grown]) -> str:
    """Return the table in Markdown."""
    lines = ["| axis | wall seconds, cold (warm) | largest process | growth | limit | |", "|---" * 6 + "|"]
    for one in found:
        costs = ", ".join(f"{size:,}: {cost.wall:.2f} ({one.warm[size].wall:.2f})" for size, cost in one.cold.items())
        peaks = [cost.peak for cost in one.cold.values()]
        growth, limit = f"n^{one.exponent:.2f}", f"n^{EXPONENT}"
        if one.axis.name == "runs":
            growth, limit = f"{one.quadratic * 1000:.2f} ms n^2", f"{QUADRATIC * 1000:.1f} ms n^2"
        memory = f"{peaks[0]:.0f} to {max(peaks):.0f} MB"
        lines.append(f"| {one.axis.unit} | {costs} | {memory} | {growth} | {limit} | {one.wrong or 'met'} |")
    return "\n".join(lines) + "\n"


def write(found: Sequence[Grown], options: argparse.Namespace) -> None:
    """Write the table, the plot and all figures."""
    folder: Path = options.results
    folder.mkdir(parents=True, exist_ok=True)
    about = machine.describe([options.pybuild])
    head = f"Written by benchmarks/curves.py: medians of {options.repeat} runs at scale {options.scale:g}. {about}."
    (folder / "curves.md").write_text(f"{head}\n\n{table(found)}\n![the same as curves](curves.svg)\n")
    drawn = []
    for one in found:
        runs = {"cold": one.cold, "warm": one.warm}
        seconds = [plots.Curve(name, [(n, at.wall) for n, at in costs.items()]) for name, costs in runs.items()]
        memory = [plots.Curve(name, [(n, at.peak) for n, at in costs.items()]) for name, costs in runs.items()]
        drawn.append(plots.Chart(one.axis.name, one.axis.unit, "wall seconds", seconds))
        drawn.append(plots.Chart(f"{one.axis.name}: memory", one.axis.unit, "MB of the largest process", memory))
    (folder / "curves.svg").write_text(plots.charts("What builds cost as they grow", drawn))
    figures = [
        {"axis": one.axis.name, "cold": _plain(one.cold), "warm": _plain(one.warm), "exponent": one.exponent}
        for one in found
    ]
    (folder / "curves.json").write_text(json.dumps({"machine": about, "axes": figures}, indent=1) + "\n")


def _plain(costs: dict[int, Measured]) -> dict[int, object]:
    return {size: asdict(cost) for size, cost in costs.items()}


def main() -> int:
    """Measure, print, write, and judge."""
    parser = Arguments(__doc__)
    parser.add_argument("--axes", default="", help="some of files, bytes, layers, stages and runs; default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="of the sizes")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--work", default="/var/tmp", help="where to work: on a disk, not in memory")
    options = parser.ready()
    if options.results is None and not options.axes and options.scale == 1:
        options.results = RESULTS
    found = []
    with bases.working(options.work) as work:
        for one in grown(options, work):
            found.append(one)
            print(table([one]).splitlines()[-1], flush=True)
    print("\n" + table(found))
    if options.results:
        write(found, options)
    return int(any(one.wrong for one in found))


if __name__ == "__main__":
    sys.exit(main())

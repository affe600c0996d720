#!/usr/bin/env python3
"""Every workload with pybuild and with every rival there is, side by side; the table is benchmarks/results/compare.md.

    python3 -m venv /tmp/wheel && /tmp/wheel/bin/pip install .
    .venv/bin/python benchmarks/compare.py --pybuild /tmp/wheel/bin/pybuild [--rows W2,W3-cold] [--scale 0.1]

Needs root, docker-registry, skopeo, busybox-static and mmdebstrap; buildah is found on PATH, other rivals are named:
--buildctl with --buildkitd, --kaniko, --newer-buildah. PYBUILD should be the command of an installed wheel, with
compiled bytecode (PYTHONDONTWRITEBYTECODE unset).

"cold" is a build of what nobody has seen, on a base that is in the store of each builder and was used there before,
and a push to a registry here that has the base. "warm" is the same build again into the local store. "push" is an
upload to a registry that has nothing. Builders take turns, and who begins takes turns too; what is still to be written
to the disk is written before each run. Before all, one round that counts for nothing pushes an image of each builder,
and these must hold the same files. What is measured is told in support/measuring.py.

Ends with status 1 if a row is over its goal: a fraction of buildah's time (--factor multiplies it), or --limit MB.
Results are written if all rows were measured at full size, or if --results names a directory.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.support import bases, machine, plots
from benchmarks.support.command import Arguments
from benchmarks.support.contents import contents
from benchmarks.support.measuring import Measured, done, measure, median, take_turns
from benchmarks.support.rivals import Buildah, Builder, Kaniko, Pybuild, buildkit
from benchmarks.support.workloads import ROWS, TITLES, WORKLOADS, Context, Row
from tests.support.registry import TestRegistry, serve

RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True)
class Result:
    """A row that was measured: the runs of each builder."""

    row: Row
    runs: dict[str, list[Measured]]

    @property
    def medians(self) -> dict[str, Measured]:
        return {name: median(runs) for name, runs in self.runs.items()}

    @property
    def fraction(self) -> float | None:
        """Our time as a fraction of buildah's; None without buildah."""
        if "buildah" not in self.runs:
            return None
        return self.medians["pybuild"].wall / self.medians["buildah"].wall

    def verdict(self, factor: float, limit: float) -> str:
        """Return what is wrong, if anything."""
        wrong = []
        if self.fraction is not None and self.fraction > self.row.goal * factor:
            wrong.append("too slow")
        if (peak := self.medians["pybuild"].peak) > limit:
            wrong.append(f"{peak:.0f} MB")
        return ", ".join(wrong)


class Yard:
    """One row: a directory, a registry, the builders with stores of their own, and the context."""

    def __init__(self, row: Row, work: Path, registry: TestRegistry, builders: Sequence[Builder], scale: float) -> None:
        self._row, self._work, self._registry, self._builders = row, work, registry, builders
        workload = WORKLOADS[row.workload]
        made: dict[str, Callable[[], Path]] = {
            "busybox": lambda: bases.busybox(work),
            "debian": bases.debian,
            "debian-with-tar": lambda: bases.debian_with_tar(work, scale),
        }
        self._base = registry.push(made[workload.base](), f"{workload.base}:1")
        self._context = Context(row.workload, work / "context", self._base, scale)

    def prepare(self) -> None:
        """Have every builder pull the base and push an image, and compare what they pushed."""
        seen = {}
        for builder in self._builders:
            builder.pull(self._base)
            self._context.fresh()
            done(builder.build(self._context, self._name(builder), push=True), builder.env)
            seen[builder.name] = contents(self._registry, self._repository(builder), "1")
        (first, ours), *others = seen.items()
        for name, theirs in others:
            if different := ours.differences(theirs):
                sys.exit(f"{self._row.title}: {first} made {ours}, {name} {theirs}; they differ in {different[:10]}")
        print(f"{self._row.title}: {ours}", flush=True)

    def measure(self, repeat: int) -> Result:
        """Measure the row."""
        runs: dict[str, Callable[[Builder], Measured]] = {"cold": self._cold, "warm": self._warm, "push": self._push}
        builders = self._builders
        if self._row.kind == "push":
            builders = [one for one in builders if one.push("x", "x") is not None]
        if self._row.kind == "warm":
            for builder in builders:
                done(builder.build(self._context, self._name(builder), push=False), builder.env)
        jobs = {builder.name: partial(runs[self._row.kind], builder) for builder in builders}
        return Result(self._row, take_turns(jobs, repeat))

    def _cold(self, builder: Builder) -> Measured:
        self._context.fresh()
        command = builder.build(self._context, self._name(builder), push=True)
        return measure(command, builder.env, builder.daemon)

    def _warm(self, builder: Builder) -> Measured:
        command = builder.build(self._context, self._name(builder), push=False)
        return measure(command, builder.env, builder.daemon)

    def _push(self, builder: Builder) -> Measured:
        self._context.fresh()
        done(builder.build(self._context, self._name(builder), push=False), builder.env)
        with _removed(self._work / "empty") as folder, serve(folder) as empty:
            command = builder.push(self._name(builder), f"{empty.host}/image:1")
            assert command is not None
            return measure(command, builder.env, builder.daemon)

    def _repository(self, builder: Builder) -> str:
        return f"{self._row.workload}-{builder.name}".lower().replace(" ", "-")

    def _name(self, builder: Builder) -> str:
        return f"{self._registry.host}/{self._repository(builder)}:1"


@contextmanager
def _removed(folder: Path) -> Iterator[Path]:
    try:
        yield folder
    finally:
        bases.remove(folder)


@contextmanager
def builders(options: argparse.Namespace, work: Path) -> Iterator[list[Builder]]:
    """Yield every builder that there is."""
    with ExitStack() as held:
        found: list[Builder] = [Pybuild(options.pybuild, work)]
        if options.buildah:
            found.append(Buildah(options.buildah, work))
        if options.newer_buildah:
            found.append(Buildah(options.newer_buildah, work, "newer buildah"))
        if options.buildctl and options.buildkitd:
            found.append(held.enter_context(buildkit(options.buildctl, options.buildkitd, work)))
        if options.kaniko:
            found.append(Kaniko(options.kaniko, work))
        yield found


def rows(options: argparse.Namespace, work: Path) -> Iterator[Result]:
    """Yield every row that was asked for; nothing is left of one when the next begins."""
    for row in chosen(options.rows):
        folder = work / row.title.replace(" ", "-")
        folder.mkdir()
        with _removed(folder), serve(folder / "registry") as registry, builders(options, folder) as there:
            yard = Yard(row, folder, registry, there, options.scale)
            yard.prepare()
            yield yard.measure(options.repeat)


def chosen(words: str) -> list[Row]:
    """Return the rows that are named like W2 or W2-cold; all if none is."""
    names = {word.strip() for word in words.split(",") if word.strip()}
    found = [row for row in ROWS if not names or {row.name, row.title.replace(" ", "-")} & names]
    known = {name for row in ROWS for name in (row.name, row.title.replace(" ", "-"))}
    if unknown := names - known:
        sys.exit(f"there are no rows {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    return found


def table(results: Sequence[Result], factor: float, limit: float) -> str:
    """Return the table in Markdown."""
    names = list(dict.fromkeys(name for result in results for name in result.runs))
    lines = [
        "| workload | " + " | ".join(names) + " | of buildah | goal | |",
        "|---" * (len(names) + 4) + "|",
    ]
    for result in results:
        medians = result.medians
        cells = [_cell(medians[name]) if name in medians else "-" for name in names]
        fraction = "-" if result.fraction is None else f"{result.fraction:.3f}"
        verdict = result.verdict(factor, limit) or "met"
        title = f"{result.row.title}: {TITLES[result.row.name]}"
        lines.append(f"| {title} | {' | '.join(cells)} | {fraction} | {result.row.goal:.2f} | {verdict} |")
    return "\n".join(lines) + "\n"


def _cell(found: Measured) -> str:
    return f"{found.wall:.2f} s ({found.processor:.2f} s, {found.peak:.0f} MB)"


def write(results: Sequence[Result], options: argparse.Namespace) -> None:
    """Write the table, the plot and all figures."""
    folder: Path = options.results
    folder.mkdir(parents=True, exist_ok=True)
    named = (options.buildah, options.newer_buildah, options.buildkitd)
    about = machine.describe([options.pybuild, *(one for one in named if one)])
    head = f"Written by benchmarks/compare.py: medians of {options.repeat} runs at scale {options.scale:g}. {about}."
    legend = (
        "Wall seconds (processor seconds, largest resident set of a process), and the fraction of buildah's wall time."
    )
    text = f"{head}\n\n{legend}\n\n{table(results, options.factor, options.limit)}\n![the same as bars](compare.svg)\n"
    (folder / "compare.md").write_text(text)
    groups = {result.row.title: {name: found.wall for name, found in result.medians.items()} for result in results}
    (folder / "compare.svg").write_text(plots.bars("Wall seconds, less is better", groups))
    figures = {"machine": about, "scale": options.scale, "rows": [asdict(result) for result in results]}
    (folder / "compare.json").write_text(json.dumps(figures, indent=1) + "\n")


def main() -> int:
    """Measure, print, write, and judge."""
    parser = Arguments(__doc__)
    parser.add_argument("--buildah", default=shutil.which("buildah"))
    for rival in ("--newer-buildah", "--buildctl", "--buildkitd", "--kaniko"):
        parser.add_argument(rival, metavar="PROGRAM")
    parser.add_argument("--rows", default="", help="for example W2,W3-cold; default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="of the sizes")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--factor", type=float, default=1.0)
    parser.add_argument("--limit", type=float, default=100.0, metavar="MB")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--work", default="/var/tmp", help="where to work: on a disk, not in memory")
    options = parser.ready()
    if options.results is None and not options.rows and options.scale == 1:
        options.results = RESULTS
    results = []
    with bases.working(options.work) as work:
        for result in rows(options, work):
            results.append(result)
            print(table([result], options.factor, options.limit).splitlines()[-1], flush=True)
    print("\n" + table(results, options.factor, options.limit))
    if options.results:
        write(results, options)
    return int(any(result.verdict(options.factor, options.limit) for result in results))


if __name__ == "__main__":
    sys.exit(main())

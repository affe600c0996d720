"""docs/sizing.md: what a build takes, with the figures that were measured last (benchmarks/results)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks/results"

HEAD = """\
<!-- Written by scripts/docs from scripts/pages/sizing.py and benchmarks/results: edit there. -->

# Sizing

What to give the machine, pod or runner that builds. The figures behind it, and how to measure your own: [benchmarks](benchmarks.md).

| | a build takes | and grows with |
|---|---|---|
| memory | {usual} MB of its own in one process, {many} MB with a context of {files} files; not more for large files or layers | what the steps themselves need, and the number of steps that run at once (`--jobs`) |
| processors | one is enough; two nearly halve the time of packing | steps that do not depend on each other, and large layers, which are compressed on all of them |
| disk | the store, and what the outputs are written to | see below |
| network | manifests, and the layers that RUN needs | with [shared results](caching.md), only what has changed |

## Measured

On {machine}, each build with a base that is in the store, and pushed to a registry on the same machine:

{table}

*Largest process* is what one process of pybuild's needs at most; a build with RUN has others beside it, and what the step starts. *Again* is the same build with nothing changed.

"""  # noqa: E501  rows of a table

TAIL = """\
## The store

For each project and variant in use:

- the layers it makes, compressed, and once more unpacked if a step with RUN lies above them: together about four times their compressed size;
- of a base without RUN on it, its table of contents: 1-3 % of its size;
- of a base with RUN on it, its layers compressed and unpacked: about four times its compressed size, once for all projects;
- cache mounts, whatever the tools put there.

A build trims the store after it ended: to 20 % of the file system, at most 50 GiB, unless [told otherwise](store.md#trimming). For a runner of ten projects on one base of 100 MB, with images that add 200 MB each, 10 GiB are plenty;
a store that is too small costs time, never a build. `pybuild cache du` shows what is there.

While a layer is being made it lies in the store as a temporary file, so leave room for the largest one twice. A build refuses what cannot fit before it fetches it.

## In pods

Request what a quiet build needs (one processor, 256 MiB), and limit memory to what the steps need on top: a compiler's share, not pybuild's. An `emptyDir` counts as the node's disk, or with `medium: Memory` as the pod's memory. Several builds at a time in
one store share what is equal; give each of them the memory of its own steps.

## Many jobs at once

Jobs that share a store wait for each other only where they make the same step: the first makes it, the others take it. Jobs that share a registry's cache never wait. A registry sees one question for each tag within an hour, and four transfers at a time from each build.
"""  # noqa: E501  lines of a page

WORKLOADS = {
    "W1": "ten instructions on Debian",
    "W2": "COPY of 20,000 files, 48 MB as a layer",
    "W3": "COPY of one file of 512 MiB",
    "W4": "RUN makes and deletes 7,000 files, COPY --from of 5,000",
    "W5": "twenty RUN on Debian",
    "W7": "RUN unpacks a root filesystem of 250 MB",
}


def page() -> str:
    """Return the whole page."""
    compared, curves = (json.loads((RESULTS / f"{name}.json").read_text()) for name in ("compare", "curves"))
    (files,) = [axis["cold"] for axis in curves["axes"] if axis["axis"] == "files"]
    most = max(files, key=int)
    usual = max(_figure(row, "peak") for row in compared["rows"])
    machine = compared["machine"].partition(", pybuild")[0]
    head = HEAD.format(
        usual=f"{usual:.0f}",
        many=f"{files[most]['peak']:.0f}",
        files=f"{int(most):,}",
        machine=machine,
        table="\n".join(_table(compared["rows"], files)),
    )
    return head + TAIL


def _figure(row: dict[str, Any], name: str) -> float:
    return float(median(run[name] for run in row["runs"]["pybuild"]))


def _table(rows: list[dict[str, Any]], files: dict[str, Any]) -> Iterator[str]:
    yield "| build | time | processor | largest process | again |"
    yield "|---|---|---|---|---|"
    found = {(row["row"]["workload"], row["row"]["kind"]): row for row in rows}
    for workload, what in WORKLOADS.items():
        cold, warm = found[workload, "cold"], found.get((workload, "warm"))
        again = f"{_figure(warm, 'wall'):.2f} s" if warm else ""
        figures = f"{_figure(cold, 'wall'):.1f} s | {_figure(cold, 'processor'):.1f} s | {_figure(cold, 'peak'):.0f} MB"
        yield f"| {what} | {figures} | {again} |"
    for count, one in sorted(files.items(), key=lambda pair: int(pair[0])):
        if int(count) > 20_000:
            wall, processor, peak = one["wall"], one["processor"], one["peak"]
            yield f"| COPY of {int(count):,} files | {wall:.1f} s | {processor:.1f} s | {peak:.0f} MB | |"

#!/usr/bin/env python3
"""How fast methods of compression are and how small, on texts, programs and a 2:1 mixture, on one thread and on two.

    .venv/bin/python benchmarks/compression.py [--mib N] [--repeat N] [--methods gzip-1,zlib-6] [--results DIR]

Needs nothing but this machine's /usr. Every method packs the same memory in chunks of 1 MiB, as layers are packed, to
nowhere: reading, hashing and the disk are not measured. Methods take turns; a figure is the best of --repeat turns,
because whatever else a machine does only adds to it. "cpu" is MB/s of processor time on one thread, "wall" MB/s on one
and on two; the size is in percent of the input. Ends with status 1 unless zlib's level 6 takes at least --factor times
the processor time of the usual gzip on all three together, which may be 12 % larger. A table is written to --results;
without it, and if everything was measured, to benchmarks/results/compression.md.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import random
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.support.machine import describe
from benchmarks.support.workloads import halves
from builder.rootfs.chunked import CHUNK, deflate_part, gzip_member, zstd_frame
from builder.rootfs.coding import USUAL

MIB = 1 << 20
RESULTS = Path(__file__).with_name("results")
THREADS = (1, 2)
USUAL_NAME, BASELINE = f"gzip-{USUAL.effort}", "zlib-6"
FACTOR, LARGER = 4.0, 1.12

Compress = Callable[[bytes], bytes]


@dataclass
class Figures:
    """One method on one corpus: size as a fraction, the least processor time, and the best seconds by threads."""

    ratio: float = 0.0
    processor: float = float("inf")
    seconds: dict[int, float] = field(default_factory=dict)


def _zlib(level: int, data: bytes) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def _isal(level: int, data: bytes) -> bytes:
    from isal import isal_zlib

    return isal_zlib.compress(data, level, 31)


def _gzip(level: int, data: bytes) -> bytes:
    return gzip_member(data, level)


def _single(level: int, data: bytes) -> bytes:
    zlib.crc32(data)
    return deflate_part(data, level)


def _zstd(level: int, data: bytes) -> bytes:
    return zstd_frame(data, level)


_LEVELS: tuple[tuple[str, Callable[[int, bytes], bytes], Iterable[int]], ...] = (
    ("zlib", _zlib, (1, 6, 9)),
    ("gzip", _gzip, (1, 2, 4, 6, 9)),
    ("single", _single, (1, 6)),
    ("isal", _isal, range(4)),
    ("zstd", _zstd, (1, 3, 9)),
)


def methods() -> dict[str, Compress]:
    """Return the methods by name: ``gzip`` is ours, which is libdeflate's, ``single`` ours with one member, zlib's."""
    return {f"{name}-{level}": functools.partial(pack, level) for name, pack, levels in _LEVELS for level in levels}


def corpora(size: int) -> dict[str, bytes]:
    """Return ``size`` bytes, or what there is, of each kind."""
    texts = (one for top in ("/usr/share", "/usr/lib/python3", "/usr/include") for one in _files(top, _TEXTS))
    programs = (one for top in ("/usr/lib", "/usr/bin") for one in _files(top, (), magic=b"\x7fELF"))
    return {
        "texts": _taken(texts, size),
        "programs": _taken(programs, size),
        "2:1": b"".join(halves(size, random.Random(0))),
    }


_TEXTS = (".py", ".txt", ".h", ".html", ".xml", ".pm", ".pl", ".sh", ".css", ".js", ".md", "copyright")


def _files(top: str, endings: tuple[str, ...], magic: bytes = b"") -> Iterator[bytes]:
    for folder, folders, names in os.walk(top):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if (endings and not name.endswith(endings)) or path.is_symlink() or not path.is_file():
                continue
            with open(path, "rb") as stream:
                if stream.read(len(magic)) == magic:
                    stream.seek(0)
                    yield stream.read(16 * MIB)


def _taken(files: Iterable[bytes], size: int) -> bytes:
    found = bytearray()
    for data in files:
        found += data
        if len(found) >= size:
            break
    return bytes(found[:size])


def measure(data: bytes, wanted: Mapping[str, Compress], repeat: int) -> dict[str, Figures]:
    """Let every method pack ``data``, in turns."""
    found = {name: Figures() for name in wanted}
    chunks = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]
    for _ in range(repeat):
        for (name, compress), threads in itertools.product(wanted.items(), THREADS):
            one = found[name]
            with ThreadPoolExecutor(threads) as pool:
                started, processor = time.perf_counter(), time.process_time()
                one.ratio = sum(map(len, pool.map(compress, chunks))) / len(data)
                seconds, processor = time.perf_counter() - started, time.process_time() - processor
            one.seconds[threads] = min(seconds, one.seconds.get(threads, seconds))
            if threads == 1:
                one.processor = min(one.processor, processor)
    return found


def table(found: dict[str, dict[str, Figures]], sizes: dict[str, int]) -> str:
    """Return the figures as Markdown: MB/s on each number of threads, and the size."""
    heads = [f"{name}: cpu | wall | size" for name in found]
    lines = ["| method | " + " | ".join(heads) + " |", "|---|" + "---|" * (3 * len(found))]
    for name in next(iter(found.values())):
        cells = []
        for corpus, figures in found.items():
            one = figures[name]
            cells.append(f"{sizes[corpus] / one.processor / 1e6:.0f}")
            cells.append(", ".join(f"{sizes[corpus] / one.seconds[threads] / 1e6:.0f}" for threads in THREADS))
            cells.append(f"{one.ratio * 100:.1f}")
        shown = f"**{name}**" if name == USUAL_NAME else name
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    return "\n".join(lines)


def verdict(found: dict[str, dict[str, Figures]], factor: float) -> tuple[bool, list[str]]:
    """Say whether the usual gzip is what it promises to be, and its figures beside the baseline's."""
    pairs = {name: (one[USUAL_NAME], one[BASELINE]) for name, one in found.items() if {USUAL_NAME, BASELINE} <= {*one}}
    if not pairs:
        return True, []
    lines = [
        f"{name}: {_compared(usual.processor / ours.processor, ours.ratio / usual.ratio)}; two threads are "
        f"{ours.seconds[1] / ours.seconds[2]:.1f} times as fast as one"
        for name, (ours, usual) in pairs.items()
    ]
    faster = sum(usual.processor for _, usual in pairs.values()) / sum(ours.processor for ours, _ in pairs.values())
    larger = sum(ours.ratio for ours, _ in pairs.values()) / sum(usual.ratio for _, usual in pairs.values())
    met = faster >= factor and larger <= LARGER
    goal = f"{factor:g} times and {(LARGER - 1) * 100:.0f} %: {'met' if met else 'missed'}"
    return met, [*lines, f"together: {_compared(faster, larger)}; goal {goal}"]


def _compared(faster: float, larger: float) -> str:
    return f"{USUAL_NAME} is {faster:.1f} times as fast as {BASELINE}, {(larger - 1) * 100:+.1f} % in size"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--methods", help="some of: " + ", ".join(methods()))
    parser.add_argument("--factor", type=float, default=FACTOR)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    wanted = {
        name: make for name, make in methods().items() if not options.methods or name in options.methods.split(",")
    }
    if options.results is None and not options.methods and options.mib >= 32:
        options.results = RESULTS
    data = corpora(options.mib * MIB)
    sizes = {name: len(one) for name, one in data.items()}
    found = {name: measure(one, wanted, options.repeat) for name, one in data.items()}
    met, lines = verdict(found, options.factor)
    page = f"{table(found, sizes)}\n\n" + "".join(f"- {line}\n" for line in lines)
    print(page)
    if options.results:
        amounts = ", ".join(f"{name} {size >> 20} MiB" for name, size in sizes.items())
        page = f"# Compression\n\n{describe()}\n\n{amounts}; the fastest of {options.repeat}.\n\n{page}"
        (options.results / "compression.md").write_text(page, encoding="utf-8")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())

"""Words about the machine that figures come from."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path

from benchmarks.support.measuring import done


def describe(programs: Iterable[str] = ()) -> str:
    """Return one line: processors, memory, kernel, Python, and the versions of ``programs``."""
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    versions = [done([program, "--version"]).strip().splitlines()[0] for program in programs]
    model = models[0] if models else platform.machine()
    parts = [f"{os.cpu_count()} x {model}", f"{memory:.0f} GB", f"Linux {platform.release()}", *versions]
    return ", ".join(parts)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()

"""Memory while a page is written: some bytes for each file, and nothing for their contents."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support import images
from tests.support.cli import CHECKOUT, environment
from tests.support.commands import run

PEAK = """
import sys
from builder.cli.main import main
assert main(["explore", sys.argv[1], "-o", sys.argv[2]]) == 0
with open("/proc/self/status") as status:  # not getrusage(): its peak is carried over from the process that started us
    print(next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM:")))
"""


def _peak(image: Path, root: Path) -> int:
    page = image.with_suffix(".html")
    done = run([sys.executable, "-c", PEAK, str(image), str(page)], env=environment(root), cwd=CHECKOUT)
    return int(done.stdout.splitlines()[-1])


def test_a_hundred_thousand_files_take_some_30_megabytes(tmp_path: Path, store_root: Path) -> None:
    names = [f"usr/share/{n % 83}/{n % 71}/file-number-{n}" for n in range(100_000)]
    images.write_layout(tmp_path / "one", [images.layer(images.file(names[0], "0"))])
    layers = [images.layer(*(images.file(name, name) for name in half)) for half in (names[::2], names[1::2])]
    images.write_layout(tmp_path / "many", layers)
    one, many = (_peak(tmp_path / name, store_root) for name in ("one", "many"))
    assert many - one < 40
    assert (tmp_path / "many.html").stat().st_size < 3 << 20


def test_a_large_file_takes_nothing(tmp_path: Path, store_root: Path) -> None:
    images.write_layout(tmp_path / "one", [images.layer(images.file("f", "0"))])
    images.write_layout(tmp_path / "large", [images.layer(images.file("f", bytes(200 << 20)))])
    one, large = (_peak(tmp_path / name, store_root) for name in ("one", "large"))
    assert large - one < 20

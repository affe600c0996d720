"""Memory does not grow with the size of a layer. Each case runs in a process of its own, which reports its peak."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
# Not getrusage(): its peak is carried over from the process that started us.
PEAK = """
import sys
def memory(kind):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith(kind))
def peak():
    return memory("VmHWM:")
"""
PACK = """
import io
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.pack import Item, index_layer, pack
SIZE = 1 << 28
class Zeros(io.RawIOBase):
    left = SIZE
    def readable(self): return True
    def readinto(self, buffer):
        size = min(len(buffer), self.left)
        buffer[:size] = bytes(size)
        self.left -= size
        return size
with open(sys.argv[1] + "/blob", "wb") as blob, open(sys.argv[1] + "/toc", "wb") as toc:
    pack([Item(Entry(path="f", kind=Kind.FILE, size=SIZE), Zeros)], blob, toc)
with open(sys.argv[1] + "/blob", "rb") as blob, open(sys.argv[1] + "/toc", "wb") as toc:
    index_layer(blob, toc)
print(peak())
"""
RECOMPRESS = """
from builder.rootfs.coding import Coding, Compression
from builder.rootfs.pack import recompress
for coding in (Coding(Compression.ZSTD), Coding(Compression.GZIP, 1), Coding(Compression.NONE)):
    with open(sys.argv[1] + "/blob", "rb") as blob, open("/dev/null", "wb") as target:
        assert recompress(blob, target, coding).uncompressed_size > 1 << 28
print(peak())
"""
MAKE = """
from builder.rootfs.entry import Entry, Kind
from builder.rootfs.pack import Item, pack
from builder.rootfs.coding import Coding, Compression
with open("/dev/null", "wb") as blob, open(sys.argv[1] + "/toc", "wb") as toc:
    names = (f"usr/lib/package-{i // 500}/module-with-a-long-name-{i}" for i in range(60000))
    pack((Item(Entry(path=n, kind=Kind.FILE)) for n in names), blob, toc, coding=Coding(Compression.NONE))
print(peak())
"""
OPEN = """
from pathlib import Path
from builder.rootfs.toc import Toc
from builder.rootfs.view import View
before = memory("RssAnon:")
view = View([Toc.open(Path(sys.argv[1] + "/toc"))] * 3)
assert view.lookup("usr/lib/package-60/module-with-a-long-name-30000")
print(memory("RssAnon:") - before)
"""


def run(code: str, directory: Path) -> int:
    command = [sys.executable, "-c", PEAK + code, str(directory)]
    return int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def test_packing_and_indexing_a_large_file(tmp_path: Path) -> None:
    assert run(PACK, tmp_path) < 60


def test_recompressing_a_large_layer(tmp_path: Path) -> None:
    run(PACK, tmp_path)
    assert run(RECOMPRESS, tmp_path) < 60


def test_a_large_table_is_not_loaded(tmp_path: Path) -> None:
    assert run(MAKE, tmp_path) < 60
    assert (tmp_path / "toc").stat().st_size > 6 << 20
    assert run(OPEN, tmp_path) < 4

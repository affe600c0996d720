"""The benchmark of compressions measures what layers go through, and judges the usual gzip. Nothing is timed here."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks import compression
from benchmarks.compression import Figures
from benchmarks.support.workloads import halves

WANTED = ("zlib-6", "gzip-1", "single-6", "isal-1", "zstd-3")


def test_every_method_packs_a_corpus() -> None:
    data = b"".join(halves(1 << 20, random.Random(1)))
    found = compression.measure(data, compression.methods(), repeat=1)
    assert {name for name, one in found.items() if not 0.4 < one.ratio < 0.7} == set()
    assert all(set(one.seconds) == {1, 2} and one.processor > 0 for one in found.values())
    assert set(WANTED) <= found.keys()
    text = compression.table({"x": found}, {"x": len(data)})
    assert text.count("\n") == len(found) + 1
    assert "| **gzip-1** |" in text


@pytest.mark.parametrize(("processor", "ratio", "met"), [(0.2, 0.55, True), (0.3, 0.5, False), (0.1, 0.6, False)])
def test_the_verdict(processor: float, ratio: float, met: bool) -> None:
    both = {
        "zlib-6": Figures(0.5, 1.0, {1: 1.0, 2: 0.5}),
        "gzip-1": Figures(ratio, processor, {1: processor, 2: processor}),
    }
    judged, lines = compression.verdict({"x": both, "y": both}, 4)
    assert judged is met
    assert len(lines) == 3
    assert lines[-1].endswith("met" if met else "missed")
    assert compression.verdict({"x": {"gzip-1": both["gzip-1"]}}, 4) == (True, [])


def test_corpora_are_found() -> None:
    found = compression.corpora(1 << 20)
    assert {name: len(data) for name, data in found.items()} == dict.fromkeys(("texts", "programs", "2:1"), 1 << 20)
    assert found["programs"].startswith(b"\x7fELF")


def test_results_go_where_they_are_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["x", "--mib=1", "--repeat=1", f"--methods={','.join(WANTED)}", "--factor=0", f"--results={tmp_path}"]
    monkeypatch.setattr("sys.argv", words)
    assert compression.main() in (0, 1)
    assert capsys.readouterr().out.strip() in (tmp_path / "compression.md").read_text()

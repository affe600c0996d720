from __future__ import annotations

from xml.etree import ElementTree

from benchmarks.support import plots

SVG = "{http://www.w3.org/2000/svg}"


def test_bars_are_as_long_as_they_say() -> None:
    drawn = ElementTree.fromstring(plots.bars("a < b", {"W1": {"ours": 0.1, "theirs": 1.0}, "W2": {"ours": 10.0}}))
    widths = [float(one.get("width", "0")) for one in drawn.iter(f"{SVG}rect") if one.get("height") == "14"]
    assert len(widths) == 3
    assert widths[0] == 1  # the axis begins there
    assert abs(widths[2] - 2 * widths[1]) < 1  # decades are of one length
    words = [one.text for one in drawn.iter(f"{SVG}text")]
    assert {"a < b", "W1", "W2", "ours", "theirs", "0.10"} <= set(words)


def test_charts_have_every_point() -> None:
    curve = plots.Curve("cold", [(1, 0.2), (10, 0.3), (100, 1.5)])
    chart = plots.Chart("files", "files", "seconds", [curve, plots.Curve("warm", [(1, 0.1), (100, 0.1)])])
    drawn = ElementTree.fromstring(plots.charts("growth", [chart, chart, chart]))
    assert len(list(drawn.iter(f"{SVG}circle"))) == 3 * 5
    assert len(list(drawn.iter(f"{SVG}polyline"))) == 3 * 2

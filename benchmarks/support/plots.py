"""Plots as SVG, written by hand: bars and curves on logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_COLOURS = ("#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626")
_TEXT = 'font-family="sans-serif" font-size="12" fill="#222"'


@dataclass(frozen=True)
class Curve:
    """A line of a chart: its points, and what it is called."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """Curves over the same axis."""

    title: str
    horizontal: str
    vertical: str
    curves: Sequence[Curve]


class Axis:
    """A logarithmic axis: values to positions."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        """Cover ``values``, all above 0, with whole powers of ten."""
        self._low = math.floor(math.log10(min(values)))
        self._high = max(math.ceil(math.log10(max(values))), self._low + 1)
        self._begin, self._end = begin, end

    def at(self, value: float) -> float:
        """Return the position of ``value``."""
        part = (math.log10(value) - self._low) / (self._high - self._low)
        return round(self._begin + part * (self._end - self._begin), 1)

    def ticks(self) -> list[float]:
        """Return the powers of ten."""
        return [10.0**power for power in range(self._low, self._high + 1)]


def bars(title: str, groups: Mapping[str, Mapping[str, float]]) -> str:
    """Return horizontal bars in seconds: a group a row, a colour a name."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    tall, width, left = 16, 860, 110
    height = 60 + sum(tall * len(group) + 14 for group in groups.values()) + 30
    axis = Axis([value for group in groups.values() for value in group.values()], left, width - 70)
    parts = [_text(left, 20, title, "bold"), *_legend(names, left, 42)]
    for tick in axis.ticks():
        parts += [
            _line(axis.at(tick), 52, axis.at(tick), height - 30),
            _text(axis.at(tick) - 8, height - 12, f"{tick:g} s"),
        ]
    top = 60
    for row, group in groups.items():
        parts.append(_text(10, top + tall * len(group) / 2 + 4, row))
        for name, value in group.items():
            long = max(axis.at(value) - left, 1)
            colour = _COLOURS[names.index(name) % len(_COLOURS)]
            parts.append(f'<rect x="{left}" y="{top}" width="{long:.1f}" height="{tall - 2}" fill="{colour}"/>')
            parts.append(_text(left + long + 4, top + 11, f"{value:.2f}"))
            top += tall
        top += 14
    return _svg(width, height, parts)


def charts(title: str, found: Sequence[Chart], columns: int = 2) -> str:
    """Return charts in a grid; both axes of each are logarithmic."""
    wide, tall = 430, 280
    height = 40 + tall * -(-len(found) // columns)
    parts = [_text(20, 24, title, "bold")]
    for number, chart in enumerate(found):
        x, y = number % columns * wide, 40 + number // columns * tall
        parts += [f'<g transform="translate({x},{y})">', *_chart(chart, wide, tall), "</g>"]
    return _svg(wide * columns, height, parts)


def _chart(chart: Chart, wide: int, tall: int) -> Iterator[str]:
    points = [point for curve in chart.curves for point in curve.points]
    across = Axis([x for x, _ in points], 60, wide - 20)
    up = Axis([y for _, y in points], tall - 50, 50)
    yield _text(60, 14, chart.title, "bold")
    yield from _legend([curve.name for curve in chart.curves], 60, 34)
    for tick in across.ticks():
        yield _line(across.at(tick), 50, across.at(tick), tall - 50)
        yield _text(across.at(tick) - 10, tall - 34, f"{tick:g}")
    for tick in up.ticks():
        yield _line(60, up.at(tick), wide - 20, up.at(tick))
        yield _text(10, up.at(tick) + 4, f"{tick:g}")
    yield _text(60, tall - 16, f"{chart.horizontal}; up: {chart.vertical}")
    for number, curve in enumerate(chart.curves):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [(across.at(x), up.at(y)) for x, y in curve.points]
        line = " ".join(f"{x},{y}" for x, y in places)
        yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for x, y in places:
            yield f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>'


def _legend(names: Sequence[str], x: float, y: float) -> Iterator[str]:
    for number, name in enumerate(names):
        yield f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{_COLOURS[number % len(_COLOURS)]}"/>'
        yield _text(x + 16, y, name)
        x += 40 + 7 * len(name)


def _text(x: float, y: float, words: str, weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {_TEXT} font-weight="{weight}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#ddd"/>'


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    return "\n".join([head, f'<rect width="{width}" height="{height}" fill="white"/>', *parts, "</svg>", ""])

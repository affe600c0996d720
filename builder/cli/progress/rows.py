"""The signs of a live view, and rows with something at their right end. Without rich, which may measure."""

from __future__ import annotations

from collections.abc import Callable

from builder.cli.progress.state import Line
from builder.values import dataclass


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The signs of a view."""

    done: str
    cached: str
    failed: str
    running: str
    bar: tuple[str, str]
    dots: str
    between: str
    ascii_only: bool = False

    def of(self, line: Line) -> str:
        """Return the sign a line begins with, nothing for text that stands for itself."""
        signs = {"done": self.done, "cached": self.cached, "failed": self.failed, "wrote": self.running}
        return signs.get(line.mark, "")

    def shown(self, text: str) -> str:
        """Return text as the terminal can show it."""
        text = text.expandtabs(4)
        return text.encode("ascii", "replace").decode() if self.ascii_only else text

    def cut(self, text: str, width: int, measure: Measure) -> str:
        """Return text that is no wider than ``width``."""
        if measure(text) <= width:
            return text
        room = max(0, width - len(self.dots))
        kept = text[:room]
        while measure(kept) > room:
            kept = kept[:-1]
        return kept + self.dots[:width]


Measure = Callable[[str], int]
"""Says how many columns text takes."""

UNICODE = Glyphs("✓", "○", "✗", "▸", ("█", "░"), "…", " · ")
ASCII = Glyphs("+", "=", "x", ">", ("#", "-"), "...", ", ", ascii_only=True)

_NARROW = 8
"""Columns of a text that are worth showing what is at the right end too."""


@dataclass(frozen=True, slots=True)
class Row:
    """The parts of a row, from the left to the right."""

    sign: str
    text: str
    more: str
    gap: str
    right: str

    def __str__(self) -> str:
        return f"{self.sign}{self.text}{self.more}{self.gap}{self.right}"


def row(glyphs: Glyphs, sign: str, line: Line, width: int, measure: Measure = len) -> Row:
    """Return a row of exactly ``width``; ``line.right`` stays when the text is too long; ``more`` goes first."""
    sign, text, more = f"{sign} ", glyphs.shown(line.text), glyphs.shown(line.more)
    room = width - measure(sign) - measure(line.right) - 2
    if room < _NARROW:
        return Row(glyphs.cut(f"{sign}{text}", width, measure), "", "", "", "")
    text = glyphs.cut(text, room, measure)
    more = f"  {more}" if more and measure(text) + 2 + measure(more) <= room else ""
    gap = " " * max(1, width - measure(sign) - measure(text) - measure(more) - measure(line.right))
    return Row(sign, text, more, gap, line.right)

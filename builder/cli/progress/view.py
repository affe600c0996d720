"""A live view's lines for a terminal of a given size. Loads rich; nothing here writes."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text

from builder.cli.human import human_size
from builder.cli.progress.rows import Glyphs, row
from builder.cli.progress.state import Line, Mark, Moving, State, Step

_TAIL = 8
"""Lines of one step's output that are shown while it runs."""

_BAR = 20
_WIDE = 60
"""Columns from which on there is room for bars."""


_STYLES: dict[Mark, str] = {
    "done": "green",
    "cached": "blue",
    "failed": "bold red",
    "wrote": "bold",
    "note": "",
    "warning": "yellow",
    "output": "",
}


class View:
    """Draws in a set of signs."""

    def __init__(self, glyphs: Glyphs) -> None:
        self._glyphs = glyphs

    def line(self, line: Line, width: int) -> Text:
        """Return a line that stays. What a failed step wrote, and messages, are as long as they are."""
        sign = self._glyphs.of(line)
        if not sign:
            return Text(self._glyphs.shown(line.text), _STYLES[line.mark])
        return self._row(sign, line, width, _STYLES[line.mark])

    def frame(self, state: State, width: int, height: int, now: float) -> list[Text]:
        """Return what is going on, at most ``height`` lines, each narrower than ``width``."""
        foot = self._foot(state, width, now)
        moving = [(name, one) for name, one in state.moving.items() if not one.complete]
        bytes_ = [self._moving(name, one, width, now) for name, one in moving]
        works = [self._work(name, started, width, now) for name, started in state.works.items()]
        rows = max(0, height - 1 - min(len(bytes_), max(0, height - 2)))
        works = works[: max(0, rows - min(len(state.steps), 1))] if state.steps else works[:rows]
        steps = self._steps(list(state.steps.values()), width, rows - len(works), now)
        return [*steps, *works, *bytes_[: max(0, height - 1 - len(steps) - len(works))], foot][:height]

    def _steps(self, steps: list[Step], width: int, rows: int, now: float) -> list[Text]:
        if rows <= 0 or not steps:
            return []
        if len(steps) > rows:
            shown = [self._step(one, width, now) for one in steps[: rows - 1]]
            return [*shown, self._cut(f"  and {len(steps) - len(shown)} more", width, "dim")]
        spare, lines = rows - len(steps), []
        for number, one in enumerate(steps):
            share = min(_TAIL, spare // (len(steps) - number))
            tail = one.tail(share)
            spare -= len(tail)
            lines += [self._step(one, width, now), *(self._cut(f"    {text}", width, "dim") for text in tail)]
        return lines

    def _step(self, step: Step, width: int, now: float) -> Text:
        return self._running(step.name, now - step.started, width)

    def _running(self, name: str, seconds: float, width: int) -> Text:
        return self._row(self._glyphs.running, Line("note", name, f"{seconds:.1f}s"), width, "cyan")

    def _work(self, name: str, started: float, width: int, now: float) -> Text:
        return self._running(name, now - started, width)

    def _moving(self, name: str, moving: Moving, width: int, now: float) -> Text:
        current, total, rate = moving.bytes, moving.total, moving.rate(now)
        head = f"  {name} {moving.ended}/{len(moving.totals)}"
        parts = [f"{human_size(current)}/{human_size(total)}" if total else human_size(current)]
        if rate:
            parts.append(f"{human_size(int(rate))}/s")
            if total > current:
                left = (total - current) / rate
                parts.append(f"ETA {duration(left) if left >= 60 else f'{left:.0f}s'}")
        bar = ""
        if total and width >= _WIDE:
            full = _BAR * current // total
            bar = f" {self._glyphs.bar[0] * full}{self._glyphs.bar[1] * (_BAR - full)}"
        return self._cut(f"{head}{bar} {'  '.join(parts)}", width, "")

    def _foot(self, state: State, width: int, now: float) -> Text:
        parts = [duration(now - state.started)]
        if state.total:
            cached = f" ({state.cached} cached)" if state.cached else ""
            parts.append(f"{state.done}/{state.total} steps{cached}")
        if len(state.stages) > 1:
            parts += [
                f"{stage} {state.stages_done.get(stage, 0)}/{all_}" for stage, all_ in state.stages.items() if stage
            ]
        if state.stopping:
            parts = ["stopping; Ctrl-C again ends it now"]
        return self._cut(self._glyphs.between.join(parts), width, "bold")

    def _row(self, sign: str, line: Line, width: int, style: str) -> Text:
        made = row(self._glyphs, sign, line, width, cell_len)
        loud = style if style.startswith("bold") else ""
        shown = Text().append(made.sign, style).append(made.text, loud).append(made.more, "dim").append(made.gap)
        return shown.append(made.right, loud or "dim")

    def _cut(self, text: str, width: int, style: str) -> Text:
        return Text(self._glyphs.cut(self._glyphs.shown(text), width, cell_len), style)


def duration(seconds: float) -> str:
    """Return a time as people read it: ``7.3s``, ``2m05s``, ``1h02m``."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02}m"

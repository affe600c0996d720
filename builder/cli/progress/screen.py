"""The end of a terminal that is drawn again and again: lines that stay above, a block that changes below. Loads rich.

Nothing of the terminal's state is changed but for the time of one write, so that nothing has to be restored, however
the process ends. The cursor rests below the block, where an echoed ^C does no harm.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from typing import TextIO

from rich.console import Console
from rich.text import Text

from builder.cli.reporters import print_text

_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
"""Terminals that know this show a write as a whole."""

_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"
"""Between a terminal's becoming narrower and our knowing it, lines of the block must not take two."""

_CLEAR_LINE, _CLEAR = "\x1b[K", "\x1b[J"
"""The rest of a line, and all below. The second one is not used at the top: some keep what it clears as history."""

_USUAL_SIZE = (80, 24)


class Screen:
    """Draws on a stream that is a terminal."""

    def __init__(self, stream: TextIO, environment: Mapping[str, str]) -> None:
        self._stream = stream
        self._buffer = io.StringIO()
        self._console = Console(
            file=self._buffer,
            force_terminal=True,
            no_color=bool(environment.get("NO_COLOR")),
            highlight=False,
            markup=False,
            emoji=False,
            width=10_000,
            _environ=dict(environment),
        )
        self._widths: list[int] = []
        """Cells of the lines of the block that is there."""

    def size(self) -> tuple[int, int]:
        """Return columns and lines, as they are now."""
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return _USUAL_SIZE
        return size.columns or _USUAL_SIZE[0], size.lines or _USUAL_SIZE[1]

    def foreground(self) -> bool:
        """Say whether this terminal is ours to draw on: a job in the background leaves it alone."""
        try:
            return os.tcgetpgrp(self._stream.fileno()) == os.getpgrp()
        except OSError:
            return True  # no terminal that controls us

    def draw(self, above: Sequence[Text], block: Sequence[Text]) -> bool:
        """Draw, and say whether the terminal is still there."""
        columns, _ = self.size()
        text = [_BEGIN, self._back(columns)]
        for line in above:
            # Behind a full row the cursor still stands on its last character, which some terminals would clear.
            full = line.cell_len > 0 and line.cell_len % columns == 0
            text += (self._rendered(line), "" if full else _CLEAR_LINE, "\n")
        text.append(_NO_WRAP)
        for line in block:
            text += (self._rendered(line), _CLEAR_LINE, "\n")
        text += (_WRAP, _CLEAR, _END)
        self._widths = [line.cell_len for line in block]
        return not print_text(self._stream, "".join(text))

    def forget(self) -> None:
        """Take the block that is there for something that stays."""
        self._widths = []

    def _back(self, columns: int) -> str:
        """Return what goes to where the block begins. A terminal that has become narrower has broken its lines."""
        rows = sum(max(1, -(-width // max(1, columns))) for width in self._widths)
        up = f"\x1b[{rows}A" if rows else ""
        return f"\r{up}"

    def _rendered(self, line: Text) -> str:
        self._buffer.seek(0)
        self._buffer.truncate()
        self._console.print(line, end="", soft_wrap=True)
        return self._buffer.getvalue()

"""Physical lines to logical lines: comments, continuations, and the bodies of heredocs (dockerfile.md 1.1, 1.10).

Scanned by hand because neither is context-free. A logical line remembers where each of its pieces came from, so that
an error can point at the physical place.
"""

from __future__ import annotations

import re
from bisect import bisect_right

from builder.dockerfile.source import DockerfileError, Source, Span
from builder.dockerfile.text import SPACE
from builder.values import dataclass, field

_LONGEST_LINE = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LogicalLine:
    """One instruction's text. ``pieces`` maps offsets in ``text`` to (offset, line, column) of the source."""

    source: Source
    text: str
    pieces: tuple[tuple[int, int, int], ...]
    end_line: int
    comments: tuple[str, ...] = ()
    blank_lines: tuple[int, ...] = ()

    @property
    def start_line(self) -> int:
        """The line where the instruction begins."""
        return self.pieces[0][1]

    def place(self, offset: int) -> tuple[int, int]:
        """Return the line and column of a character of ``text``."""
        index = bisect_right(self.pieces, (offset, 1 << 60, 0)) - 1
        start, line, column = self.pieces[max(index, 0)]
        return line, column + offset - start

    def span(self, start: int, end: int) -> Span:
        """Return the region of the source that ``text[start:end]`` came from."""
        line, column = self.place(start)
        last, stop = self.place(max(start, end - 1))
        return Span(line, last, column, stop + 1)

    def error(self, message: str, start: int = 0, end: int | None = None, hint: str | None = None) -> DockerfileError:
        """Return an error that points at ``text[start:end]``, by default at the whole instruction."""
        stop = len(self.text) if end is None else end
        return DockerfileError(message, source=self.source, span=self.span(start, stop), hint=hint)


@dataclass(slots=True)
class LineReader:
    """A cursor over the physical lines of a source; the only mutable state of the parser."""

    source: Source
    escape: str
    position: int = 0  # index of the next physical line
    _comments: list[str] = field(default_factory=list)
    _endings: tuple[str, ...] = ()  # each line with what its line ending begins with, once a heredoc asks for it
    _continued: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        token = re.escape(self.escape)
        # Two escape characters at the end of a line are not a continuation.
        self._continued = re.compile(rf"(?:(?<!{token})){token}[ \t]*\Z")

    def next_line(self) -> LogicalLine | None:
        """Return the next logical line that is not empty, or None at the end."""
        lines = self.source.lines
        while self.position < len(lines):
            number = self.position + 1
            physical = self._take()
            text = physical.lstrip(SPACE)
            if text.startswith("#"):
                self._remember(text)
                continue
            text, continued = self._strip_continuation(text)
            if not text and not continued:
                continue
            column = len(physical) - len(physical.lstrip(SPACE)) + 1
            return self._join(text, number, column, continued)
        return None

    def _join(self, text: str, number: int, column: int, continued: bool) -> LogicalLine | None:
        parts, pieces, length = [text], [(0, number, column)], len(text)
        blank: list[int] = []
        while continued and self.position < len(self.source.lines):
            physical = self._take()
            bare = physical.lstrip(SPACE)
            if bare.startswith("#"):
                continue
            if not bare:
                blank.append(self.position)
                continue
            # Leading blanks stay: nothing is inserted between the lines.
            piece, continued = self._strip_continuation(physical)
            pieces.append((length, self.position, 1))
            parts.append(piece)
            length += len(piece)
        comments, self._comments = tuple(self._comments), []
        joined = "".join(parts)
        if not joined.strip(SPACE):
            return self.next_line()
        return LogicalLine(self.source, joined, tuple(pieces), self.position, comments, tuple(blank))

    def read_heredoc(self, name: str, chomp: bool, line: LogicalLine, start: int, end: int) -> str:
        """Return the lines up to the one that is ``name``, with their line endings.

        ``line.text[start:end]`` announced it.
        """
        if not self._endings:
            text = self.source.text
            self._endings = tuple(text.split("\n")) if "\r" in text else self.source.lines
        body: list[str] = []
        while self.position < len(self.source.lines):
            physical = self._take()
            if (physical.lstrip("\t") if chomp else physical) == name:
                return "".join(body)
            body.append(self._endings[self.position - 1] + "\n")
        hint = f"add a line that is exactly {name!r} after the body"
        raise line.error("unterminated heredoc", start, end, hint)

    def _take(self) -> str:
        line = self.source.lines[self.position]
        self.position += 1
        if len(line) > _LONGEST_LINE:
            span = Span(self.position, self.position)
            raise DockerfileError("line longer than 16 MiB", source=Source(self.source.name, ""), span=span)
        return line

    def _remember(self, comment: str) -> None:
        text = comment[1:].strip(SPACE)
        if text:
            self._comments.append(text)
        else:
            self._comments.clear()

    def _strip_continuation(self, line: str) -> tuple[str, bool]:
        match = self._continued.search(line)
        return (line[: match.start()], True) if match else (line, False)

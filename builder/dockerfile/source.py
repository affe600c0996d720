"""Where text came from: sources, spans, and the error that shows them (dockerfile.md 1.1).

Lines and columns are 1-based and count characters, as editors do. This module does not read files and does not know
what an instruction is.
"""

from __future__ import annotations

from typing import ClassVar

from builder.errors import BuilderError
from builder.patterns import pattern
from builder.values import dataclass, field

_EXCERPT_LINES = 6
_EXCERPT_WIDTH = 160
_LONGEST_MESSAGE = 1000
_BEFORE_WORDS = " \t\"'=[,"
_AFTER_WORDS = " \t\"'],"
_CREDENTIALS = pattern(r"(?<=[A-Za-z0-9+.-]://)[^/?#\s]*(?=@)")


@dataclass(frozen=True, slots=True)
class Span:
    """A region of a source; ``end_col`` is one past the last character of ``end_line``, 0 when unknown."""

    start_line: int
    end_line: int
    start_col: int = 1
    end_col: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """A named text split into physical lines, each without its line ending (``\\n``, or ``\\r\\n``)."""

    name: str
    text: str
    lines: tuple[str, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        # str.splitlines() also splits on \v, \f, \x85 and U+2028, which are data here.
        lines = self.text.split("\n")
        if lines and not lines[-1]:
            lines.pop()
        object.__setattr__(self, "lines", tuple(line.rstrip("\r") for line in lines))

    def excerpt(self, span: Span) -> str:
        """Return the numbered lines of ``span`` with a caret under its first character; of long lines only a part.

        Users and passwords in URLs are not shown: excerpts get into logs.
        """
        last = min(span.end_line, span.start_line + _EXCERPT_LINES - 1, len(self.lines))
        width = len(str(last))
        shown: list[str] = []
        for number in range(span.start_line, last + 1):
            line = _CREDENTIALS.sub(lambda found: "*" * len(found[0]), self.lines[number - 1])
            marked = number == span.start_line
            skipped = max(0, span.start_col - _EXCERPT_WIDTH // 2) if marked and len(line) > _EXCERPT_WIDTH else 0
            part = line[skipped : skipped + _EXCERPT_WIDTH]
            shown.append(f"{number:>{width}} | {_visible(part)}")
            if marked:
                shown.append(f"{'':>{width}} | {_caret(part, span, skipped)}")
        if span.end_line > last >= span.start_line:
            shown.append(f"{'':>{width}} | ...")
        return "\n".join(shown)

    def find(self, text: str, span: Span) -> Span:
        """Return where ``text`` stands in ``span``, preferably as a word, and ``span`` itself if that is not sure.

        A word of a long instruction is what a reader looks for. Comments between continued lines are not looked at.
        """
        places: list[tuple[int, int]] = []
        for number in range(span.start_line, min(span.end_line, len(self.lines)) + 1):
            line, first = self.lines[number - 1], number == span.start_line
            column = span.start_col - 1 if first else 0
            if text and (first or not line.lstrip().startswith("#")):
                while (column := line.find(text, column) + 1) > 0:
                    places.append((number, column))
        words = [place for place in places if self._is_word(*place, len(text))]
        if len(places) != 1 and not words:
            return span
        number, column = words[0] if words else places[0]
        return Span(number, number, column, column + len(text))

    def _is_word(self, number: int, column: int, length: int) -> bool:
        line = f" {self.lines[number - 1]} "
        return line[column - 1] in _BEFORE_WORDS and line[column + length] in _AFTER_WORDS


def _visible(line: str) -> str:
    """Keep a line one line, and harmless to a terminal."""
    return "".join(ch if ch == "\t" or ch.isprintable() else "\ufffd" for ch in line)


def _caret(line: str, span: Span, skipped: int) -> str:
    """Return the carets below the part of a line that begins ``skipped`` characters into it."""
    start = min(span.start_col - 1 - skipped, len(line))
    lead = "".join("\t" if ch == "\t" else " " for ch in line[:start])
    stop = span.end_col - 1 - skipped if span.end_col and span.end_line == span.start_line else start + 1
    return lead + "^" * max(1, min(stop, len(line)) - start)


class DockerfileError(BuilderError):
    """The Dockerfile is wrong: where, what, and what to do about it.

    ``message`` is the bare sentence, without control characters; ``str()`` adds the place, the excerpt and the hint.
    """

    exit_code: ClassVar[int] = 65

    def __init__(
        self, message: str, *, source: Source | None = None, span: Span | None = None, hint: str | None = None
    ) -> None:
        super().__init__(_visible(message[:_LONGEST_MESSAGE]), hint=hint)
        self.source_name = source.name if source else ""
        self.span = span
        self.excerpt = source.excerpt(span) if source and span else ""

    def located(self, source: Source, span: Span) -> DockerfileError:
        """Return the same error with a place, unless it has one already."""
        if self.span is not None:
            return self
        return DockerfileError(self.message, source=source, span=span, hint=self.hint)

    def __str__(self) -> str:
        place = ""
        if self.span is not None:
            place = f"{self.source_name or 'Dockerfile'}:{self.span.start_line}:{self.span.start_col}: "
        tail = [self.excerpt] if self.excerpt else []
        if self.hint:
            tail.append(f"hint: {self.hint}")
        return "\n".join([place + self.message, *tail])


def locate(error: BuilderError, source: Source, span: Span) -> None:
    """Give an error without a place that of the instruction that met it."""
    if not error.place and not isinstance(error, DockerfileError):
        error.place = f"{source.name}:{span.start_line}:{span.start_col}"
        error.excerpt = source.excerpt(span)

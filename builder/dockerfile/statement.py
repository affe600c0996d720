"""One instruction before it has a type: keyword, flags, arguments, heredocs (dockerfile.md 1.1).

Also the readers that many instructions share: flags, JSON lists, and errors that point at the right characters.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import Enum
from typing import Final

from builder.dockerfile.heredoc import Opener
from builder.dockerfile.instructions import Written
from builder.dockerfile.lines import LogicalLine
from builder.dockerfile.source import DockerfileError, Span
from builder.dockerfile.suggest import did_you_mean
from builder.dockerfile.text import BLANKS, SPACE
from builder.dockerfile.word import Word
from builder.dockerfile.wordparser import parse_word
from builder.patterns import pattern
from builder.values import dataclass, field

_SURROGATES: Final = pattern("[\ud800-\udfff]")
_ESCAPED_SURROGATE: Final = pattern(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Flag:
    """One ``--name[=value]`` with its quotes removed, and where it stood."""

    text: str
    start: int
    end: int

    @property
    def name(self) -> str:
        """What stands between the dashes and ``=``."""
        return self.text[2:].partition("=")[0]

    @property
    def value(self) -> str | None:
        """What follows ``=``, None without one."""
        _, equals, value = self.text.partition("=")
        return value if equals else None


class FlagKind(Enum):
    """How a flag takes values."""

    TEXT = "text"
    LIST = "list"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class Statement:
    """An instruction's pieces; offsets count in ``line.text``, and ``offset`` is the keyword's."""

    line: LogicalLine
    keyword: str
    flags: tuple[Flag, ...]
    args: str
    args_offset: int
    escape: str
    heredocs: tuple[tuple[Opener, str], ...] = ()
    end_line: int = 0
    offset: int = 0
    used: dict[str, list[Flag]] = field(default_factory=dict, compare=False)

    @property
    def command(self) -> str:
        """The keyword in upper case; other letters than ASCII's are never part of one."""
        return self.keyword.upper() if self.keyword.isascii() else self.keyword

    @property
    def span(self) -> Span:
        """The whole instruction, heredoc bodies included."""
        text = self.line.text
        start = len(text) - len(text.lstrip(SPACE))
        span = self.line.span(start, max(len(text.rstrip(SPACE)), start + 1))
        if self.end_line <= span.end_line:
            return span
        return Span(span.start_line, self.end_line, span.start_col)

    @property
    def raw(self) -> str:
        """The instruction on one line."""
        return self.line.text.strip(SPACE)

    @property
    def written(self) -> Written:
        """How it was written."""
        return Written(self.keyword, self.line.comments, self.line.blank_lines)

    def error(
        self, message: str, start: int | None = None, end: int | None = None, *, hint: str | None = None
    ) -> DockerfileError:
        """Return an error at ``line.text[start:end]``, by default at the whole instruction."""
        if start is None:
            return DockerfileError(message, source=self.line.source, span=self.span, hint=hint)
        return self.line.error(message, start, end, hint)

    def args_error(self, message: str, *, hint: str | None = None) -> DockerfileError:
        """Return an error that points at the arguments."""
        if not self.args:
            return self.error(message, hint=hint)
        return self.error(message, self.args_offset, self.args_offset + len(self.args), hint=hint)

    def word(self, text: str) -> Word:
        """Parse a word with this file's escape character."""
        return parse_word(text, escape=self.escape)

    def accept_flags(self, **kinds: FlagKind) -> None:
        """Check the flags against what the instruction knows; names use ``_`` for ``-``."""
        known = {name.replace("_", "-"): kind for name, kind in kinds.items()}
        for flag in self.flags:
            kind = known.get(flag.name)
            if kind is None:
                hint = did_you_mean(flag.name, known)
                raise self.error(f"unknown flag: --{flag.name}{hint}", flag.start, flag.end)
            if flag.name in self.used and kind is not FlagKind.LIST:
                raise self.error(f"duplicate flag specified: --{flag.name}", flag.start, flag.end)
            missing = flag.value == "" if kind is FlagKind.BOOLEAN else flag.value is None
            if missing:
                raise self.error(f"missing a value on flag: --{flag.name}", flag.start, flag.end)
            if kind is FlagKind.BOOLEAN and (flag.value or "true").lower() not in ("true", "false"):
                message = f"expecting boolean value for flag --{flag.name}, not: {flag.value}"
                raise self.error(message, flag.start, flag.end)
            self.used.setdefault(flag.name, []).append(flag)

    def text_flag(self, name: str) -> str | None:
        """Return the value of a text flag; empty counts as not given."""
        flags = self.used.get(name)
        return (flags[0].value or None) if flags else None

    def word_flag(self, name: str) -> Word | None:
        """Return the value of a text flag as a word."""
        value = self.text_flag(name)
        return None if value is None else self.word(value)

    def boolean_flag(self, name: str) -> bool | None:
        """Return the value of a boolean flag, None when it was not given."""
        flags = self.used.get(name)
        return None if not flags else (flags[0].value or "true").lower() == "true"


def split_statement(line: LogicalLine, offset: int, escape: str) -> Statement:
    """Split ``line.text[offset:]`` into keyword, flags and arguments."""
    text = line.text
    start = offset + len(text[offset:]) - len(text[offset:].lstrip(SPACE))
    stop = len(text.rstrip(SPACE))
    gap = BLANKS.search(text, start, stop)
    if gap is None:
        return Statement(line, text[start:stop], (), "", stop, escape, offset=start)
    flags, rest = _read_flags(text, gap.end(), stop, escape)
    rest = min(rest + len(text[rest:stop]) - len(text[rest:stop].lstrip(SPACE)), stop)
    return Statement(line, text[start : gap.start()], tuple(flags), text[rest:stop], rest, escape, offset=start)


def _read_flags(text: str, position: int, stop: int, escape: str) -> tuple[list[Flag], int]:
    flags: list[Flag] = []
    while position < stop:
        if text[position] in SPACE:
            position += 1
            continue
        if not text.startswith("--", position, stop):
            break
        flag, position = _read_flag(text, position, stop, escape)
        if flag.text == "--":
            break
        flags.append(flag)
    return flags, position


def _read_flag(text: str, start: int, stop: int, escape: str) -> tuple[Flag, int]:
    word: list[str] = []
    quote = ""
    position = start
    while position < stop:
        ch = text[position]
        if ch in SPACE and not quote:
            break
        position += 1
        if ch == escape:
            word.append(text[position : min(position + 1, stop)])
            position += 1
        elif ch == quote:
            quote = ""
        elif not quote and ch in "'\"":
            quote = ch
        else:
            word.append(ch)
    position = min(position, stop)
    return Flag("".join(word), start, position), position


def read_json_list(statement: Statement, text: str) -> tuple[str, ...] | None:
    """Return the strings if ``text`` is a JSON list, None if it is anything else, which means shell form.

    A list with an element that is not a string is an error.
    """
    candidate = text.lstrip(SPACE)
    if not candidate.startswith("["):
        return None
    try:
        value = json.loads(candidate, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(item, str) for item in value):
        message = "when using JSON array syntax, arrays must be comprised of strings only"
        raise statement.args_error(message)
    if _ESCAPED_SURROGATE.search(candidate):
        return tuple(_SURROGATES.sub("\ufffd", item) for item in value)
    return tuple(value)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def plural(names: Iterable[str]) -> str:
    """Join names for a message: ``a, b or c``."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last

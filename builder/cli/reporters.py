"""What is said on a stream: text that cannot control who reads it, and which reporter shows events.

A stream that nobody can write to any more (its reader is gone, its disk full) is given up; the build goes on. How
events look is the business of ``builder.cli.progress``, whose modules are loaded when they are needed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from builder.errors import UsageError
from builder.events import Failed, Notice, Reporter, Warned

if TYPE_CHECKING:
    from builder.cli.progress.plain import PlainReporter

PROGRESS = ("auto", "tty", "plain", "json", "quiet")

VARIABLE = "PYBUILD_PROGRESS"
_OTHERS_VARIABLE = "BUILDKIT_PROGRESS"
_OTHERS_WORDS = {"rawjson": "json"}

_USUAL_COLUMNS = 80

_MARKS = ("##[", "##v", "##V", "##t", "##T")
"""How commands to services that read logs begin, anywhere in a line."""


def printable(text: str) -> str:
    """Return ``text`` without what would control a terminal, or a service that reads the log."""
    if not text.isprintable():
        text = "".join(char if char == "\t" or char.isprintable() else _shown(char) for char in text)
    if "##" in text:
        for mark in _MARKS:
            text = text.replace(mark, f"# #{mark[2:]}")
    return text


def _shown(char: str) -> str:
    """Return what stands for a character that is not printed: a space for any other kind of space, as of ``tree``."""
    return " " if char.isspace() and char > "\x9f" and char not in "\u2028\u2029" else "\ufffd"


def print_line(stream: TextIO, line: str) -> str:
    """Print a line at once and return why that failed, nothing if it worked; then the stream leads nowhere."""
    return _at_once(stream, lambda: stream.write(line + "\n"))


def print_bytes(stream: TextIO, data: bytes) -> str:
    """Print bytes as they are; see ``print_line``."""
    return _at_once(stream, lambda: stream.buffer.write(data))


def print_text(stream: TextIO, text: str) -> str:
    """Print text as it is; see ``print_line``."""
    return _at_once(stream, lambda: stream.write(text))


def _at_once(stream: TextIO, write: Callable[[], object]) -> str:
    try:
        stream.flush()
        write()
        stream.flush()
    except OSError as error:
        # Flushing again at exit must not complain, nor change the exit status.
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        return error.strerror or str(error)
    return ""


def columns_of(terminal: TextIO) -> int:
    """Return how wide a terminal is; one that does not say, as of a program that plays one, is as wide as most."""
    try:
        return os.get_terminal_size(terminal.fileno()).columns or _USUAL_COLUMNS
    except (OSError, ValueError):
        return _USUAL_COLUMNS


def message_lines(event: Notice | Warned | Failed) -> list[str]:
    """Return what is said to people, as lines; file names and registries' answers in it are strangers' text."""
    match event:
        case Notice(message):
            return [_whole_line(message)]
        case Warned(message, _):
            return [f"warning: {printable(message)}"]
        case Failed(message, hint, _, code):
            lines = f"pybuild: error: {message}".split("\n")
            tail = [f"hint: {hint}"] if hint else []
            return [_whole_line(line) for line in (*lines, *tail, *([f"help: pybuild help {code}"] if code else []))]


def _whole_line(text: str) -> str:
    """Return a line that nothing of ours begins: services take one that begins with two colons for a command."""
    text = printable(text)
    return f"| {text}" if text.lstrip().startswith("::") else text


INTERRUPTED = b"pybuild: interrupted\n"
"""The last word of a process that is asked twice to stop."""


class Display(Reporter, Protocol):
    """A reporter with an end."""

    def keep_logs(self, folder: Path) -> None:
        """Put what steps write there, where it is too much to be shown."""
        ...

    def close(self) -> None:
        """Show nothing more of the past; what comes now is printed as lines."""
        ...

    def abandon(self) -> bytes:
        """Leave the stream to others at once, without waiting for any lock, and return the last word: all ends."""
        ...


def chosen_progress(given: str, environment: Mapping[str, str]) -> str:
    """Return what ``--progress`` and the environment ask for. Raises UsageError."""
    if given:
        return given
    said = environment.get(VARIABLE, "")
    if said and said not in PROGRESS:
        raise UsageError(f"{VARIABLE} is {said[:40]!r}", hint=f"one of {', '.join(PROGRESS)}")
    if not said:
        others = environment.get(_OTHERS_VARIABLE, "")
        said = _OTHERS_WORDS.get(others, others)
    return said if said in PROGRESS else "auto"


def make_reporter(progress: str, stream: TextIO) -> Reporter:
    """Return what shows the events of a command that moves nothing about: lines."""
    return _lines(progress, stream)


def _lines(progress: str, stream: TextIO, *, groups: str = "") -> Display:
    if progress == "json":
        from builder.cli.progress.jsonlines import JsonReporter

        return JsonReporter(stream)
    if progress == "quiet":
        from builder.cli.progress.quiet import QuietReporter

        return QuietReporter(stream)
    return _plain(stream, groups)


def _plain(stream: TextIO, groups: str) -> PlainReporter:
    from builder.cli.progress.plain import PlainReporter

    if not groups:
        return PlainReporter(stream)
    from builder.cli.progress.groups import Groups

    return PlainReporter(stream, Groups(groups))


@contextlib.contextmanager
def showing(progress: str, stream: TextIO, environment: Mapping[str, str]) -> Iterator[Display]:
    """Yield what shows the events of a command that takes its time, and end it."""
    display = _display(progress, stream, environment)
    try:
        yield display
    finally:
        display.close()


def _display(progress: str, stream: TextIO, environment: Mapping[str, str]) -> Display:
    groups = _service(environment)
    live = progress == "tty" or (progress == "auto" and not groups)
    if live and stream.isatty() and environment.get("TERM", "dumb") != "dumb":
        from builder.cli.progress.live import LiveReporter

        return LiveReporter(stream, environment)
    return _lines(progress, stream, groups=groups)


def _service(environment: Mapping[str, str]) -> str:
    """Return the service whose log this is, if it folds groups of lines."""
    if environment.get("GITHUB_ACTIONS") == "true":
        return "github"
    return "gitlab" if environment.get("GITLAB_CI") else ""

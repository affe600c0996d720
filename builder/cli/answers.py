"""What commands answer on standard output: a line, a JSON document, a table."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from builder.cli.reporters import print_bytes, print_line, printable
from builder.errors import OutputError

if TYPE_CHECKING:
    from builder.image.reference import Reference


def answer(text: str) -> None:
    """Print a result, without the end of its last line. Raises OutputError when it cannot be written."""
    if reason := print_line(sys.stdout, _tamed(text) if sys.stdout.isatty() else text):
        lost = f"what was to be printed is {text}" if len(text) < 200 and "\n" not in text else None
        raise OutputError(f"cannot write to standard output: {reason}", hint=lost)


def answer_bytes(data: bytes) -> None:
    """Print bytes as they are, nothing added, but not what would control a terminal to one.

    Raises OutputError when they cannot be written.
    """
    if sys.stdout.isatty():
        data = _tamed(data.decode(errors="replace")).encode()
    if reason := print_bytes(sys.stdout, data):
        raise OutputError(f"cannot write to standard output: {reason}")


def _tamed(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))


def answer_json(value: object) -> None:
    """Print a result for programs, indented. Raises OutputError."""
    answer(json.dumps(value, indent=2))


def answer_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in aligned columns under ``header``; nothing is cut off. Raises OutputError."""
    answer(table(header, rows))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows in aligned columns under ``header``; strangers' text cannot control the terminal."""
    cells = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["   ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in cells]
    return "\n".join(line.rstrip() for line in lines)


def named(reference: Reference | None, digest: str) -> str:
    """Return ``NAME:TAG@DIGEST``, the line that says which image it is, or the digest of one without a name."""
    if reference is None:
        return digest
    return f"{reference.familiar.partition('@')[0]}@{digest}"

"""``--format``: the part of Go's text/template that people use with Docker, over plain JSON values.

``render`` prints one value, ``listing`` rows, as ``docker inspect --format`` and ``docker images --format`` do. Left
out are ``define``, ``template``, ``block`` and methods of values. What is printed, and how deep and how long a template
may be, is bounded. Wrong templates raise TemplateError with the line and the column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from builder.cli.template.evaluate import execute
from builder.cli.template.parse import parse
from builder.cli.template.tables import aligned, header_of
from builder.cli.template.tree import TemplateError
from builder.cli.template.values import NilList, NilMap, Record

__all__ = ["NilList", "NilMap", "Record", "TemplateError", "listing", "render"]

_JSON = "{{json .}}"
_ESCAPES = (("\\t", "\t"), ("\\n", "\n"))
_TABLE = "table"


def render(template: str, value: object) -> str:
    """Return ``template`` filled in from ``value``; the word ``json`` means all of it. Raises TemplateError."""
    return execute(parse(_JSON if template == "json" else template), value)


def listing(template: str, rows: Sequence[Mapping[str, object]], headers: Mapping[str, str]) -> str:
    """Return a line for each row, or a table with ``headers`` above when the template starts with ``table``.

    ``headers`` has the title of every field there is. ``\\t`` and ``\\n`` stand for the characters, as in Docker's
    listings. Raises TemplateError.
    """
    word, _, rest = template.strip().partition(" ")
    is_table = word == _TABLE
    text = rest.strip() if is_table else _JSON if template == "json" else template
    if is_table and not text:
        text = "\t".join(f"{{{{.{name}}}}}" for name in headers)
    for written, meant in _ESCAPES:
        text = text.replace(written, meant)
    tree = parse(text)
    lines = [execute(tree, Record(row)) for row in rows]
    return aligned([execute(header_of(tree), Record(headers)), *lines]) if is_table else "\n".join(lines)

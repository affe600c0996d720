"""docs/errors.md: the catalogue of errors, from the data in builder/catalog and the examples in testdata/errors."""

from __future__ import annotations

import re
from pathlib import Path

from builder.catalog.kinds import Kind, kinds

HEAD = """\
<!-- Written by scripts/docs from builder/catalog: edit there. -->

# Errors

Every failure ends with what was wrong, often with a hint, and with its code. `pybuild help CODE` prints what is here;
`--progress json` has the code in the event `Failed`, `--metadata-file` in the field `code`, and an exception of the
Python API in its attribute `code`. A code is never given
to another kind of failure, and its first two digits are the exit status:

| codes | exit status | |
|---|---|---|
{rows}

Words like `<path>` stand for what differs from case to case. A code that ends in 00 says that the catalogue has no
entry for the message, which is an omission of ours: please report it.

"""


EXAMPLES = Path(__file__).resolve().parents[2] / "testdata" / "errors"

GROUPS = {
    "10": ("A step failed", "the command's own"),
    "13": ("Interrupted", "130"),
    "64": ("The command line and the settings", "64"),
    "65": ("The Dockerfile", "65"),
    "66": ("The build context and other sources", "66"),
    "67": ("Images, archives and layers", "67"),
    "69": ("Registries", "69"),
    "70": ("Bugs of ours", "70"),
    "71": ("What a RUN runs in", "71"),
    "73": ("Outputs and the store", "73"),
    "75": ("What may work later", "75"),
    "77": ("Accounts", "77"),
}


def section(kind: Kind) -> str:
    """Return the part of the page about one kind."""
    parts = [f"### {kind.code}", f"**{kind.title}.** {_linked(kind.cause)}", _linked(kind.way_out)]
    example = EXAMPLES / f"{kind.code}.txt"
    if example.exists():
        parts.append("```text\n" + example.read_text(encoding="utf-8").rstrip() + "\n```")
    parts.append("Its messages:")
    parts.append("```text\n" + "\n".join(kind.messages()) + "\n```")
    return "\n\n".join(parts) + "\n"


def _linked(text: str) -> str:
    """Return text in which pages, which a terminal can only name, are links."""
    return re.sub(r"\bdocs/([\w-]+\.md)(#[\w-]+)?", r"[\1](\1\2)", text)


def page() -> str:
    """Return the whole page."""
    rows = [
        f"| PB{number}.. | {status} | [{title}](#{title.lower().replace(',', '').replace(' ', '-')}) |"
        for number, (title, status) in GROUPS.items()
    ]
    parts = [HEAD.replace("{rows}", "\n".join(rows))]
    everything = sorted(kinds(), key=lambda one: one.code)
    for number, (title, _) in GROUPS.items():
        parts += [f"## {title}\n", *(section(kind) for kind in everything if kind.code[2:4] == number)]
    return "\n".join(parts)

"""docs/kaniko.md: the table of every flag, in a page that is written by hand otherwise."""

from __future__ import annotations

import re
from pathlib import Path

from builder.cli.kaniko.flags import GROUPS, OLD, Flag

_PAGE = Path(__file__).resolve().parents[2] / "docs/kaniko.md"
_TABLE = re.compile(r"\| kaniko \| here \|\n(?:\|.*\n)+")


def page() -> str:
    """Return the page."""
    lines = ["| kaniko | here |", "|---|---|"]
    for name, group in GROUPS.items():
        lines += [f"| **{name}** | |"]
        lines += [f"| {_spelling(flag)} | {_told(flag)} |".replace("||", "|") for flag in group]
    return _TABLE.sub(lambda _: "\n".join(lines) + "\n", _PAGE.read_text(encoding="utf-8"), count=1)


def _spelling(flag: Flag) -> str:
    old = [one for one, new in OLD.items() if new == flag.name]
    words = [f"`--{flag.name}`", *([f"`-{flag.short}`"] if flag.short else []), *(f"`--{one}`" for one in old)]
    return ", ".join(words)


def _told(flag: Flag) -> str:
    text = flag.here.replace("|", "\\|")
    match flag.fate:
        case "ignored":
            what = "" if flag.speaking else "`=false` is "
            return f"{what}left out, with a notice: {text}"
        case "refused":
            return f"an error: {text}"
        case "always":
            return f"nothing to do: {text}"
        case _:
            return text

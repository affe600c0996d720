"""Which characters a standard stream carries, and that the others raise nothing.

A file and a pipe get the characters of the locale, and UTF-8 where it is C, which says nothing about characters; a
terminal in the C locale gets ASCII. What a stream cannot carry is a question mark there.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TextIO


def settle_characters(stream: TextIO, environment: Mapping[str, str]) -> None:
    """Let a standard stream carry what its reader can show, and replace the rest, wherever it comes from."""
    if not isinstance(stream, io.TextIOWrapper):
        return
    claimed = stream.encoding.lower().replace("-", "") == "utf8"
    deaf = claimed and stream.isatty() and not speaks_utf8(stream, environment)
    stream.reconfigure(encoding="ascii" if deaf else None, errors="replace")


def speaks_utf8(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Say whether a terminal shows UTF-8.

    Python takes the C locale for UTF-8, and sets LC_CTYPE to say so to others: that is nobody's word.
    """
    if (stream.encoding or "").lower().replace("-", "") != "utf8":
        return False
    said = [environment.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG")]
    if said[1] == "C.UTF-8" and not said[0]:
        said[1] = ""
    effective = next(filter(None, said), "")
    return effective.lower().replace("-", "").endswith("utf8")

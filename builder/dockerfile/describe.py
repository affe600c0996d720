"""Descriptions: what a comment above a stage or an ARG says about it (dockerfile.md 1.1)."""

from __future__ import annotations

from collections.abc import Iterable

from builder.dockerfile.text import SPACE


def description(comments: Iterable[str], name: str) -> str:
    """Return the text of the first comment that begins with ``name`` and a blank, without both; or nothing."""
    for comment in comments:
        head, blank, rest = comment.partition(" ")
        if blank and head == name:
            return rest.strip(SPACE)
    return ""

"""Names of files and directories inside the values of keys: made relative to a file's directory, or looked at."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Literal

from builder.context.source import is_remote

Use = Literal["read", "write"]
Change = Callable[[str, Use], str]
"""Gets a path and what is done with it; returns it, or another."""

_WHOLE: dict[str, Use] = {
    "dockerfile": "read",
    "authfile": "read",
    "iidfile": "write",
    "digest-file": "write",
    "metadata-file": "write",
    "timings": "write",
}
_ATTRIBUTES: dict[str, dict[str, Use]] = {
    "outputs": {"dest": "write"},
    "secrets": {"src": "read", "source": "read"},
    "cache-from": {"src": "read"},
    "cache-to": {"dest": "write"},
}
_SCHEMES = ("oci-layout://", "docker-archive:")


def map_paths(key: str, text: str, change: Change) -> str:
    """Return a value of a key with ``change`` made to every path in it."""
    if key in _WHOLE:
        return text if text == "-" else change(text, _WHOLE[key])
    if key == "context":
        return _location(text, change)
    if key == "contexts":
        name, equals, where = text.partition("=")
        return f"{name}{equals}{_location(where, change)}" if where else text
    if key == "ssh":
        name, equals, files = text.partition("=")
        return f"{name}{equals}{','.join(change(one, 'read') for one in files.split(','))}" if files else text
    if key in _ATTRIBUTES:
        return _attributes(key, text, change)
    return text


def is_path(where: str) -> bool:
    """Say whether a context is a directory, and no URL, image or standard input."""
    return where != "-" and not where.startswith(("docker-image://", *_SCHEMES)) and not is_remote(where)


def joined(words: Iterable[str]) -> str:
    """Return attributes ``NAME=VALUE`` as one text of ``--output``: what holds commas or quotes is quoted."""
    return ",".join('"' + one.replace('"', '""') + '"' if any(bad in one for bad in ',"\n') else one for one in words)


def _location(where: str, change: Change) -> str:
    scheme = next((one for one in _SCHEMES if where.startswith(one)), "")
    if not scheme and not is_path(where):
        return where
    return scheme + change(where.removeprefix(scheme), "read")


def _attributes(key: str, text: str, change: Change) -> str:
    if "=" not in text:
        # Without attributes an output is a directory; the others are no paths then.
        return change(text, "write") if key == "outputs" and text != "-" else text
    changed = []
    for word in divided(key, text):
        name, _, value = word.partition("=")
        use = _ATTRIBUTES[key].get(name.strip())
        changed.append(f"{name}={change(value, use)}" if use and value not in ("", "-") else word)
    return joined(changed) if key == "outputs" else ",".join(changed)


def divided(key: str, text: str) -> list[str]:
    """Return the attributes of a text, as the option of the key divides them."""
    if key != "outputs":
        return text.split(",")
    import csv

    try:
        return next(csv.reader([text], strict=True), [])
    except csv.Error:
        return text.split(",")


def beside(folder: str) -> Change:
    """Return the change that makes paths relative to ``folder``; a folder that is the current one changes nothing."""
    if os.path.realpath(folder) == os.path.realpath("."):
        return lambda path, _: path
    return lambda path, _: os.path.join(folder, path)

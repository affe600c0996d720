"""Annotations as people write them: ``--annotation TYPE[PLATFORM]:K=V``, ``--output annotation-TYPE[PLATFORM].K=V``.

The words are those of buildx and BuildKit (cli-and-outputs.md 3.1).
"""

from __future__ import annotations

import re

from builder.errors import UsageError
from builder.image.annotations import TARGETS, Annotation
from builder.image.platform import Platform
from builder.patterns import pattern

_TYPE = pattern(r"([a-z-]*)(?:\[([A-Za-z0-9_./-]+)\])?", re.ASCII)
_ATTRIBUTE = pattern(r"annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_./-]+)\])?\.(.+)", re.ASCII | re.DOTALL)


def parse_annotation(text: str) -> list[Annotation]:
    """Return what one ``--annotation`` asks for: one for every type it names, without one for the manifest.

    Raises UsageError.
    """
    where = f"--annotation {text}"
    name, equals, value = text.partition("=")
    types, colon, key = name.partition(":")
    if not colon:
        types, key = "", name
    if not equals or not key:
        raise UsageError(
            f"{where}: expected NAME=VALUE", hint="with what it is for: index,manifest[linux/arm64]:NAME=VALUE"
        )
    found = []
    for one in types.split(","):
        match = _TYPE.fullmatch(one)
        if match is None:
            raise UsageError(f"{where}: {one!r} is no type with a platform in brackets", hint=_hint())
        found.append(_annotation(where, match[1], match[2], key, value))
    return found


def attribute(text: str, name: str, value: str) -> Annotation | None:
    """Return the annotation that an attribute of the output ``text`` is, None for another. Raises UsageError."""
    match = _ATTRIBUTE.fullmatch(name)
    if match is None:
        return None
    return _annotation(f"--output {text}", match[1], match[2], match[3], value)


def _annotation(where: str, target: str | None, platform: str | None, key: str, value: str) -> Annotation:
    from builder.dockerfile.suggest import did_you_mean

    target = target or "manifest"
    if target not in TARGETS:
        raise UsageError(f"{where}: unknown annotation type {target!r}{did_you_mean(target, TARGETS)}", hint=_hint())
    if platform and target.startswith("index"):
        raise UsageError(f"{where}: an index is for all platforms", hint=f"drop [{platform}]")
    return Annotation(key, value, target, Platform.parse(platform) if platform else None)


def _hint() -> str:
    return f"one of {', '.join(TARGETS)}"

"""``--cache-from`` and ``--cache-to``: which caches a build reads, and which it writes. Two options, because who may
write a cache decides what images are made of, and who may read it does not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from builder.engine.request import CachePlace, CacheTarget
from builder.errors import UsageError
from builder.image.reference import Reference

_KINDS = ("registry", "local", "inline")
_ELSEWHERE = ("gha", "s3", "azblob")
_TRUE, _FALSE = ("true", "1"), ("", "false", "0")
_IGNORED = {"oci-mediatypes": _TRUE, "image-manifest": _TRUE}
"""What BuildKit's users write to get what is always so here."""


def sources(texts: Sequence[str]) -> tuple[CachePlace, ...]:
    """Return what ``--cache-from`` means; a reference alone is a registry's. Raises UsageError."""
    found = []
    for text in texts:
        option = f"--cache-from {text}"
        fields = _fields(option, text if "=" in text else f"type=registry,ref={text}")
        kind = fields.pop("type", "registry")
        place = _place(option, kind, fields, "src")
        _end(option, fields, ("type", "ref", "src"))
        found.append(place)
    return tuple(dict.fromkeys(found))


def targets(texts: Sequence[str]) -> tuple[CacheTarget, ...]:
    """Return what ``--cache-to`` means. Raises UsageError."""
    found = []
    for text in texts:
        option = f"--cache-to {text}"
        alone = "type=inline" if text == "inline" else f"type=registry,ref={text}"
        fields = _fields(option, text if "=" in text else alone)
        kind = fields.pop("type", "registry")
        place = CachePlace(kind="inline") if kind == "inline" else _place(option, kind, fields, "dest")
        mode = fields.pop("mode", "min")
        if mode not in ("min", "max") or (kind == "inline" and mode == "max"):
            hint = "an image only says what it is made of itself" if kind == "inline" else None
            raise UsageError(f"{option}: mode is min or max, not {mode!r} here", hint=hint)
        ignore = fields.pop("ignore-error", "")
        if ignore not in (*_TRUE, *_FALSE):
            raise UsageError(f"{option}: ignore-error is true or false")
        _end(option, fields, ("type", "ref", "dest", "mode", "ignore-error"))
        found.append(CacheTarget(place=place, everything=mode == "max", ignore_error=ignore in _TRUE))
    if len({one.place.name for one in found}) < len(found):
        raise UsageError("--cache-to names one cache twice")
    return tuple(found)


def _fields(option: str, text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in text.split(","):
        name, equals, value = word.partition("=")
        name = name.strip()
        if not equals or not name or name in found:
            raise UsageError(f"{option}: expected type=TYPE,NAME=VALUE,...")
        if name in _IGNORED and value in _IGNORED[name]:
            continue
        found[name] = value
    return found


def _place(option: str, kind: str, fields: dict[str, str], directory: str) -> CachePlace:
    if kind not in _KINDS:
        hint = "use type=registry or type=local" if kind in _ELSEWHERE else f"one of {', '.join(_KINDS)}"
        raise UsageError(f"{option}: unknown type {kind!r}", hint=hint)
    if kind == "local":
        path = fields.pop(directory, "")
        if not path:
            raise UsageError(f"{option}: type=local needs {directory}=DIR")
        return CachePlace(kind="local", path=Path(os.path.abspath(path)))
    text = fields.pop("ref", "")
    if not text:
        raise UsageError(f"{option}: type={kind} needs ref={'IMAGE' if kind == 'inline' else 'REPOSITORY[:PREFIX]'}")
    if kind == "inline":
        reference = Reference.parse(text)
        return CachePlace(kind="inline", reference=reference, prefix=reference.tag or "latest")
    from builder.engine.places import registry_place

    return registry_place(text)


def _end(option: str, fields: dict[str, str], known: Sequence[str]) -> None:
    from builder.dockerfile.suggest import did_you_mean

    for name in fields:
        raise UsageError(f"{option}: {name} means nothing here{did_you_mean(name, known)}")

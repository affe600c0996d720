"""Parser directives at the top of a file, and which frontend it asks for (dockerfile.md 1.2)."""

from __future__ import annotations

import re
from typing import Final

from builder.dockerfile.instructions import Directive
from builder.dockerfile.source import DockerfileError, Source, Span
from builder.dockerfile.text import SPACE
from builder.patterns import pattern
from builder.values import dataclass

_DIRECTIVE: Final = pattern(r"#[\t\n\f\r ]*([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*(.+?)[\t\n\f\r ]*\Z")
_KNOWN: Final = ("syntax", "escape", "check")
_BUILT_IN: Final = pattern(r"(?:docker\.io/)?docker/dockerfile(?:-upstream)?(?:[:@].*)?\Z", re.DOTALL)
_SLASHES: Final = pattern(r"//[ \t]*syntax[ \t]*=[ \t]*(\S+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What ``# check=`` asks for; ``all`` stands for every rule."""

    skip: tuple[str, ...] = ()
    error: bool = False
    experimental: tuple[str, ...] = ()


def read_directives(source: Source) -> tuple[Directive, ...]:
    """Return the directives at the top; the first line that is not one ends the search."""
    return _read(source, 0)


def _read(source: Source, first: int) -> tuple[Directive, ...]:
    found: list[Directive] = []
    for index in range(first, len(source.lines)):
        line = source.lines[index]
        match = _DIRECTIVE.match(line.lstrip(SPACE))
        name = match[1].lower() if match else ""
        if match is None or name not in _KNOWN:
            break
        span = Span(index + 1, index + 1, 1, len(line) + 1)
        if any(item.name == name for item in found):
            raise DockerfileError(f"only one {name} parser directive can be used", source=source, span=span)
        if name == "escape" and match[2] not in ("`", "\\"):
            message = f"invalid escape token '{match[2]}' does not match ` or \\"
            raise DockerfileError(message, source=source, span=span)
        found.append(Directive(name, match[2], span))
    return tuple(found)


def requested_frontend(source: Source) -> str | None:
    """Return the frontend image that the text names with ``# syntax=``, ``//syntax=`` or JSON, if any.

    Unlike the other directives it may follow one shebang line.
    """
    first = 1 if source.lines and source.lines[0].startswith("#!") else 0
    try:
        value = next((item.value for item in _read(source, first) if item.name == "syntax"), None)
    except DockerfileError:
        return None  # the parser reports it
    if value is None and first < len(source.lines):
        slashes = _SLASHES.match(source.lines[first]) if source.lines[first].startswith("//") else None
        value = slashes[1] if slashes else _json_frontend(source.text)
    return value.split(" ", 1)[0] if value else None


def _json_frontend(text: str) -> str | None:
    if not text.lstrip(SPACE).startswith("{"):
        return None
    import json

    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    value = document.get("syntax") if isinstance(document, dict) else None
    return value if isinstance(value, str) else None


def require_built_in_frontend(source: Source, override: str | None = None) -> None:
    """Raise DockerfileError when the file needs a frontend we do not have.

    ``override`` is the build argument ``BUILDKIT_SYNTAX``; ``dockerfile.v0`` means the built-in one.
    """
    wanted = override or requested_frontend(source)
    if wanted is None or wanted == "dockerfile.v0" or _BUILT_IN.match(wanted):
        return
    span = None if override else Span(1, 1)
    raise DockerfileError(
        f"the frontend {wanted!r} is not supported; only docker/dockerfile is built in",
        source=source,
        span=span,
        hint="remove the syntax directive, or pass --build-arg BUILDKIT_SYNTAX=dockerfile.v0 to ignore it",
    )


def parse_check(value: str) -> CheckOptions:
    """Read the value of ``# check=``: up to three of skip, error and experimental; ValueError says what is wrong."""
    options: dict[str, str] = {}
    for part in value.split(";"):
        key, equals, setting = part.strip(SPACE).partition("=")
        key = key.strip(SPACE).lower()
        if not equals or key not in ("skip", "error", "experimental"):
            raise ValueError(f"invalid check option {part.strip(SPACE)!r}: expected skip=, error= or experimental=")
        if key in options:
            raise ValueError(f"check option {key!r} is given twice")
        options[key] = setting.strip(SPACE)
    error = options.get("error", "false").lower()
    if error not in ("1", "t", "true", "0", "f", "false"):
        raise ValueError(f"check option error must be true or false, not {options['error']!r}")
    return CheckOptions(
        _rule_names(options.get("skip", "")), error in ("1", "t", "true"), _rule_names(options.get("experimental", ""))
    )


def _rule_names(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip(SPACE)))

"""What a registry asks for when it answers 401: WWW-Authenticate headers (RFC 9110 11.6.1). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from builder.patterns import pattern
from builder.values import dataclass, field

_NAME = pattern(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_QUOTED = pattern(r'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in that a WWW-Authenticate header offers; ``scheme`` and parameter names are in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict, hash=False)


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Read WWW-Authenticate headers; what cannot be understood is left out."""
    return tuple(challenge for header in headers for challenge in _challenges(header))


def _challenges(text: str) -> Iterator[Challenge]:
    scheme, parameters, position = "", {}, 0
    while position < len(text):
        if text[position] in " \t,":
            position += 1
            continue
        name = _NAME.match(text, position)
        if name is None:
            break
        position = name.end()
        rest = text[position:].lstrip(" \t")
        if rest.startswith("=") and scheme:
            position = len(text) - len(rest) + 1
            value, position = _value(text, position)
            parameters[name[0].lower()] = value
            continue
        if scheme:
            yield Challenge(scheme, parameters)
        scheme, parameters = name[0].lower(), {}
    if scheme:
        yield Challenge(scheme, parameters)


def _value(text: str, position: int) -> tuple[str, int]:
    while position < len(text) and text[position] in " \t":
        position += 1
    quoted = _QUOTED.match(text, position)
    if quoted is not None:
        return re.sub(r"\\(.)", r"\1", quoted[1]), quoted.end()
    end = position
    while end < len(text) and text[end] not in " \t,":
        end += 1
    return text[position:end], end

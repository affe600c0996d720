"""Go durations, as in ``HEALTHCHECK --interval=1m30s`` (dockerfile.md 1.6)."""

from __future__ import annotations

from typing import Final

from builder.patterns import pattern

_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,
    "\u03bcs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART: Final = pattern(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)")
_LARGEST: Final = (1 << 63) - 1
MILLISECOND: Final = _UNITS["ms"]


def parse_duration(text: str) -> int:
    """Return nanoseconds; ValueError for anything Go's ParseDuration would refuse."""
    unsigned = text.removeprefix("-") if text.startswith("-") else text.removeprefix("+")
    if unsigned == "0":
        return 0
    total = 0
    position = 0
    while position < len(unsigned):
        match = _PART.match(unsigned, position)
        if match is None or len(match[1]) > 64:
            raise ValueError(f"invalid duration {text!r}")
        whole, _, fraction = match[1].partition(".")
        unit = _UNITS[match[2]]
        total += int(whole or "0") * unit + int(fraction or "0") * unit // 10 ** len(fraction)
        position = match.end()
    if not unsigned or total > _LARGEST:
        raise ValueError(f"invalid duration {text!r}")
    return -total if text.startswith("-") else total

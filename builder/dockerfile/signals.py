"""Signal names for STOPSIGNAL (dockerfile.md 1.6), as Linux numbers them."""

from __future__ import annotations

import re
from typing import Final

from builder.patterns import pattern

# fmt: off
_NUMBERS: Final = {
    "HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "BUS": 7, "FPE": 8,
    "KILL": 9, "USR1": 10, "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15, "STKFLT": 16,
    "CHLD": 17, "CONT": 18, "STOP": 19, "TSTP": 20, "TTIN": 21, "TTOU": 22, "URG": 23, "XCPU": 24,
    "XFSZ": 25, "VTALRM": 26, "PROF": 27, "WINCH": 28, "IO": 29, "PWR": 30, "SYS": 31,
}
# fmt: on
_ALIASES: Final = {"IOT": 6, "CLD": 17, "POLL": 29, "UNUSED": 31}
_REALTIME: Final = pattern(r"RTM(?:IN(?:\+([1-9]|1[0-5]))?|AX(?:-([1-9]|1[0-4]))?)\Z")


def signal_number(text: str) -> int:
    """Return the number of a signal given by number or name, with or without SIG; ValueError if there is none."""
    if re.fullmatch(r"[+-]?[0-9]{1,9}", text, re.ASCII):
        number = int(text)
        if number == 0:
            raise ValueError(f"invalid signal: {text}")
        return number
    name = text.upper().removeprefix("SIG")
    known = _NUMBERS.get(name) or _ALIASES.get(name)
    if known:
        return known
    realtime = _REALTIME.match(name)
    if realtime is None:
        raise ValueError(f"invalid signal: {text}")
    if name.startswith("RTMIN"):
        return 34 + int(realtime[1] or 0)
    return 64 - int(realtime[2] or 0)

"""Go's ways of printing values, which Docker's image history is full of (fmt ``%q``, ``time.Duration``)."""

from __future__ import annotations

from collections.abc import Sequence

_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def quote(text: str) -> str:
    """Return ``text`` as ``%q`` prints a string."""
    return '"' + "".join(_quoted(char, '"') for char in text) + '"'


def quote_rune(number: int) -> str:
    """Return ``number`` as ``%q`` prints an integer: as the character it is the code of, if there is one."""
    valid = number < 0xD800 or 0xE000 <= number <= 0x10FFFF
    return "'" + _quoted(chr(number) if valid else "\ufffd", "'") + "'"


def _quoted(char: str, mark: str) -> str:
    if char in (mark, "\\"):
        return "\\" + char
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def quote_list(items: Sequence[str]) -> str:
    """Return ``["a" "b"]``."""
    return "[" + " ".join(quote(one) for one in items) + "]"


def duration(nanoseconds: int) -> str:
    """Return ``1h2m3.5s`` as ``time.Duration`` prints it."""
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < 1_000_000_000:
        for unit, size in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
            if nanoseconds < size * 1_000:
                return _decimal(nanoseconds, size) + unit
    seconds = nanoseconds % 60_000_000_000
    minutes = nanoseconds // 60_000_000_000
    text = _decimal(seconds, 1_000_000_000) + "s"
    if minutes:
        text = f"{minutes % 60}m{text}"
    return f"{minutes // 60}h{text}" if minutes >= 60 else text


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    if not rest:
        return str(whole)
    return f"{whole}.{str(rest).rjust(len(str(unit)) - 1, '0').rstrip('0')}"

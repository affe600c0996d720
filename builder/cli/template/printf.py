"""Go's ``fmt.Sprintf`` for the values a template can have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from builder.cli.template.values import DEPTH_LIMIT, float_text, is_nothing, text_of, type_name
from builder.patterns import pattern
from builder.plan.gotext import quote, quote_rune

_VERB = pattern(r"%([-+# 0]*)(\[\d+\])?(\d+|\*)?(?:\.(\d+|\*)?)?(\[\d+\])?(.?)", re.DOTALL)
_DOT = pattern(r"%[-+# 0]*(?:\[\d+\])?(?:\d+|\*)?\.")
_WIDTH_LIMIT = 1000
_INTEGERS = {"d": "d", "b": "b", "o": "o", "x": "x", "X": "X"}
_FLOATS = frozenset("eEfFgG")


def sprintf(form: str, values: Sequence[object]) -> str:
    """Return ``form`` with its verbs filled in; mistakes show in the text as Go shows them (``%!d(string=a)``).

    Raises ValueError for forms that are not supported.
    """
    taken: list[int] = []
    parts: list[str] = []
    last = 0
    for found in _VERB.finditer(form):
        parts += [form[last : found.start()], _fill(found, values, taken)]
        last = found.end()
    parts.append(form[last:])
    unused = [] if _INDEXED in taken else values[max(taken, default=-1) + 1 :]
    if unused:
        extra = ", ".join(f"{type_name(one)}={text_of(one)}" if one is not None else "<nil>" for one in unused)
        parts.append(f"%!(EXTRA {extra})")
    return "".join(parts)


_INDEXED = 1 << 30


def _fill(found: re.Match[str], values: Sequence[object], taken: list[int]) -> str:
    flags, index, width, precision, later, verb = found.groups()
    if verb == "%":
        return "%"
    if not verb:
        return "%!(NOVERB)"
    if index or later or width == "*" or precision == "*":
        raise ValueError(f"{found[0]} is not supported by this printf: write plain verbs such as %s or %-20v")
    at = max(taken, default=-1) + 1
    if at >= len(values):
        return f"%!{verb}(MISSING)"
    taken.append(at)
    size = int(width or 0)
    digits = int(precision or 0) if _DOT.match(found[0]) else None
    if size > _WIDTH_LIMIT or (digits or 0) > _WIDTH_LIMIT:
        return f"%!(BADWIDTH){verb}"
    return _Verb(verb, flags, size, digits).of(values[at])


class _Verb:
    """One verb with its flags."""

    def __init__(self, verb: str, flags: str, width: int, precision: int | None) -> None:
        self._verb = verb
        self._flags = flags
        self._width = width
        self._precision = precision

    def of(self, value: object, depth: int = 0) -> str:
        """Return a value as this verb prints it. Raises ValueError for one that is nested too deeply."""
        if depth > DEPTH_LIMIT:
            raise ValueError(f"a value is nested more than {DEPTH_LIMIT} deep")
        if is_nothing(value):
            return self._padded("<nil>") if self._verb == "v" else f"%!{self._verb}(<nil>)"
        if isinstance(value, list | tuple):
            return "[" + " ".join(self.of(one, depth + 1) for one in value) + "]"
        if isinstance(value, dict):
            return "map[" + " ".join(f"{self.of(key)}:{self.of(value[key], depth + 1)}" for key in sorted(value)) + "]"
        text = next(self._scalar(value), None)
        if text is None:
            return f"%!{self._verb}({type_name(value)}={text_of(value)})"
        return text

    def _scalar(self, value: object) -> Iterator[str]:
        """Yield the text of a scalar, nothing if the verb does not go with its type."""
        verb = self._verb
        if isinstance(value, bool):
            if verb in "vt":
                yield self._padded(text_of(value))
        elif isinstance(value, int):
            yield from self._integer(value)
        elif isinstance(value, float):
            if verb == "v":
                yield self._number("-" if value < 0 else "", float_text(abs(value)))
            elif verb in _FLOATS:
                yield self._number("-" if value < 0 else "", self._float(abs(value)))
        elif isinstance(value, str):
            yield from self._string(value)

    def _integer(self, value: int) -> Iterator[str]:
        sign, size = "-" if value < 0 else "", abs(value)
        match self._verb:
            case "v":
                yield self._number(sign, str(size))
            case "c":
                yield self._padded(chr(value) if 0 <= value < 0x110000 else "\ufffd")
            case "q":
                yield self._padded(quote_rune(value))
            case "U":
                yield self._padded(f"U+{size:04X}")
            case verb if verb in _INTEGERS:
                prefix = {"x": "0x", "X": "0X", "o": "0", "b": "0b"}.get(verb, "") if "#" in self._flags else ""
                digits = format(size, _INTEGERS[verb]).rjust(self._precision or 0, "0")
                yield self._number(sign + prefix, digits)

    def _float(self, value: float) -> str:
        if self._verb in "gG" and self._precision is None:
            text = float_text(value)
            return text if self._verb == "g" else text.upper()
        return format(value, f".{6 if self._precision is None else self._precision}{self._verb}")

    def _string(self, value: str) -> Iterator[str]:
        verb = self._verb
        shown = value if self._precision is None else value[: self._precision]
        if verb == "v" and "#" in self._flags:
            yield self._padded(quote(value))
        elif verb in "vs":
            yield self._padded(shown)
        elif verb == "q":
            yield self._padded(quote(shown))
        elif verb in "xX":
            text = value.encode("utf-8", "surrogateescape").hex()
            yield self._padded(text.upper() if verb == "X" else text)

    def _number(self, sign: str, digits: str) -> str:
        if not sign.startswith("-"):
            sign = ("+" if "+" in self._flags else " " if " " in self._flags else "") + sign
        if "0" in self._flags and "-" not in self._flags:
            digits = digits.rjust(self._width - len(sign), "0")
        return self._padded(sign + digits)

    def _padded(self, text: str) -> str:
        return text.ljust(self._width) if "-" in self._flags else text.rjust(self._width)

"""Words as small typed trees, so that expanding one needs no parser (dockerfile.md 1.4).

``wordparser`` makes the trees, ``serial`` stores them and ``expansion`` evaluates them. Data only.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from builder.values import dataclass

OPERATORS: Final = (":-", "-", ":+", "+", ":?", "?", "#", "##", "%", "%%", "/", "//")


@dataclass(frozen=True, slots=True)
class Literal:
    """Unquoted text; its blanks separate words where a value is split into words."""

    text: str


@dataclass(frozen=True, slots=True)
class Variable:
    """``$name`` or ``${name<operator>operand}``; ``source`` is the text as written.

    ``operator`` is empty or one of ``OPERATORS``; ``operand`` is the word, message or pattern after it and
    ``replacement`` the part after the second slash.
    """

    name: str
    source: str
    operator: str = ""
    operand: tuple[Part, ...] = ()
    replacement: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Quoted:
    """Text from quotes or after an escape: never split, may be empty."""

    parts: tuple[Literal | Variable, ...]


Part: TypeAlias = Literal | Variable | Quoted


@dataclass(frozen=True, slots=True)
class Word:
    """A word as written (``text``) and what it means (``parts``).

    A word that breaks the rules keeps the complaint in ``problem`` and has no parts: it is an error only where it is
    expanded, so a bad word in a stage that is not built does no harm.
    """

    text: str
    parts: tuple[Part, ...]
    problem: str = ""

    @property
    def is_plain(self) -> bool:
        """Tell whether the word means itself: no variable, quote or escape."""
        if self.problem:
            return False
        return self.parts == (Literal(self.text),) if self.text else True


def plain(text: str) -> Word:
    """Return the word that means ``text`` exactly, and splits at its blanks."""
    return Word(text, (Literal(text),) if text else ())

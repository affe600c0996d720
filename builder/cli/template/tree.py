"""What a parsed template consists of."""

from __future__ import annotations

from builder.errors import UsageError
from builder.values import dataclass


class TemplateError(UsageError):
    """A template that cannot be read or filled in; ``line`` and ``column`` count from 1."""

    def __init__(self, source: str, position: int, problem: str, *, hint: str | None = None) -> None:
        self.line = source.count("\n", 0, position) + 1
        self.column = position - source.rfind("\n", 0, position)
        super().__init__(f"the template is wrong at {self.line}:{self.column}: {problem}", hint=hint)


@dataclass(frozen=True, slots=True)
class Literal:
    """A string, number, boolean or nil."""

    position: int
    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Dot:
    """The current value."""

    position: int


@dataclass(frozen=True, slots=True)
class Variable:
    """``$name``; ``$`` alone is the whole value."""

    position: int
    name: str


@dataclass(frozen=True, slots=True)
class Function:
    """A function's name."""

    position: int
    name: str


@dataclass(frozen=True, slots=True)
class Chain:
    """``.A.B`` of an operand."""

    position: int
    of: Operand
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """An operand, or a function with its arguments."""

    position: int
    operands: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands joined by ``|``, and the variables that take the outcome."""

    position: int
    commands: tuple[Command, ...]
    variables: tuple[str, ...] = ()
    assigns: bool = False
    """Whether the variable is there already (``=``, not ``:=``)."""


Operand = Literal | Dot | Variable | Function | Chain | Pipeline


@dataclass(frozen=True, slots=True)
class Text:
    """Text as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Action:
    """A pipeline whose value is printed, unless it sets variables."""

    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class Branch:
    """``if``, ``with`` or ``range``."""

    kind: str
    pipeline: Pipeline
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Jump:
    """``break`` or ``continue``."""

    kind: str


Node = Text | Action | Branch | Jump


@dataclass(frozen=True, slots=True)
class Tree:
    """A whole template with the text it was read from."""

    source: str
    nodes: tuple[Node, ...]

"""A parsed template filled in from a value. Output and work are bounded, whatever the template says."""

from __future__ import annotations

from typing import assert_never

from builder.cli.template.functions import FUNCTIONS, LAZY, TEXT_LIMIT
from builder.cli.template.tree import (
    Action,
    Branch,
    Chain,
    Command,
    Dot,
    Function,
    Jump,
    Literal,
    Node,
    Operand,
    Pipeline,
    TemplateError,
    Text,
    Tree,
    Variable,
)
from builder.cli.template.values import MISSING, Record, is_nothing, printed, text_of, truth, type_name
from builder.dockerfile.suggest import did_you_mean

_STEP_LIMIT = 2_000_000
_OUTPUT_LIMIT = 64 << 20


class _Jumped(Exception):  # noqa: N818  control flow inside this module, never seen outside
    """``break`` or ``continue`` on its way to its ``range``."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


def execute(tree: Tree, value: object) -> str:
    """Return what ``tree`` prints for ``value``. Raises TemplateError."""
    return _Run(tree, value).text()


class _Run:
    """One execution: the variables, what was printed, and how much was done."""

    def __init__(self, tree: Tree, value: object) -> None:
        self._source = tree.source
        self._nodes = tree.nodes
        self._value = value
        self._variables: list[tuple[str, object]] = [("$", value)]
        self._parts: list[str] = []
        self._size = 0
        self._steps = 0

    def text(self) -> str:
        self._all(self._nodes, self._value)
        return "".join(self._parts)

    def _wrong(self, position: int, problem: str) -> TemplateError:
        return TemplateError(self._source, position, problem)

    def _step(self, position: int) -> None:
        self._steps += 1
        if self._steps > _STEP_LIMIT:
            raise self._wrong(position, f"the template takes more than {_STEP_LIMIT} steps")

    def _print(self, position: int, text: str) -> None:
        self._size += len(text)
        if self._size > _OUTPUT_LIMIT:
            raise self._wrong(position, f"the template prints more than {_OUTPUT_LIMIT} characters")
        self._parts.append(text)

    # Nodes.

    def _all(self, nodes: tuple[Node, ...], dot: object) -> None:
        known = len(self._variables)
        try:
            for node in nodes:
                self._one(node, dot)
        finally:
            del self._variables[known:]

    def _one(self, node: Node, dot: object) -> None:
        match node:
            case Text():
                self._print(0, node.text)
            case Action():
                value = self._pipeline(node.pipeline, dot)
                self._set(node.pipeline, value)
                if not node.pipeline.variables:
                    self._print(node.pipeline.position, self._printed(node.pipeline, value))
            case Branch():
                known = len(self._variables)
                self._branch(node, dot)
                del self._variables[known:]
            case Jump():
                raise _Jumped(node.kind)
            case _:
                assert_never(node)

    def _printed(self, pipeline: Pipeline, value: object) -> str:
        try:
            return printed(value)
        except ValueError as error:
            raise self._wrong(pipeline.position, str(error)) from error

    def _branch(self, node: Branch, dot: object) -> None:
        value = self._pipeline(node.pipeline, dot)
        if node.kind == "range":
            self._range(node, value, dot)
            return
        self._set(node.pipeline, value)
        if truth(value):
            self._all(node.then, value if node.kind == "with" else dot)
        else:
            self._all(node.otherwise, dot)

    def _range(self, node: Branch, value: object, dot: object) -> None:
        items = self._items(node.pipeline, value)
        if not items:
            self._all(node.otherwise, dot)
        known = len(self._variables)
        for key, item in items:
            self._step(node.pipeline.position)
            names = node.pipeline.variables
            if names and node.pipeline.assigns:
                for name, one in zip(names, (item,) if len(names) == 1 else (key, item), strict=True):
                    self._assign(name, one)
            elif names:
                self._variables += zip(names, (item,) if len(names) == 1 else (key, item), strict=True)
            try:
                self._all(node.then, item)
            except _Jumped as jump:
                if jump.kind == "break":
                    return
            finally:
                del self._variables[known:]

    def _items(self, pipeline: Pipeline, value: object) -> list[tuple[object, object]]:
        if is_nothing(value):
            return []
        if isinstance(value, dict) and not isinstance(value, Record):
            return [(key, value[key]) for key in sorted(value)]
        if isinstance(value, list | tuple):
            return list(enumerate(value))
        if isinstance(value, int) and not isinstance(value, bool):
            if value > _STEP_LIMIT:
                raise self._wrong(pipeline.position, f"the template takes more than {_STEP_LIMIT} steps")
            return [(number, number) for number in range(value)]
        raise self._wrong(pipeline.position, f"range cannot go through {type_name(value)} {text_of(value)[:60]}")

    # Variables.

    def _set(self, pipeline: Pipeline, value: object) -> None:
        for name in pipeline.variables:
            if pipeline.assigns:
                self._assign(name, value)
            else:
                self._variables.append((name, value))

    def _assign(self, name: str, value: object) -> None:
        at = next(index for index in reversed(range(len(self._variables))) if self._variables[index][0] == name)
        self._variables[at] = (name, value)

    # Pipelines.

    def _pipeline(self, pipeline: Pipeline, dot: object) -> object:
        value = self._command(pipeline.commands[0], dot, ())
        for command in pipeline.commands[1:]:
            value = self._command(command, dot, (value,))
        return value

    def _command(self, command: Command, dot: object, last: tuple[object, ...]) -> object:
        self._step(command.position)
        first, *rest = command.operands
        if not isinstance(first, Function):
            return self._operand(first, dot)
        if first.name in LAZY:
            return self._lazy(first, rest, dot, last)
        return self._call(first, [*(self._operand(one, dot) for one in rest), *last])

    def _lazy(self, function: Function, rest: list[Operand], dot: object, last: tuple[object, ...]) -> object:
        """Look at arguments until one decides."""
        value: object = MISSING
        if not rest and not last:
            return self._call(function, [])
        for one in rest:
            value = self._operand(one, dot)
            if truth(value) == (function.name == "or"):
                return value
        return last[0] if last else value

    def _call(self, function: Function, values: list[object]) -> object:
        call, least, most = FUNCTIONS[function.name]
        if len(values) < least or (most is not None and len(values) > most):
            wanted = f"at least {least}" if most is None else str(least) if least == most else f"{least} to {most}"
            raise self._wrong(
                function.position, f"wrong number of arguments for {function.name}: want {wanted}, got {len(values)}"
            )
        try:
            value = call(*values)
        except ValueError as error:
            raise self._wrong(function.position, f"{function.name}: {error}") from error
        if isinstance(value, str) and len(value) > TEXT_LIMIT:
            raise self._wrong(function.position, f"{function.name}: more than {TEXT_LIMIT} characters")
        return value

    def _operand(self, operand: Operand, dot: object) -> object:
        match operand:
            case Literal():
                return operand.value
            case Dot():
                return dot
            case Variable():
                return next(value for name, value in reversed(self._variables) if name == operand.name)
            case Function():
                return self._call(operand, [])
            case Pipeline():
                return self._pipeline(operand, dot)
            case Chain():
                value = self._operand(operand.of, dot)
                for name in operand.fields:
                    value = self._field(operand.position, value, name)
                return value
            case _:
                assert_never(operand)

    def _field(self, position: int, value: object, name: str) -> object:
        if isinstance(value, Record) and name not in value:
            known = ", ".join(value)
            suggestion = did_you_mean(name, value)
            raise TemplateError(
                self._source, position, f"there is no field {name} here{suggestion}", hint=f"there are: {known}"
            )
        if isinstance(value, dict):
            return value.get(name, MISSING)
        if value is MISSING:
            return MISSING
        what = "nothing" if value is None else type_name(value)
        raise self._wrong(position, f"there is no field {name} in {what}")

"""Tables of listings: columns that line up, and the titles above them."""

from __future__ import annotations

from collections.abc import Sequence

from builder.cli.template.functions import UNTOUCHED
from builder.cli.template.tree import Action, Branch, Chain, Command, Function, Node, Operand, Pipeline, Tree
from builder.values import replace

_LEAST = 10
_GAP = 3


def aligned(lines: Sequence[str]) -> str:
    """Return ``lines`` with their tabs replaced by spaces: columns of 10 or more, 3 apart, as Docker prints them.

    A column reaches over neighbouring lines that have a tab after it; the last cell of a line is no column.
    """
    rows = [row.split("\t") for line in lines for row in line.split("\n")]
    widths = [[0] * (len(row) - 1) for row in rows]
    for number, row in enumerate(rows):
        for column in range(len(row) - 1):
            if not widths[number][column]:
                end = number
                while end < len(rows) and len(rows[end]) - 1 > column:
                    end += 1
                widest = max(len(rows[one][column]) for one in range(number, end))
                for one in range(number, end):
                    widths[one][column] = max(_LEAST, widest + _GAP)
    return "\n".join(
        "".join(cell.ljust(width) for cell, width in zip(row, wide, strict=False)) + row[-1]
        for row, wide in zip(rows, widths, strict=True)
    )


def header_of(tree: Tree) -> Tree:
    """Return the template of a table's head: functions that change a text leave the titles alone."""
    return replace(tree, nodes=tuple(map(_node, tree.nodes)))


def _node(node: Node) -> Node:
    match node:
        case Action():
            return Action(_pipeline(node.pipeline))
        case Branch():
            then, otherwise = tuple(map(_node, node.then)), tuple(map(_node, node.otherwise))
            return Branch(node.kind, _pipeline(node.pipeline), then, otherwise)
    return node


def _pipeline(pipeline: Pipeline) -> Pipeline:
    kept = [_command(one) for one in pipeline.commands]
    first, *rest = kept
    return replace(pipeline, commands=(first, *(one for one in rest if not _is_untouched(one))))


def _command(command: Command) -> Command:
    operands = tuple(map(_operand, command.operands))
    if _is_untouched(command) and len(operands) > 1:
        return replace(command, operands=operands[1:2])
    return replace(command, operands=operands)


def _is_untouched(command: Command) -> bool:
    first = command.operands[0]
    return isinstance(first, Function) and first.name in UNTOUCHED


def _operand(operand: Operand) -> Operand:
    match operand:
        case Pipeline():
            return _pipeline(operand)
        case Chain():
            return replace(operand, of=_operand(operand.of))
    return operand

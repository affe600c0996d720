"""How a cost grows with a size: fits by least squares, without numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = tuple[float, float]  # a size, and what it costs


def exponent(points: Sequence[Point], largest: int = 3) -> float:
    """Return the slope of log(cost) over log(size) through the ``largest`` sizes, less what the smallest one costs.

    Size and cost are both counted from the smallest point, so that what is linear has exponent 1 whatever its constant.
    Costs that do not grow have exponent 0. Needs three points with distinct sizes, smallest first.
    """
    (size, cost), *others = points
    logs = [(math.log(x - size), math.log(y - cost)) for x, y in others[-largest:] if y > cost]
    if len(logs) < 2:
        return 0.0
    return polynomial(logs, 1)[1]


def polynomial(points: Sequence[Point], degree: int) -> list[float]:
    """Return the coefficients, the constant first, of the polynomial nearest to the points."""
    count = degree + 1
    # The normal equations, with their right side as one column more.
    rows = [
        [sum(x ** (row + column) for x, _ in points) for column in range(count)] + [sum(y * x**row for x, y in points)]
        for row in range(count)
    ]
    for pivot in range(count):
        best = max(range(pivot, count), key=lambda row: abs(rows[row][pivot]))
        rows[pivot], rows[best] = rows[best], rows[pivot]
        for row in range(count):
            if row != pivot:
                factor = rows[row][pivot] / rows[pivot][pivot]
                rows[row] = [a - factor * b for a, b in zip(rows[row], rows[pivot], strict=True)]
    return [rows[n][count] / rows[n][n] for n in range(count)]

from __future__ import annotations

import pytest

from benchmarks.support.fits import exponent, polynomial

SIZES = (1, 10, 50, 100, 200)


@pytest.mark.parametrize(("power", "constant"), [(1, 0), (1, 7), (2, 0), (1.5, 0)])
def test_the_exponent_is_found_whatever_the_constant(power: float, constant: float) -> None:
    # The smallest size counts as nothing, which matters little before sizes a hundred times as large.
    found = exponent([(size, constant + 0.01 * size**power) for size in SIZES])
    assert found == pytest.approx(power, abs=0.05)


def test_what_does_not_grow_has_exponent_0() -> None:
    assert exponent([(size, 0.5) for size in SIZES]) == 0
    assert exponent([(1, 1.0), (2, 0.9), (3, 0.8), (4, 0.7)]) == 0


def test_a_quadratic_is_found_again() -> None:
    found = polynomial([(n, 0.2 + 0.02 * n + 0.0003 * n * n) for n in (1, 10, 25, 50, 75, 100)], 2)
    assert found == pytest.approx([0.2, 0.02, 0.0003])

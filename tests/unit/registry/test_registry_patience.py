"""How long a registry that does not answer is asked again, the tries included."""

from __future__ import annotations

import pytest

from builder.registry.errors import TransientRegistryError
from builder.registry.retry import RetryPolicy


@pytest.mark.parametrize(("seconds", "tries"), [(60.0, 1), (14.0, 2), (0.0, 3)])
def test_tries_that_take_long_are_few(seconds: float, tries: int) -> None:
    now, begun = [100.0], []

    def attempt() -> None:
        begun.append(now[0])
        now[0] += seconds
        raise TransientRegistryError("no answer")

    policy = RetryPolicy(
        attempts=3,
        within=20.0,
        sleep=lambda wait: now.append(now.pop() + wait),
        random=lambda: 0.0,
        clock=lambda: now[0],
    )
    with pytest.raises(TransientRegistryError):
        policy.run(attempt)
    assert len(begun) == tries

"""Work in parallel: all of it, or its first error."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from builder.registry.client import Registry
from builder.registry.errors import RegistryError
from builder.registry.together import in_parallel, is_over


@pytest.mark.parametrize("jobs", [1, 2, 7, 100])
def test_everything_is_done_once(jobs: int) -> None:
    done: list[int] = []
    in_parallel([lambda number=number: done.append(number) for number in range(50)], jobs)
    assert sorted(done) == list(range(50))


def test_nothing_to_do() -> None:
    in_parallel([], 4)


def test_so_many_at_a_time() -> None:
    meeting = threading.Barrier(3, timeout=60)
    in_parallel([meeting.wait] * 6, 3)


def test_the_first_error_ends_transfers_under_way(connect: Callable[..., Registry]) -> None:
    session, meeting = connect().session, threading.Barrier(2, timeout=60)
    begun: list[int] = []

    def transfer() -> None:
        meeting.wait()
        while True:
            session.go_on()

    def fail() -> None:
        meeting.wait()
        raise RegistryError("the first")

    with pytest.raises(RegistryError, match="the first"):
        in_parallel([transfer, fail, lambda: begun.append(1)], 2)
    assert begun == []
    session.go_on()
    assert not is_over()
    in_parallel([session.go_on], 1)

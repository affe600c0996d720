"""A wish to stop that belongs to one call, beside wishes that are for many."""

from __future__ import annotations

import threading

from builder.api.stopping import Stop


def test_it_is_set_by_itself_and_by_others_and_sets_no_other() -> None:
    whole, own = threading.Event(), threading.Event()
    first, second = Stop(whole, None), Stop(whole, own)
    assert not first.is_set()
    assert not first.wait(0)
    first.set()
    assert (first.is_set(), second.is_set(), whole.is_set()) == (True, False, False)
    own.set()
    assert (second.is_set(), second.wait(), whole.is_set()) == (True, True, False)


def test_a_wait_ends_when_another_is_set() -> None:
    whole = threading.Event()
    stop = Stop(whole)
    waited: list[bool] = []
    thread = threading.Thread(target=lambda: waited.append(stop.wait()))
    thread.start()
    whole.set()
    thread.join()
    assert waited == [True]

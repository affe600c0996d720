"""The solver ends, whatever happens to its threads."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from builder.errors import SandboxError
from builder.events import VertexStarted
from tests.support.builds import Recording, Workshop

DOCKERFILE = "FROM scratch\nCOPY a /a\n"


def test_a_machine_without_another_thread_is_an_error(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(SandboxError, match="no thread"):
        shop.build(DOCKERFILE, {"a": "a"})


def test_a_listener_that_fails_ends_the_build(shop: Workshop) -> None:
    class Failing(Recording):
        def emit(self, event: Any) -> None:
            if isinstance(event, VertexStarted):
                raise ZeroDivisionError
            super().emit(event)

    with pytest.raises(ZeroDivisionError):
        shop.try_build(Failing(), DOCKERFILE, {"a": "a"})

"""What is remembered of a build while it goes on."""

from __future__ import annotations

from builder.api.results import Recorder
from builder.events import BuildStarted, SilentReporter, VertexCompleted


def test_a_step_is_told_once_when_a_build_begins_anew() -> None:
    """With what was executed: that the second attempt finds it says nothing of the build."""
    recorder = Recorder(SilentReporter())
    for event in (
        BuildStarted(2),
        VertexCompleted("a", "RUN a", 5.0, cached=False),
        VertexCompleted("b", "RUN b", 0.0, cached=True),
        BuildStarted(2),
        VertexCompleted("a", "RUN a", 0.0, cached=True),
        VertexCompleted("b", "RUN b", 3.0, cached=False),
    ):
        recorder.emit(event)
    assert [(one.name, one.seconds, one.cached) for one in recorder.steps] == [
        ("RUN a", 5.0, False),
        ("RUN b", 3.0, False),
    ]

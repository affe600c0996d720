"""--timings: what the trace event format wants, so that viewers drop nothing: whole spans, rows without overlaps."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from builder.cli.progress.timings import Timings
from builder.events import (
    BuildStarted,
    Event,
    SilentReporter,
    Transfer,
    VertexCompleted,
    VertexFailed,
    VertexStarted,
    WorkCompleted,
    WorkStarted,
)
from tests.support.traces import overlapping

STEPS, BLOBS = "abcd", "xyz"


def trace_of(events: list[tuple[float, Event]], end: float = 0.0) -> list[dict[str, Any]]:
    now = 0.0
    timings = Timings(SilentReporter(), lambda: now)
    for when, event in events:
        now = when
        timings.emit(event)
    now = max(now, end)
    document = json.loads(timings.text())
    assert document["displayTimeUnit"] == "ms"
    return document["traceEvents"]  # type: ignore[no-any-return]  # JSON


def events() -> st.SearchStrategy[Event]:
    seconds = st.floats(0, 5)
    return st.one_of(
        st.builds(VertexStarted, st.sampled_from(STEPS), st.just("RUN x"), looked=seconds),
        st.builds(VertexCompleted, st.sampled_from(STEPS), st.just("RUN x"), seconds, st.booleans()),
        st.builds(VertexFailed, st.sampled_from(STEPS), st.just("RUN x"), seconds, st.just("no")),
        st.builds(WorkStarted, st.sampled_from("uvw")),
        st.builds(WorkCompleted, st.sampled_from("uvw"), seconds),
        st.builds(
            Transfer, st.just("pull"), st.sampled_from(BLOBS), st.integers(0, 9), st.integers(0, 9), st.booleans()
        ),
        st.builds(BuildStarted, st.integers(0, 9)),
    )


@given(st.lists(st.tuples(st.floats(0, 3), events()), max_size=40))
def test_any_trace_is_one_that_viewers_take(pauses: list[tuple[float, Event]]) -> None:
    times = itertools.accumulate(pause for pause, _ in pauses)
    trace = trace_of(list(zip(times, (event for _, event in pauses), strict=True)))
    assert overlapping(trace) == []
    named = {one["tid"] for one in trace if one["name"] == "thread_name"}
    for one in trace:
        assert type(one["pid"]) is type(one["tid"]) is int
        assert one["ph"] in ("X", "M", "i")
        assert one["ph"] != "X" or (one["ts"] >= 0 <= one["dur"] and one["tid"] in named)
        assert one["ph"] != "i" or (one["ts"] >= 0 and one["s"] == "p")
        assert all(type(one[name]) is int for name in ("ts", "dur") if name in one)


def test_what_is_looked_up_at_the_same_time_has_a_row_each() -> None:
    trace = trace_of(
        [
            (0.0, WorkStarted("plan")),
            (3.0, VertexStarted("a", "RUN a", looked=2.0)),
            (3.5, VertexCompleted("b", "RUN b", 2.0, cached=True)),
            (4.0, WorkCompleted("plan", 4.0)),
            (6.0, VertexCompleted("a", "RUN a", 3.0, cached=False)),
        ]
    )
    spans = {one["name"]: (one["ts"], one["dur"]) for one in trace if one["ph"] == "X"}
    assert spans == {
        "plan": (0, 4_000_000),
        "look up RUN a": (1_000_000, 2_000_000),
        "look up RUN b": (1_500_000, 2_000_000),
        "RUN a": (3_000_000, 3_000_000),
    }
    rows = [one["args"]["name"] for one in trace if one["name"] == "thread_name"]
    assert rows == ["build", "steps", "lookups", "lookups 2"]


def test_what_has_not_ended_is_there() -> None:
    trace = trace_of([(1.0, VertexStarted("a", "RUN a")), (2.0, Transfer("pull", "b", 1, 2))], end=5.0)
    spans = {one["name"]: (one["ts"], one["dur"], one["args"]["ended"]) for one in trace if one["ph"] == "X"}
    assert spans == {"RUN a": (1_000_000, 4_000_000, False), "pull b": (2_000_000, 3_000_000, False)}

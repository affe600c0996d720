"""The live view's lines: what runs, bytes on their way, what stays; at any size, in ASCII too."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import pytest
from rich.text import Text

from builder.cli.charset import settle_characters, speaks_utf8
from builder.cli.progress.live import LiveReporter
from builder.cli.progress.rows import ASCII, UNICODE
from builder.cli.progress.screen import Screen
from builder.cli.progress.state import State
from builder.cli.progress.steplog import SHOWN_LIMIT, Logs
from builder.cli.progress.view import View, duration
from builder.events import (
    BuildStarted,
    Event,
    Notice,
    Output,
    Stopping,
    Transfer,
    VertexCompleted,
    VertexFailed,
    VertexStarted,
    WorkStarted,
)

SIZES = [(1, 1), (5, 3), (20, 5), (39, 9), (79, 23), (199, 49)]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def state_of(events: Iterable[tuple[float, Event]]) -> tuple[State, Clock]:
    clock = Clock()
    state = State(Logs(clock), clock)
    for when, event in events:
        clock.now = when
        state.take(event)
    return state, clock


def frame(
    events: Iterable[tuple[float, Event]], width: int = 79, height: int = 23, view: View | None = None
) -> list[str]:
    state, clock = state_of(events)
    return [line.plain for line in (view or View(UNICODE)).frame(state, width, height, clock.now)]


def stays(events: Iterable[tuple[float, Event]], width: int = 60) -> list[str]:
    state, _ = state_of(events)
    return [View(UNICODE).line(line, width).plain for line in state.ended(all_of_it=True)]


TWO: list[tuple[float, Event]] = [
    (0, BuildStarted(7, (("build", 5), ("", 2)))),
    (0, VertexCompleted("0", "FROM x", 0.0, cached=True, stage="build")),
    (1, VertexStarted("1", "[build 2/5] RUN make all of it", "build")),
    (2, VertexStarted("2", "[build 3/5] RUN 漢字漢字漢字漢字漢字漢字漢字", "build")),
    (3, Output("1", "stdout", b"one\ntwo\nthree\nfo")),
    (3, Output("1", "stderr", b"10%\r20%")),
    (3, Output("2", "stdout", b"x\n" * 50)),
    (4, Transfer("pull", "sha256:a", 5_000_000, 20_000_000)),
    (6, Transfer("pull", "sha256:a", 15_000_000, 20_000_000)),
    (6, Transfer("pull", "sha256:b", 1_000_000, 1_000_000)),
    (64, WorkStarted("push localhost:5000/app:1")),
]


def test_what_runs_with_its_last_lines_and_the_bytes_on_their_way() -> None:
    assert frame(TWO, 60, 14) == [
        "▸ [build 2/5] RUN make all of it                       63.0s",
        "    two",
        "    three",
        "    fo",
        "    20%",
        "▸ [build 3/5] RUN 漢字漢字漢字漢字漢字漢字漢字         62.0s",
        "    x",
        "    x",
        "    x",
        "    x",
        "    x",
        "▸ push localhost:5000/app:1                             0.0s",
        "  pull 1/2 ███████████████░░░░░ 16MB/21MB",
        "1m04s · 1/7 steps (1 cached) · build 1/5",
    ]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["utf8", "ascii"])
def test_a_frame_is_never_larger_than_the_terminal(width: int, height: int, glyphs: object) -> None:
    state, clock = state_of(TWO)
    view = View(glyphs)  # type: ignore[arg-type]  # one of the two
    found = view.frame(state, width, height, clock.now)
    assert 1 <= len(found) <= height
    assert [line.plain for line in found if line.cell_len > width] == []
    assert glyphs is UNICODE or all(line.plain.isascii() for line in found)


def test_many_steps_on_a_small_terminal() -> None:
    many: list[tuple[float, Event]] = [(0, VertexStarted(str(n), f"RUN {n}")) for n in range(20)]
    assert frame(many, 20, 5) == [
        "▸ RUN 0         0.0s",
        "▸ RUN 1         0.0s",
        "▸ RUN 2         0.0s",
        "  and 17 more",
        "0.0s",
    ]


def test_a_rate_and_what_is_left() -> None:
    moving: list[tuple[float, Event]] = [
        (float(n), Transfer("pull", "sha256:a", n * 1_000_000, 20_000_000)) for n in range(11)
    ]
    assert frame(moving, 70)[0] == "  pull 0/1 ██████████░░░░░░░░░░ 10MB/20MB  1MB/s  ETA 10s"
    assert frame(moving, 40)[0] == "  pull 0/1 10MB/20MB  1MB/s  ETA 10s"
    assert frame(moving, 20)[0] == "  pull 0/1 10MB/20M…"
    unknown: list[tuple[float, Event]] = [(0, Transfer("pull", "x", 0, 0)), (2, Transfer("pull", "x", 4_000_000, 0))]
    assert frame(unknown)[0] == "  pull 0/1 4MB  2MB/s"


def test_what_has_arrived_is_gone() -> None:
    done: list[tuple[float, Event]] = [(0, Transfer("push", "a", 0, 10)), (1, Transfer("push", "a", 10, 10))]
    assert frame(done) == ["1.0s"]
    assert stays(done) == ["✓ pushed 1 blob, 10B                                    1.0s"]


def test_a_layer_that_is_sent_while_it_is_packed() -> None:
    layer = "layer of [2/3] RUN make"
    sent: list[tuple[float, Event]] = [(n / 10, Transfer("push", layer, n * 100_000, 0)) for n in range(21)]
    assert frame(sent, 70)[0] == "  push 0/1 2MB  1MB/s"
    sent += [(2.5, Transfer("push", layer, 2_500_000, 5_000_000))]
    assert frame(sent, 70)[0] == "  push 0/1 ██████████░░░░░░░░░░ 2.5MB/5MB  1MB/s  ETA 2s"
    sent += [(5.0, Transfer("push", layer, 4_999_999, 5_000_000)), (16.0, Stopping())]
    assert frame(sent, 70)[0] == "  push 0/1 ███████████████████░ 5MB/5MB", "it waits for the end of the build"
    assert stays([*sent, (17.0, Transfer("push", layer, 5_000_000, 5_000_000))]) == [
        "✓ pushed 1 blob, 5MB                                   17.0s"
    ]


def test_what_was_sent_for_nothing_is_not_counted() -> None:
    events: list[tuple[float, Event]] = [
        (0, Transfer("push", "a", 1_000_000, 0)),
        (0, Transfer("push", "b", 0, 8_000_000)),
        (1, Transfer("push", "a", 3_000_000, 0)),
        (2, Transfer("push", "b", 4_000_000, 8_000_000)),
        (2, Transfer("push", "a", 0, 0, given_up=True)),
    ]
    assert frame(events, 70)[0] == "  push 0/1 ██████████░░░░░░░░░░ 4MB/8MB  2MB/s  ETA 2s"
    events += [(3, Transfer("push", "b", 0, 0, given_up=True))]
    assert frame(events, 70) == ["3.0s"]
    assert stays(events) == []


def test_what_stays() -> None:
    events: list[tuple[float, Event]] = [
        *((0.0, VertexCompleted(str(n), f"COPY {n}", 0.0, cached=True)) for n in range(5)),
        (0, VertexCompleted("r", "RUN x", 1.25, cached=False, reason="file a: contents changed")),
        *((0.0, VertexCompleted(str(n), f"COPY {n}", 0.0, cached=True)) for n in range(2)),
        (0, Notice("something to know")),
        (0, VertexCompleted("s", "RUN " + "y" * 90, 100.0, cached=False, reason="new")),
    ]
    assert stays(events) == [
        "○ 5 steps up to COPY 4                                cached",
        "✓ RUN x  file a: contents changed                       1.2s",
        "○ COPY 0                                              cached",
        "○ COPY 1                                              cached",
        "something to know",
        "✓ RUN yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy…  100.0s",
    ]


def test_a_failure_has_its_whole_output() -> None:
    events: list[tuple[float, Event]] = [
        (0, VertexStarted("r", "RUN x")),
        (0, Output("r", "stdout", b"one\n\x1b[31mtwo\x1b[m\n::set-output::x\nend")),
        (2, VertexFailed("r", "RUN x", 2.0, "no")),
    ]
    assert stays(events) == [
        "▸ RUN x                                               wrote:",
        "| one",
        "| two",
        "| ::set-output::x",
        "| end",
        "✗ RUN x                                    failed after 2.0s",
    ]


def test_a_failure_with_too_much_output_has_the_end_of_it() -> None:
    pieces = [(0.0, Output("r", "stdout", b"%07d\n" % n * 1024)) for n in range(SHOWN_LIMIT // 1024)]
    lines = stays([(0, VertexStarted("r", "RUN x")), *pieces, (2, VertexFailed("r", "RUN x", 2.0, "no"))])
    assert lines[-3] == f"| {SHOWN_LIMIT // 1024 - 1:07}"
    assert "of its output are not shown" in lines[-2]


def test_the_cause_is_shown_when_much_was_not(tmp_path: Path) -> None:
    clock = Clock()
    logs = Logs(clock)
    logs.folder = tmp_path / "logs"
    state = State(logs, clock)
    state.take(VertexStarted("r", "RUN x"))
    for _ in range(SHOWN_LIMIT // 2048):
        state.take(Output("r", "stdout", b"noise\n" * 341))
    clock.now = 10
    state.take(Output("r", "stderr", b"the cause\n"))
    state.take(VertexFailed("r", "RUN x", 2.0, "no"))
    lines = [line.text for line in state.ended(all_of_it=True)]
    assert lines[-3] == "| the cause"
    assert "of its output are not shown; all of it is in" in lines[-2]


def test_stopping_says_what_a_second_ctrl_c_does() -> None:
    assert frame([*TWO, (65, Stopping())])[-1] == "stopping; Ctrl-C again ends it now"


def test_durations() -> None:
    assert [duration(one) for one in (0, 59.94, 60, 3599, 3600, 36610)] == [
        *("0.0s", "59.9s", "1m00s", "59m59s", "1h00m", "10h10m")
    ]


@pytest.mark.parametrize(
    ("environment", "utf8"),
    [
        ({"LANG": "en_US.UTF-8"}, True),
        ({"LANG": "C.utf8"}, True),
        ({"LANG": "C"}, False),
        ({}, False),
        ({"LC_CTYPE": "C.UTF-8"}, False),
        ({"LC_CTYPE": "C.UTF-8", "LANG": "en_US.UTF-8"}, True),
        ({"LC_ALL": "C", "LANG": "en_US.UTF-8"}, False),
        ({"LC_ALL": "de_DE.UTF-8", "LANG": "C"}, True),
        ({"LC_CTYPE": "de_DE.ISO-8859-1", "LANG": "en_US.UTF-8"}, False),
    ],
)
def test_which_terminals_get_more_than_ascii(environment: dict[str, str], utf8: bool) -> None:
    assert speaks_utf8(io.TextIOWrapper(io.BytesIO(), "utf-8"), environment) == utf8
    assert not speaks_utf8(io.TextIOWrapper(io.BytesIO(), "latin-1"), environment)


@pytest.mark.parametrize(
    ("encoding", "shown"), [("utf-8", "größe → ?"), ("latin-1", "größe ? ?"), ("ascii", "gr??e ? ?")]
)
@pytest.mark.parametrize("errors", ["strict", "surrogateescape", "backslashreplace"])
def test_what_a_stream_cannot_carry_is_a_question_mark(encoding: str, errors: str, shown: str) -> None:
    stream = io.TextIOWrapper(raw := io.BytesIO(), encoding, errors)
    settle_characters(stream, {"LC_ALL": "C"})
    print("größe → \udc9b", file=stream, end="", flush=True)
    assert raw.getvalue().decode(encoding) == shown


def test_the_last_character_of_a_full_row_stays() -> None:
    """On a terminal of 80 columns: to clear the rest of the line would clear the 80th character on some."""
    said = io.StringIO()
    Screen(said, {}).draw([Text("a" * 80), Text("b" * 79), Text("c" * 160), Text("")], [])
    shown = said.getvalue()
    assert all(text in shown for text in ("a" * 80 + "\n", "b" * 79 + "\x1b[K\n", "c" * 160 + "\n\x1b[K\n"))


def test_what_is_over_at_once_draws_nothing_and_loads_nothing() -> None:
    said = io.StringIO()
    reporter = LiveReporter(said, {})
    reporter.emit(VertexCompleted("0", "[1/2] COPY a", 0.0, cached=True))
    reporter.emit(VertexCompleted("1", "[2/2] COPY b", 0.1, cached=False))
    reporter.close()
    reporter.emit(Notice("and then"))
    assert said.getvalue() == (f"= [1/2] COPY a{'cached':>65}\n+ [2/2] COPY b{'0.1s':>65}\nand then\n")

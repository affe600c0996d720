"""--progress plain: whole lines, nobody's commands in them, groups where a service folds them, and bounded output."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from builder.cli.progress import steplog
from builder.cli.progress.groups import Groups
from builder.cli.progress.plain import PlainReporter
from builder.cli.progress.quiet import QuietReporter
from builder.cli.progress.steplog import Logs, shown_line
from builder.cli.reporters import chosen_progress, printable
from builder.errors import UsageError
from builder.events import (
    Event,
    Failed,
    Notice,
    Output,
    Stopping,
    Transfer,
    VertexCompleted,
    VertexFailed,
    VertexStarted,
    Warned,
)


def said(events: list[Event], service: str = "", folder: Path | None = None) -> list[str]:
    stream = io.StringIO(newline="")
    reporter = PlainReporter(stream, Groups(service, clock=lambda: 1700000000.9, prefix="pybuild") if service else None)
    if folder is not None:
        reporter.keep_logs(folder)
    for event in events:
        reporter.emit(event)
    reporter.close()
    return stream.getvalue().split("\n")[:-1]


def out(vertex: str, data: bytes) -> Output:
    return Output(vertex, "stdout", data)


TWO_AT_A_TIME: list[Event] = [
    VertexStarted("a", "RUN a"),
    VertexStarted("b", "RUN b"),
    out("a", b"a1\na2 begins"),
    out("b", b"b1\n"),
    Warned("beware"),
    out("a", b", a2 ends\n"),
    VertexCompleted("c", "COPY c", 0.0, cached=True),
    out("b", b"b2"),
    VertexCompleted("a", "RUN a", 1.0, cached=False, reason="new"),
    out("b", b" and more\n"),
    VertexCompleted("b", "RUN b", 2.0, cached=False),
    Stopping(),
]


def test_lines_of_steps_never_mix() -> None:
    assert said(TWO_AT_A_TIME) == [
        "#1 RUN a",
        "#2 RUN b",
        "#1 | a1",
        "#2 | b1",
        "warning: beware",
        "#1 | a2 begins, a2 ends",
        "#3 COPY c",
        "#3 CACHED",
        "#1 DONE 1.0s",
        "#1 MISS: new",
        "#2 | b2 and more",
        "#2 DONE 2.0s",
        "stopping; asked again, it ends at once",
    ]


def test_groups_of_github_are_one_after_the_other() -> None:
    assert said(TWO_AT_A_TIME, "github") == [
        "::group::#1 RUN a",
        "#1 | a1",
        "warning: beware",
        "#1 | a2 begins, a2 ends",
        "#1 DONE 1.0s",
        "#1 MISS: new",
        "::endgroup::",
        "#3 COPY c",
        "#3 CACHED",
        "::group::#2 RUN b",
        "#2 | b1",
        "#2 | b2 and more",
        "#2 DONE 2.0s",
        "::endgroup::",
        "stopping; asked again, it ends at once",
    ]


def test_sections_of_gitlab_begin_and_end() -> None:
    lines = said([VertexStarted("a", "RUN a"), out("a", b"x\n"), VertexCompleted("a", "RUN a", 1.0, False)], "gitlab")
    assert lines == [
        "\x1b[0Ksection_start:1700000000:pybuild_1[collapsed=true]\r\x1b[0K#1 RUN a",
        "#1 | x",
        "#1 DONE 1.0s",
        "\x1b[0Ksection_end:1700000000:pybuild_1\r\x1b[0K",
    ]


def test_what_failed_is_seen_without_unfolding() -> None:
    message = "dir/Dockerfile:3:1: [2/2] RUN b: exit status 3\n3 | RUN b\n  | ^"
    events: list[Event] = [
        VertexStarted("a", "RUN a"),
        VertexStarted("b", "RUN b 100%"),
        out("a", b"a1\n"),
        out("b", b"".join(b"b%d\n" % n for n in range(40))),
        VertexFailed("b", "RUN b 100%", 1.0, message, "", (3, 4)),
    ]
    lines = said(events, "github")
    assert lines[:3] == ["::group::#1 RUN a", "#1 | a1", "::endgroup::"]
    assert lines[3] == "::group::#2 RUN b 100%25"
    assert lines[-33:-30] == ["::endgroup::", "what RUN b 100% wrote last:", "#2 | b11"]
    assert lines[-2:] == [
        "#2 FAILED 1.0s",
        "::error file=dir/Dockerfile,line=3,endLine=4::[2/2] RUN b: exit status 3",
    ]
    assert not any("::" in line for line in said(events, "gitlab") if "section_" not in line)


@pytest.mark.parametrize("service", ["", "github", "gitlab"])
def test_nobody_gives_commands_to_the_service(service: str) -> None:
    hostile = "::set-output name=a::b"
    marks = "x ##[add-path]/evil ##vso[task.setvariable] ##teamcity[x]"
    section = "\x1b[0Ksection_start:1:evil\r\x1b[0Ktitle"
    events: list[Event] = [
        VertexStarted("a", f"RUN \n{hostile}\r\n{marks}"),
        out("a", f"{hostile}\n  {hostile}\r{hostile}\n{marks}\n{section}\n".encode()),
        VertexCompleted("a", f"RUN {marks}", 1.0, cached=False, reason=f"\n{hostile}"),
        Notice(hostile),
        Notice(f"\u2029{hostile}"),
        Warned(f"\n{hostile}"),
        Failed(f"no\n{hostile}\n\t{hostile}", hostile, 1),
    ]
    ours = ("::group::", "::endgroup::", "\x1b[0Ksection_")
    lines = [line for line in said(events, service) if not line.startswith(ours)]
    assert not [line for line in lines if line.lstrip().startswith("::")]
    assert not [line for line in lines if any(mark in line for mark in ("##[", "##vso", "##team", "\x1b", "\r"))]
    assert len(lines) >= 9


def test_a_line_as_people_see_it() -> None:
    assert shown_line(b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07x\x1b(B") == "red x"
    assert shown_line(b"10%\r50%\r100%\r") == "100%"
    assert shown_line(b"a\x08\x1b[") == "a\ufffd\ufffd["
    assert shown_line(b"\x1b[") == "\ufffd["
    assert (
        shown_line(b"\x1bP1;2|a\x1b\\b\x1b_c\x1b\\d\x1b^e\x07f\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ \x1bXg")
        == "bdflink "
    )
    assert shown_line("\x9b2J \x90q\x9c \x9d0;t\x07 \x85".encode()) == "\ufffd2J \ufffdq\ufffd \ufffd0;t\ufffd \ufffd"
    assert shown_line(b"\x9b2J") == "\ufffd2J"
    assert shown_line("├──\u00a0a\u3000b".encode()) == "├── a b"
    assert printable("\u202eevil\u2066 \u200bx\u2028y\u0085") == "\ufffdevil\ufffd \ufffdx\ufffdy\ufffd"


def test_transfers_are_told_when_they_have_arrived() -> None:
    layer = "layer of [2/3] RUN make"
    transfers = [(layer, 5, 0), (layer, 9, 10), (layer, 10, 10), (layer, 10, 10), ("sha256:b", 3, 4)]
    events: list[Event] = [Transfer("push", *one) for one in transfers]
    events.append(Transfer("push", "sha256:b", 0, 0, given_up=True))
    assert said(events) == ["pushed layer of [2/3] RUN make (10 bytes)"]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_too_much_is_in_a_file(tmp_path: Path) -> None:
    pieces = [b"%07d\n" % n * 1024 for n in range(400)]
    lines = said(
        [VertexStarted("a", "RUN a"), *(out("a", one) for one in pieces), VertexFailed("a", "RUN a", 1.0, "x")],
        folder=tmp_path / "logs",
    )
    (file,) = (tmp_path / "logs").iterdir()
    assert file.read_bytes() == b"".join(pieces)
    assert file.stat().st_mode & 0o777 == 0o600
    assert len("\n".join(lines)) < 2 * steplog.SHOWN_LIMIT
    assert lines[-3] == "#1 | 0000399"
    assert lines[-2].startswith("#1 (")
    assert lines[-2].endswith(f"not shown; all of it is in {file})")
    assert lines[-1] == "#1 FAILED 1.0s"


def test_without_a_place_for_it_the_rest_is_lost_and_that_is_said() -> None:
    lines = said(
        [
            VertexStarted("a", "RUN a"),
            *(out("a", b"x" * 1023 + b"\n") for _ in range(3000)),
            VertexCompleted("a", "RUN a", 1.0, False),
        ]
    )
    assert lines[-2].endswith("of its output are not shown)")


def test_who_writes_too_fast_is_shown_again_after_a_while() -> None:
    clock = Clock()
    log = Logs(clock).step()
    full = b"x" * steplog.BURST_LIMIT
    assert log.take(full) == full
    assert log.take(b"lost\n") == b""
    clock.now += 1
    assert log.take(b"seen\n") == b"\n[5B not shown: too much at once]\nseen\n"


def test_a_step_shows_no_more_than_the_limit() -> None:
    clock = Clock()
    log = Logs(clock).step()
    shown = 0
    for _ in range(100):
        clock.now += 10
        shown += len(log.take(b"x" * (64 << 10)))
    assert shown == steplog.SHOWN_LIMIT
    assert "4.46MB of its output" in log.end()


@pytest.mark.parametrize(
    ("given", "environment", "chosen"),
    [
        ("", {}, "auto"),
        ("", {"PYBUILD_PROGRESS": "json", "BUILDKIT_PROGRESS": "plain"}, "json"),
        ("tty", {"PYBUILD_PROGRESS": "json"}, "tty"),
        ("auto", {"PYBUILD_PROGRESS": "json"}, "auto"),
        ("", {"BUILDKIT_PROGRESS": "rawjson"}, "json"),
        ("", {"BUILDKIT_PROGRESS": "quiet"}, "quiet"),
        ("", {"BUILDKIT_PROGRESS": "something else"}, "auto"),
        ("", {"PYBUILD_PROGRESS": "", "BUILDKIT_PROGRESS": "plain"}, "plain"),
    ],
)
def test_who_decides_how_it_is_shown(given: str, environment: dict[str, str], chosen: str) -> None:
    assert chosen_progress(given, environment) == chosen


def test_a_wrong_word_in_the_environment_is_an_error() -> None:
    with pytest.raises(UsageError, match="PYBUILD_PROGRESS is 'fancy'"):
        chosen_progress("", {"PYBUILD_PROGRESS": "fancy"})


# --- quiet


def quietly(events: list[Event]) -> list[str]:
    stream = io.StringIO(newline="")
    reporter = QuietReporter(stream)
    for event in events:
        reporter.emit(event)
    return stream.getvalue().splitlines()


def test_quiet_shows_why_a_step_failed_and_nothing_of_others() -> None:
    events = [
        VertexStarted("a", "RUN a"),
        VertexStarted("b", "RUN b"),
        out("a", b"a1\n"),
        out("b", b"".join(b"b%d\n" % number for number in range(40)) + b"\x1b[31m::error::x"),
        VertexCompleted("a", "RUN a", 1.0, cached=False),
        VertexFailed("b", "RUN b", 1.0, "no"),
        Failed("no", "", 1),
    ]
    assert quietly(events) == [*(f"| b{number}" for number in range(11, 40)), "| ::error::x", "pybuild: error: no"]


def test_quiet_keeps_the_end_of_much_output() -> None:
    lines = quietly([out("a", b"first\n"), out("a", b"x" * 100_000), VertexFailed("a", "RUN a", 1.0, "no")])
    assert len(lines) == 1
    assert 1000 < len(lines[0]) < 10_000


def test_quiet_says_nothing_of_a_step_that_was_interrupted() -> None:
    assert quietly([out("a", b"a1\n"), Stopping(), VertexFailed("a", "RUN a", 1.0, "interrupted")]) == []

"""What people see: builds in terminals of several sizes, with and without UTF-8 and colour; keys, and nobody's tricks.

Screens are compared with testdata/goldens/terminal; --update-golden writes them, and then they are to be looked at.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.support.cli import CHECKOUT, pybuild, write_context
from tests.support.images import file, layer, write_layout
from tests.support.need import need_root, need_tool
from tests.support.terminal import Terminal, command, normalised, raw_output
from tests.support.traces import overlapping

GOLDENS = CHECKOUT / "testdata/goldens/terminal"
SIZES = [(80, 24), (40, 10), (200, 50)]
LOCALES = {"utf8": "C.UTF-8", "ascii": "C"}

LONG = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo compiling source/file-$i.c; done; printf '10%%\\r50%%'; sleep 600"
RUNNING = f"""\
FROM base AS build
WORKDIR /src
COPY a a
RUN {LONG}
FROM base
COPY --from=build /src /out
"""
FAILING = """\
FROM base
COPY a /a
RUN for i in 1 2 3; do echo "step $i: größer"; done; \\
    echo boom >&2; exit 3
"""
DONE = """\
FROM base AS build
RUN echo made > /made
FROM base
COPY a /a
COPY --from=build /made /made
CMD ["sh"]
"""


@pytest.fixture
def options(busybox_layout: Path) -> list[str]:
    need_root("needs root: RUN")
    return [f"--build-context=base=oci-layout://{busybox_layout}:latest"]


def compare(name: str, screen: str, request: pytest.FixtureRequest) -> None:
    golden = GOLDENS / f"{name}.txt"
    if request.config.getoption("--update-golden"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(screen)
    assert screen == golden.read_text()


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize(("columns", "lines"), SIZES)
def test_screens(
    columns: int,
    lines: int,
    locale: str,
    options: list[str],
    store_root: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """A step that runs, and is stopped with Ctrl-C; one that fails; a build that is done, and done again."""
    env = {"LANG": LOCALES[locale]}
    about = f"{columns}x{lines}-{locale}"
    context = write_context(tmp_path / "c", RUNNING, {"a": "a"})
    screens = {}

    def terminal(name: str, dockerfile: str, *more: str) -> Terminal:
        folder = tmp_path / name
        folder.mkdir()
        write_context(context, dockerfile)
        words = command(*options, *more, "-t", "app:1", "c")
        return Terminal(
            folder,
            ["sh", "-c", f'cd "{tmp_path}" && exec "$@"', "sh", *words],
            columns=columns,
            lines=lines,
            env=env,
            root=store_root,
        )

    with terminal("running", RUNNING) as one:
        one.wait_for(" +50%")
        screens["running"] = one.screen()
        one.press("C-c")
        one.wait_for("status 130")
        screens["stopped"] = one.screen()
    with terminal("failing", FAILING) as one:
        one.wait_for("status 3")
        screens["failing"] = one.screen(history=True, joined=True)
    with terminal("done", DONE) as one:
        one.wait_for("status 0")
        screens["done"] = one.screen(history=True, joined=True)
    with terminal("again", DONE) as one:
        one.wait_for("status 0")
        screens["again"] = one.screen(history=True, joined=True)
    text = "\n".join(f"=== {name}\n{screen}" for name, screen in screens.items())
    compare(about, normalised(text), request)


def test_a_second_ctrl_c_ends_it_at_once(options: list[str], store_root: Path, tmp_path: Path) -> None:
    context = write_context(tmp_path / "c", RUNNING, {"a": "a"})
    with Terminal(tmp_path, command(*options, context), columns=80, lines=24, env={}, root=store_root) as one:
        one.wait_for(" +50%")
        one.press("C-c", "C-c")
        screen = one.wait_for("status 130")
    assert re.search(r"^(pybuild: interrupted|pybuild: error: the build was interrupted)$", screen, re.MULTILINE)
    assert "Traceback" not in screen


def test_a_terminal_may_change_its_size(options: list[str], store_root: Path, tmp_path: Path) -> None:
    context = write_context(tmp_path / "c", RUNNING, {"a": "a"})
    with Terminal(tmp_path, command(*options, context), columns=120, lines=30, env={}, root=store_root) as one:
        one.wait_for(" +50%")
        for columns, lines in ((50, 30), (50, 8), (20, 4), (130, 40)):
            one.resize(columns, lines)
        one.wait_for("▸ .{123,}s")  # 129 columns
        one.press("C-c")
        screen = one.wait_for("status 130")
        everything = one.screen(history=True)
    assert "pybuild: error: the build was interrupted" in screen
    assert screen.endswith("status 130\n")
    assert "COPY a a" in everything
    assert "Traceback" not in everything


def test_ctrl_z_and_fg(options: list[str], store_root: Path, tmp_path: Path) -> None:
    """The view goes on below what the shell and others have printed meanwhile, and draws over nothing of it."""
    context = write_context(tmp_path / "c", RUNNING, {"a": "a"})
    words = command(*options, context)
    (tmp_path / "go").write_text(f'cd "{CHECKOUT}" && exec {shlex.join(words)}\n')
    shell = [need_tool("bash"), "--norc", "--noprofile", "-i"]
    env = {"PS1": "ready$ "}
    with Terminal(tmp_path, shell, columns=100, lines=40, env=env, root=store_root) as one:
        one.wait_for(r"ready\$")
        one.press(f"sh {tmp_path}/go", "Enter")
        one.wait_for(" +50%")
        one.press("C-z")
        one.wait_for(r"ready\$")
        one.press("sleep 0.5; echo be'tw'een", "Enter")  # nobody is faster
        one.wait_for("between")
        one.press("fg", "Enter")
        view = r"(?:.*\n)* +50%\n(\d+\.\ds) · .*"
        screen = one.wait_for(rf"ready\$ fg\n.*go\n{view}\n")
        began = re.findall(r"^(\d+\.\ds) · ", screen, re.MULTILINE)[-1]
        again = one.wait_for(rf"ready\$ fg\n.*go\n(?:.*\n)* +50%\n(?!{re.escape(began)})\d+\.\ds · .*\n")
        one.press("C-c")
        one.wait_for(r"ready\$")
        one.press("exit", "Enter")
        end = one.wait_for("status 130")
    before, shown, after = again.partition("ready$ fg\n")
    assert shown
    assert (before.count("Stopped"), before.count("\nbetween\n")) == (1, 1)
    assert (after.count("50%"), len(re.findall(r"^▸ ", after, re.MULTILINE))) == (1, 1), again
    assert end.startswith(before), "what was there is there"
    assert end.count("the build was interrupted") == 1


_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[^\[])")
_HARMLESS = re.compile(rb"\x1b\[(?:[0-9;]*m|\d*A|K|J|\?7[hl]|\?2026[hl])")
_COLOUR = re.compile(rb"\x1b\[(?:[0-9]+;)*(?:3[0-79]|4[0-79]|9[0-7]|38|48)(?:;[0-9]+)*m")


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}, {"PYBUILD_PROGRESS": "plain"}], ids=str)
def test_what_is_sent_to_a_terminal(env: dict[str, str], options: list[str], store_root: Path, tmp_path: Path) -> None:
    """No state is left changed, whatever steps write."""
    hostile = r"printf '\033[31mred\033[?25l\033]0;title\007\033[2J\033(0\n'; sleep 1"
    context = write_context(tmp_path / "c", f"FROM base\nRUN {hostile}\nRUN exit 4\n")
    status, said = raw_output(command(*options, context), columns=80, lines=24, env=env, root=store_root)
    assert status == 4
    sequences = set(_SEQUENCE.findall(said))
    assert [one for one in sequences if not _HARMLESS.fullmatch(one)] == []
    assert said.count(b"\x1b[?7l") == said.count(b"\x1b[?7h")
    assert said.count(b"\x1b[?2026h") == said.count(b"\x1b[?2026l")
    if "TERM" in env or "PYBUILD_PROGRESS" in env:
        assert not sequences
    else:
        assert bool(_COLOUR.search(said)) == ("NO_COLOR" not in env)
    assert b"red" in said


@pytest.mark.parametrize("progress", ["plain", "tty"])
def test_a_terminal_without_utf8_gets_ascii(
    progress: str, options: list[str], store_root: Path, tmp_path: Path
) -> None:
    context = write_context(
        tmp_path / "c", "FROM base\nCOPY größe /\nRUN echo größer; sleep 1; exit 4\n", {"größe": "x"}
    )
    words = command(*options, f"--progress={progress}", context)
    status, said = raw_output(words, columns=80, lines=24, env={"LC_ALL": "C"}, root=store_root)
    assert status == 4
    assert [one for one in said.splitlines() if not one.isascii()] == []
    assert b"COPY gr??e /" in said
    # In a file it is what everybody reads.
    assert "RUN echo größer" in pybuild(*words[3:], root=store_root, status=4, env={"LC_ALL": "C"}).stderr


def test_a_terminal_of_no_size_has_the_usual_one(options: list[str], store_root: Path, tmp_path: Path) -> None:
    context = write_context(tmp_path / "c", "FROM base\nCOPY a /a\n", {"a": "a"})
    status, said = raw_output(command(*options, context), columns=0, lines=0, env={}, root=store_root)
    assert status == 0
    assert b"layer            time  step\r\n" in said


def test_secrets_are_not_shown(options: list[str], store_root: Path, tmp_path: Path) -> None:
    value = "hunter2-hunter2"
    mount = "RUN --mount=type=secret,id=s"
    step = f"{mount} cat /run/secrets/s; printf hunter2-; sleep 0.3; echo hunter2; cp /run/secrets/s /x"
    context = write_context(tmp_path / "c", f"FROM base\n{step}\n{mount} cat /x; exit 1\n")
    (tmp_path / "secret").write_text(f"{value}\n")
    timings = tmp_path / "timings.json"
    given = [*options, f"--secret=id=s,src={tmp_path}/secret", f"--timings={timings}", "--no-cache"]
    for progress in ("plain", "json"):
        done = pybuild(*given, f"--progress={progress}", context, root=store_root, status=1)
        assert value not in done.stderr + done.stdout
        assert done.stderr.count("***") >= 3
    _, said = raw_output(command(*given, context), columns=80, lines=24, env={}, root=store_root)
    assert value.encode() not in said
    assert b"| ***" in said
    assert value not in timings.read_text()


def test_too_much_output_is_in_a_file_of_the_store(options: list[str], store_root: Path, tmp_path: Path) -> None:
    step = "RUN yes 0123456789012345678901234567890123456789 | head -c 6150000; echo the end; exit 1"
    context = write_context(tmp_path / "c", f"FROM base\n{step}\n")
    done = pybuild(*options, "--progress=plain", context, root=store_root, status=1)
    (log,) = (store_root / "logs").iterdir()
    assert log.stat().st_size == 6150000 + len("the end\n")
    assert f"all of it is in {log})" in done.stderr
    assert "#2 | the end\n" in done.stderr
    assert len(done.stderr) < 4_000_000
    pybuild("cache", "prune", "--filter", "type=log", root=store_root)
    assert not log.exists()


def test_timings_are_a_trace(options: list[str], store_root: Path, tmp_path: Path) -> None:
    context = write_context(tmp_path / "c", DONE, {"a": "a"})
    pybuild(*options, f"--timings={tmp_path}/t.json", "-o", f"type=oci,dest={tmp_path}/o.tar", context, root=store_root)
    trace = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    spans = [one for one in trace if one["ph"] == "X"]
    names = {one["name"] for one in spans}
    assert {"[build 2/2] RUN echo made > /made", "read the Dockerfile and plan", f"write {tmp_path}/o.tar"} <= names
    assert all(one["dur"] >= 0 and one["ts"] >= 0 and one["pid"] == 1 for one in spans)
    assert overlapping(spans) == []
    named = {one["tid"] for one in trace if one["name"] == "thread_name"}
    assert {one["tid"] for one in spans} <= named


@pytest.mark.parametrize("service", ["GITHUB_ACTIONS", "GITLAB_CI"])
def test_groups_of_a_service(service: str, options: list[str], store_root: Path, tmp_path: Path) -> None:
    hostile = "echo '::error::evil'; echo '##[error]evil'; printf '\\033[0Ksection_start:1:evil\\r\\033[0Kevil\\n'"
    context = write_context(tmp_path / "c", f"FROM base\nRUN {hostile}\nRUN exit 4\n")
    done = pybuild(*options, context, root=store_root, status=4, env={service: "true", "CI": "true"})
    lines = done.stderr.splitlines()
    begin, end = ("::group::", "::endgroup::") if service == "GITHUB_ACTIONS" else ("section_start", "section_end")
    assert [sum(one in line for line in lines) for one in (begin, end)] == [2, 2] or service == "GITLAB_CI"
    ours = [line for line in lines if line.startswith("::")]
    assert [line.partition(" ")[0] for line in ours if not line.startswith(("::group", "::endgroup"))] == (
        ["::error"] if service == "GITHUB_ACTIONS" else []
    )
    assert "##[" not in done.stderr


OTHERS = """
import logging, os, sys, threading, time
from builder.cli.reporters import showing
from builder.events import Output, VertexCompleted, VertexStarted

logging.basicConfig(level=logging.INFO)
with showing("tty", sys.stderr, os.environ) as display:
    display.emit(VertexStarted("v", "[1/1] RUN x"))
    go_on = threading.Event()
    def others():
        for number in range(200):
            print(f"printed {number} \\x1b[2J", file=sys.stderr)
            go_on.wait(0.005)
        raise SystemError("in a thread")
    thread = threading.Thread(target=others)
    go_on.wait(0.5)
    thread.start()
    while thread.is_alive():
        display.emit(Output("v", "stdout", b"a line\\n" * 3))
        go_on.wait(0.003)
    display.emit(VertexCompleted("v", "[1/1] RUN x", 1.0, False))
    print("unfinished", end="", file=sys.stderr)
print(" line", file=sys.stderr)
"""


def test_what_others_print_stands_above_whole(store_root: Path, tmp_path: Path) -> None:
    with Terminal(tmp_path, [sys.executable, "-c", OTHERS], columns=80, lines=12, env={}, root=store_root) as one:
        one.wait_for("status 0")
        lines = one.screen(history=True).splitlines()
    assert [line for line in lines if line.startswith("printed")] == [f"printed {n} \ufffd[2J" for n in range(200)]
    assert "SystemError: in a thread" in lines
    assert lines[-3:] == [f"✓ [1/1] RUN x{'1.0s':>66}", "unfinished line", "status 0"]
    assert len([line for line in lines if "RUN x" in line]) == 1


MEANWHILE = """
import os, sys, threading
from builder.cli.reporters import showing
from builder.events import Output, VertexCompleted, VertexStarted

class Noisy(bytes):
    def __len__(self):
        print("printed meanwhile", file=sys.stderr)
        return super().__len__()

with showing("tty", sys.stderr, os.environ) as display:
    display.emit(VertexStarted("v", "[1/1] RUN x"))
    threading.Event().wait(0.5)
    display.emit(Output("v", "stdout", Noisy(b"a line\\n")))
    display.emit(VertexCompleted("v", "[1/1] RUN x", 1.0, False))
"""


def test_what_is_printed_while_an_event_is_taken(store_root: Path, tmp_path: Path) -> None:
    """As Python does for an error in a finalizer, at any moment and in any thread."""
    with Terminal(tmp_path, [sys.executable, "-c", MEANWHILE], columns=80, lines=12, env={}, root=store_root) as one:
        assert "printed meanwhile\n" in one.wait_for("status 0")


@pytest.mark.parametrize("words", ["inspect --format {{.Config.Labels}}", "history --format {{.CreatedBy}}"])
def test_texts_of_images_do_not_control_a_terminal(words: str, store_root: Path, tmp_path: Path) -> None:
    """What was asked for is printed as it is, but not to a terminal."""
    evil = "\x1b]0;own\x07\x1b[2J\u009b31m\u202e"
    history = [{"created": "2020-01-01T00:00:00Z", "created_by": evil}]
    write_layout(tmp_path / "image", [layer(file("a"))], container={"Labels": {"a": evil}}, config={"history": history})
    asked = [*words.split(), f"oci-layout://{tmp_path}/image:latest"]
    assert evil in pybuild(*asked, root=store_root).stdout
    status, said = raw_output(command(*asked), columns=80, lines=24, env={}, root=store_root)
    text = said.decode()
    assert status == 0, text
    assert "31m" in text
    assert [one for one in text if not one.isprintable() and one not in "\r\n"] == []


@pytest.mark.parametrize(("words", "asked"), [([], "User name for h:"), (["-u", "ann"], "Password of ann for h:")])
def test_a_question_that_is_interrupted_ends_its_line(
    tmp_path: Path, store_root: Path, words: list[str], asked: str
) -> None:
    said = command("login", *words, "h")
    with Terminal(tmp_path, said, columns=80, lines=10, env={}, root=store_root) as terminal:
        terminal.wait_for(asked)
        terminal.press("C-c")
        terminal.wait_for("pybuild: error: interrupted")
        terminal.wait_for("status 130")


def test_nobody_types_an_archive(tmp_path: Path, store_root: Path) -> None:
    with Terminal(tmp_path, command("load"), columns=80, lines=10, env={}, root=store_root) as terminal:
        assert "hint: standard input is a terminal" in terminal.wait_for("status 64")

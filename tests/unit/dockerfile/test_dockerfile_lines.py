"""Rules of dockerfile.md 1.1 and 1.2: physical lines, comments, continuations, directives."""

from __future__ import annotations

import pytest

from builder.dockerfile.directives import CheckOptions, parse_check, requested_frontend, require_built_in_frontend
from builder.dockerfile.instructions import Run, ShellForm, StageInstruction
from builder.dockerfile.parser import parse
from builder.dockerfile.source import DockerfileError, Source, Span


def instructions(text: str) -> tuple[StageInstruction, ...]:
    return parse(text.encode("utf-8", "surrogateescape")).stages[-1].instructions


def command(text: str) -> str:
    instruction = instructions("FROM scratch\n" + text)[0]
    assert isinstance(instruction, Run)
    assert isinstance(instruction.command, ShellForm)
    return instruction.command.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN a", "a"),
        ("   \tRUN a  ", "a"),
        ("\u00a0RUN a", "a"),
        ("run a", "a"),
        ("RuN\t\va", "a"),
        ("RUN a \\\n b", "a  b"),
        ("RUN a\\\nb", "ab"),
        ("RUN a\\  \t\n  b", "a  b"),
        ("RUN a \\\n# comment\n  b", "a   b"),
        ("RUN a \\\n   # indented comment \\\n b", "a  b"),
        ("RUN a \\\n\n b", "a  b"),
        ("RUN a \\\n  \t\n b", "a  b"),
        ("RUN a \\\\\n", "a \\\\"),
        ("RUN a # not a comment", "a # not a comment"),
        ("RUN a \\\r\n b\r\n", "a  b"),
        ("RUN a \\", "a"),
        ("RUN \\\n a", "a"),
        ("RUN\\\n a", "a"),
        ("RU\\\nN a", "a"),
        ("\\\nRUN a", "a"),
        ("RUN a\x0cb\x1cc", "a\x0cb\x1cc"),
        ("RUN a\u2028b", "a\u2028b"),
        ("RUN a\u00a0b", "a\u00a0b"),
        ("RUN \udcff", "\udcff"),
    ],
)
def test_lines_are_joined_before_anything_else(text: str, expected: str) -> None:
    assert command(text) == expected


@pytest.mark.parametrize("escapes", ["\\\\", "\\\\\\"])
def test_several_escape_characters_do_not_continue_a_line(escapes: str) -> None:
    with pytest.raises(DockerfileError, match="unknown instruction: b"):
        command(f"RUN a {escapes}\nb")


def test_a_blank_line_in_a_continuation_is_remembered() -> None:
    [run] = instructions("FROM scratch\nRUN a \\\n\n  \\\n \n b\nRUN c\n")[:1]
    assert run.written.blank_lines == (3, 5)
    assert run.span == Span(2, 6, 1, 3)


def test_a_byte_order_mark_is_dropped() -> None:
    assert len(parse(b"\xef\xbb\xbfFROM scratch").stages) == 1


@pytest.mark.parametrize("data", [b"", b"\n\n", b"# only a comment\n", b"\\\n", b"\\\n\\\n  \n"])
def test_a_file_without_instructions_is_an_error(data: bytes) -> None:
    with pytest.raises(DockerfileError, match="file with no instructions"):
        parse(data)


def test_comments_belong_to_the_next_instruction() -> None:
    dockerfile = parse(
        b"# syntax=docker/dockerfile:1\n# lost\n#\n# one\n\n#two \nFROM scratch\n"
        b"# three\nRUN a \\\n# inner\n b\nRUN c\n"
    )
    stage = dockerfile.stages[0]
    assert stage.from_.written.comments == ("one", "two")
    assert [item.written.comments for item in stage.instructions] == [("three",), ()]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("# escape=`\n# syntax=x\nFROM a", ["escape", "syntax"]),
        ("#ESCAPE = `\nFROM a", ["escape"]),
        ("   #\tescape\t=\t` \nFROM a", ["escape"]),
        ("#!/usr/bin/x\n# escape=`\nFROM a", []),
        ("\n# escape=`\nFROM a", []),
        ("# unknown=x\n# escape=`\nFROM a", []),
        ("# comment\n# escape=`\nFROM a", []),
        ("FROM a\n# escape=`", []),
        ("# check=skip=all\n#escape=\\\nFROM a", ["check", "escape"]),
    ],
)
def test_directives_stand_at_the_top(text: str, names: list[str]) -> None:
    assert [item.name for item in parse(text.encode()).directives] == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# escape=`\n# escape=`\nFROM a", "only one escape parser directive can be used"),
        ("# syntax=a\n# Syntax=b\nFROM a", "only one syntax parser directive can be used"),
        ("# escape=x\nFROM a", "invalid escape token 'x'"),
        ("# escape=``\nFROM a", "invalid escape token"),
    ],
)
def test_bad_directives(text: str, message: str) -> None:
    with pytest.raises(DockerfileError, match=message):
        parse(text.encode())


def test_a_backtick_escapes_lines_and_words() -> None:
    run, workdir = instructions("# escape=`\nFROM scratch\nRUN a `\n b\\\nWORKDIR C:\\x\n")
    assert isinstance(run, Run)
    assert run.command == ShellForm("a  b\\")
    assert workdir.raw == "WORKDIR C:\\x"


@pytest.mark.parametrize(
    ("text", "frontend"),
    [
        ("# syntax=docker/dockerfile:1.7 extra\n", "docker/dockerfile:1.7"),
        ("#!/bin/sh\n# syntax=a/b\n", "a/b"),
        ("//syntax=a/b\n", "a/b"),
        ('{"syntax": "a/b"}', "a/b"),
        ('{"syntax": 1}', None),
        ("[" * 100000, None),
        ("{" * 100000, None),
        ("FROM scratch\n# syntax=a/b\n", None),
        ("", None),
    ],
)
def test_the_requested_frontend(text: str, frontend: str | None) -> None:
    assert requested_frontend(Source("Dockerfile", text)) == frontend


@pytest.mark.parametrize(
    "name", ["docker/dockerfile", "docker/dockerfile-upstream:master", "docker/dockerfile:1@sha256:a"]
)
def test_built_in_frontends(name: str) -> None:
    require_built_in_frontend(Source("Dockerfile", f"# syntax={name}\nFROM a"))


def test_another_frontend_is_refused_unless_overridden() -> None:
    source = Source("Dockerfile", "# syntax=example/other:1\nFROM a")
    with pytest.raises(DockerfileError, match="example/other:1") as caught:
        require_built_in_frontend(source)
    assert caught.value.hint is not None
    require_built_in_frontend(source, "dockerfile.v0")


@pytest.mark.parametrize(
    ("value", "options"),
    [
        ("skip=all", CheckOptions(skip=("all",))),
        ("skip=A,B;error=true", CheckOptions(skip=("A", "B"), error=True)),
        ("error=true;experimental=all ; skip=A", CheckOptions(("A",), True, ("all",))),
    ],
)
def test_check_options(value: str, options: CheckOptions) -> None:
    assert parse_check(value) == options


@pytest.mark.parametrize("value", ["", "skip", "skip=a;skip=b", "error=maybe", "nonsense=1"])
def test_bad_check_options(value: str) -> None:
    with pytest.raises(ValueError, match="option"):
        parse_check(value)


@pytest.mark.parametrize(
    ("text", "span", "message"),
    [
        ("FNTRYPOINT a", Span(1, 1, 1, 11), "unknown instruction: FNTRYPOINT (did you mean ENTRYPOINT?)"),
        ("FROM scratch\n  foo", Span(2, 2, 3, 6), "unknown instruction: foo"),
        ("FROM scratch\nRUN a \\\n  b <<EOF\n", Span(3, 3, 5, 10), "unterminated heredoc"),
        ("FROM scratch\nRUN \\\n  --mont=x a", Span(3, 3, 3, 11), "unknown flag: --mont (did you mean mount?)"),
        ("FROM scratch\nENV a=b \\\n  c", Span(3, 3, 3, 4), 'Syntax error - can\'t find = in "c"'),
        ("FROM a b", Span(1, 1, 6, 9), "FROM requires either one or three arguments"),
    ],
)
def test_errors_carry_the_exact_place(text: str, span: Span, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(text.encode(), "build/Dockerfile")
    assert caught.value.span == span
    assert caught.value.message.startswith(message)
    assert str(caught.value).startswith(f"build/Dockerfile:{span.start_line}:{span.start_col}: ")
    assert caught.value.exit_code == 65


def test_the_excerpt_points_below_tabs_and_hides_control_characters() -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(b"FROM scratch\n\tFOO \x1b[31m")
    assert str(caught.value).splitlines()[1:] == ["2 | \tFOO \ufffd[31m", "  | \t^^^"]


def test_the_excerpt_shows_no_passwords() -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(b"FROM scratch\nADDD https://me:sEcReT@host/a@b /")
    assert str(caught.value).splitlines()[1:3] == ["2 | ADDD https://*********@host/a@b /", "  | ^^^^"]


def test_a_line_longer_than_the_limit_is_refused() -> None:
    with pytest.raises(DockerfileError, match="longer than 16 MiB"):
        parse(b"FROM a\nRUN " + b"x" * (16 * 1024 * 1024))

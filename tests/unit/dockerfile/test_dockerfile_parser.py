"""Rules of dockerfile.md 1.3 and 1.6 to 1.10: what each instruction accepts and how it is read."""

from __future__ import annotations

import pytest

from builder.dockerfile.expansion import evaluate
from builder.dockerfile.instructions import (
    Add,
    Arg,
    ArgDeclaration,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    ExecForm,
    Expose,
    From,
    HealthCheck,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Script,
    Shell,
    ShellForm,
    StageInstruction,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from builder.dockerfile.parser import parse, parse_partial, parse_trigger
from builder.dockerfile.source import DockerfileError, Span
from builder.dockerfile.word import Word


def one(text: str) -> StageInstruction:
    instructions = parse(("FROM scratch\n" + text).encode()).stages[0].instructions
    assert len(instructions) == 1
    return instructions[0]


def texts(words: tuple[Word, ...]) -> list[str]:
    return [word.text for word in words]


def fails(text: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        one(text)
    assert message in caught.value.message
    assert caught.value.span is not None
    assert caught.value.excerpt


# 1.3 JSON and shell form


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["a", "b c"]', ExecForm(("a", "b c"))),
        ('  ["a"]  ', ExecForm(("a",))),
        ("[]", ExecForm(())),
        ('["\\u00e9\\n"]', ExecForm(("\u00e9\n",))),
        ('["\\ud800"]', ExecForm(("\ufffd",))),
        ('["a",]', ShellForm('["a",]')),
        ("['a']", ShellForm("['a']")),
        ('["a"] x', ShellForm('["a"] x')),
        ('["a" "b"]', ShellForm('["a" "b"]')),
        ("[]random string", ShellForm("[]random string")),
        ("[NaN]", ShellForm("[NaN]")),
        ("[" * 5000, ShellForm("[" * 5000)),
        ("a b", ShellForm("a b")),
        ("", ShellForm("")),
        ('{"a": 1}', ShellForm('{"a": 1}')),
        ('"a"', ShellForm('"a"')),
        ("echo $A '${B:=c}'", ShellForm("echo $A '${B:=c}'")),
    ],
)
def test_json_or_shell(text: str, expected: ExecForm | ShellForm) -> None:
    cmd = one(f"CMD {text}")
    assert isinstance(cmd, Cmd)
    assert cmd.command == expected
    entrypoint = one(f"ENTRYPOINT {text}")
    assert isinstance(entrypoint, Entrypoint)
    assert entrypoint.command == expected


@pytest.mark.parametrize("keyword", ["RUN", "CMD", "ENTRYPOINT", "SHELL", "COPY", "ADD", "VOLUME", "HEALTHCHECK CMD"])
@pytest.mark.parametrize("text", ["[1]", '["a", null]', "[[]]", '["a", {"b": "c"}]'])
def test_json_with_anything_but_strings_is_an_error(keyword: str, text: str) -> None:
    fails(f"{keyword} {text}", "arrays must be comprised of strings only")


# FROM


@pytest.mark.parametrize(
    ("text", "image", "platform", "name"),
    [
        ("FROM a", "a", None, None),
        ("from a as B.c-d_1", "a", None, "b.c-d_1"),
        ("FROM --platform=linux/arm64 a:1@sha256:b AS x", "a:1@sha256:b", "linux/arm64", "x"),
        ("FROM --platform=$BUILDPLATFORM ${A:-b}", "${A:-b}", "$BUILDPLATFORM", None),
        ("FROM\ta\t\tAs\tb", "a", None, "b"),
        ("FROM -- a", "a", None, None),
    ],
)
def test_from(text: str, image: str, platform: str | None, name: str | None) -> None:
    item = parse(text.encode()).stages[0].from_
    assert isinstance(item, From)
    assert item.image.text == image
    assert (item.platform.text if item.platform else None) == platform
    assert item.name == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM", "FROM requires either one or three arguments"),
        ("FROM a b", "FROM requires either one or three arguments"),
        ("FROM a at b", "FROM requires either one or three arguments (did you mean AS?)"),
        ("FROM a AS 1b", "invalid name for build stage"),
        ("FROM a AS b$c", "invalid name for build stage"),
        ("FROM --platfrom=x a", "unknown flag: --platfrom (did you mean platform?)"),
        ("FROM --platform a", "missing a value on flag: --platform"),
        ("FROM --platform=a --platform=b c", "duplicate flag specified: --platform"),
    ],
)
def test_bad_from(text: str, message: str) -> None:
    fails(text, message)


def test_stages_and_global_arguments() -> None:
    dockerfile = parse(b"ARG a=1\nARG b c=$a\nFROM x\nRUN 1\nFROM y AS Z\nARG d\n")
    assert [[item.name for item in arg.declarations] for arg in dockerfile.global_args] == [["a"], ["b", "c"]]
    assert [(stage.index, stage.name, stage.display) for stage in dockerfile.stages] == [
        (0, None, "stage-0"),
        (1, "z", "z"),
    ]


def test_nothing_but_arg_may_precede_from() -> None:
    with pytest.raises(DockerfileError, match="no build stage in current context"):
        parse(b"RUN a\nFROM b\n")


def test_only_arguments_is_an_error() -> None:
    with pytest.raises(DockerfileError, match="dockerfile contains no stages to build"):
        parse(b"ARG a\n")


def test_a_partial_result_keeps_what_came_before_the_mistake() -> None:
    parsed = parse_partial(b"FROM a as B\nRUN x\nBAD\nRUN y\n")
    assert parsed.error is not None
    assert [len(stage.instructions) for stage in parsed.dockerfile.stages] == [1]
    assert parse_partial(b"\xfe\xffFROM").error is not None
    assert parse_partial(b"FROM a").error is None


# ENV, LABEL, ARG


@pytest.mark.parametrize(
    ("text", "pairs", "values"),
    [
        ("a=b", [("a", "b")], ["b"]),
        ("a=b c=d", [("a", "b"), ("c", "d")], ["b", "d"]),
        ('a="b c" d=e\\ f', [("a", '"b c"'), ("d", "e\\ f")], ["b c", "e f"]),
        ("a='b \"c\"'", [("a", "'b \"c\"'")], ['b "c"']),
        ("a=", [("a", "")], [""]),
        ('a=""', [("a", '""')], [""]),
        ("a=b=c", [("a", "b=c")], ["b=c"]),
        ("a b c", [("a", "b c")], ["b c"]),
        ("a   b=c  d", [("a", "b=c  d")], ["b=c  d"]),
        ("a b\\ c 'd'", [("a", "b\\ c 'd'")], ["b c d"]),
        ('"a"=b', [('"a"', "b")], ["b"]),
        ("a=b\\", [("a", "b")], ["b"]),
    ],
)
def test_pairs(text: str, pairs: list[tuple[str, str]], values: list[str]) -> None:
    for item in (one(f"ENV {text}"), one(f"LABEL {text}")):
        assert isinstance(item, Env | Label)
        assert [(key.text, value.text) for key, value in item.pairs] == pairs
        assert [evaluate(value, {}).value for _, value in item.pairs] == values
        assert item.written.legacy == ("=" not in text.split()[0])


@pytest.mark.parametrize("keyword", ["ENV", "LABEL"])
def test_bad_pairs(keyword: str) -> None:
    fails(keyword, f"{keyword} requires at least one argument")
    fails(f"{keyword} a", f"{keyword} must have two arguments")
    fails(f"{keyword} a=b c", 'can\'t find = in "c"')
    fails(f"{keyword} =b", f"{keyword} names can not be blank")
    fails(f"{keyword} --x=y a=b", "unknown flag: --x")


def test_an_unfinished_quote_does_not_fail_before_it_is_expanded() -> None:
    item = one(r"ENV name='a\'b'")
    assert isinstance(item, Env)
    [(_, value)] = item.pairs
    assert value.text == r"'a\'b'"
    with pytest.raises(DockerfileError, match="closing single quote"):
        evaluate(value, {})


def test_arg() -> None:
    item = one('ARG a b=c d="e f" g= h=$i')
    assert isinstance(item, Arg)
    assert [(arg.name, arg.default.text if arg.default else None) for arg in item.declarations] == [
        ("a", None),
        ("b", "c"),
        ("d", '"e f"'),
        ("g", ""),
        ("h", "$i"),
    ]
    assert item.declarations[0] == ArgDeclaration("a")
    fails("ARG", "ARG requires at least one argument")
    fails("ARG =x", "ARG names can not be blank")
    fails("ARG --x a=1", "unknown flag: --x")  # 1.13 row 18


# instructions with one value


@pytest.mark.parametrize("keyword", ["MAINTAINER", "WORKDIR", "USER", "STOPSIGNAL"])
def test_one_argument_takes_the_rest_of_the_line(keyword: str) -> None:
    fails(keyword, f"{keyword} requires exactly one argument")
    fails(f"{keyword} --boo x", "unknown flag: --boo")
    item = one(f"{keyword}  a b  'c' ")
    match item:
        case Maintainer():
            assert item.author == "a b  'c'"
        case Workdir():
            assert item.path.text == "a b  'c'"
        case User():
            assert item.user.text == "a b  'c'"
        case StopSignal():
            assert item.signal.text == "a b  'c'"
        case _:
            pytest.fail("another instruction")


def test_expose_and_volume() -> None:
    expose = one("EXPOSE 80 $P/udp  '1 2'")
    assert isinstance(expose, Expose)
    assert texts(expose.ports) == ["80", "$P/udp", "'1", "2'"]
    for text in ("VOLUME /a /b\\n", 'VOLUME ["/a", "/b\\\\n"]'):
        volume = one(text)
        assert isinstance(volume, Volume)
        assert texts(volume.paths) == ["/a", "/b\\n"]
    fails("EXPOSE", "EXPOSE requires at least one argument")
    fails("VOLUME", "VOLUME requires at least one argument")
    fails("VOLUME []", "VOLUME requires at least one argument")
    fails('VOLUME ["/a", " "]', "VOLUME specified can not be an empty string")


def test_shell() -> None:
    item = one('SHELL ["/bin/bash", "-c"]')
    assert isinstance(item, Shell)
    assert item.args == ("/bin/bash", "-c")
    fails("SHELL", "SHELL requires at least one argument")
    fails("SHELL []", "SHELL requires at least one argument")
    fails("SHELL /bin/bash -c", "SHELL requires the arguments to be in JSON form")


# HEALTHCHECK


def test_healthcheck() -> None:
    item = one(
        'HEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=0s --start-interval=1ms --retries=3 CMD ["a"]'
    )
    assert isinstance(item, HealthCheck)
    assert item.command == ExecForm(("a",))
    assert (item.interval, item.timeout, item.start_period) == (90_000_000_000, 1_500_000_000, 0)
    assert (item.start_interval, item.retries) == (1_000_000, 3)
    shell = one("healthcheck cmd  a  b ")
    assert isinstance(shell, HealthCheck)
    assert shell.command == ShellForm("a  b")
    assert shell.interval is None
    none = one("HEALTHCHECK none")
    assert isinstance(none, HealthCheck)
    assert none.command is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "HEALTHCHECK requires at least one argument"),
        ("NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("--interval=1s NONE", "unknown flag: --interval"),  # 1.13 row 17
        ("CMD", "Missing command after HEALTHCHECK CMD"),
        ("CMD []", "Missing command after HEALTHCHECK CMD"),
        ("CURL x", 'Unknown type "CURL" in HEALTHCHECK (try CMD)'),
        ("--interval=50ns CMD x", 'Interval "interval" cannot be less than 1ms'),
        ("--interval=-1s CMD x", "cannot be less than 1ms"),
        ("--interval=1 CMD x", "invalid duration '1'"),
        ("--retries=-1 CMD x", "--retries cannot be negative (-1)"),
        ("--retries=x CMD x", "--retries must be a number"),
        ("--intervall=1s CMD x", "did you mean interval?"),
    ],
)
def test_bad_healthcheck(text: str, message: str) -> None:
    fails(f"HEALTHCHECK {text}", message)


# flags


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("COPY --link a b", True),
        ("COPY --link=TRUE a b", True),
        ("COPY --link=false a b", False),
        ("COPY a b", False),
        ("COPY -- --link b", False),
        ('COPY "--link" b', False),
        ('COPY --li"nk"=true a b', True),
    ],
)
def test_boolean_flags(text: str, link: bool) -> None:
    item = one(text)
    assert isinstance(item, Copy)
    assert item.link is link


def test_flag_values_lose_their_quotes_once() -> None:
    item = one("COPY --chown='a b':\\$c --exclude=\"x y\" --exclude=$z --chmod=u=rwX,go=rX a b")
    assert isinstance(item, Copy)
    assert item.chown is not None
    assert item.chown.text == "a b:$c"
    assert item.chmod is not None
    assert item.chmod.text == "u=rwX,go=rX"
    assert item.exclude == ("x y", "$z")
    owner = one("COPY --chown=\u00e9 a b")  # 1.13 row 11
    assert isinstance(owner, Copy)
    assert owner.chown is not None
    assert owner.chown.text == "\u00e9"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("COPY --link= a b", "missing a value on flag: --link"),
        ("COPY --link=maybe a b", "expecting boolean value for flag --link, not: maybe"),
        ("COPY --chown a b", "missing a value on flag: --chown"),
        ("COPY --chown=a --chown=b c d", "duplicate flag specified: --chown"),
        ("COPY --form=x a b", "unknown flag: --form (did you mean from?)"),
        ("COPY --checksum=x a b", "unknown flag: --checksum"),
        ("ADD --parents a b", "unknown flag: --parents"),
        ("ADD --from=x a b", "unknown flag: --from"),
        ("COPY --from=$x a b", "variable expansion is not supported for --from"),
        ("RUN --network=hots a", "did you mean host?"),
        ("RUN --security=x a", "invalid value for --security: x"),
        ("CMD --x a", "unknown flag: --x"),
    ],
)
def test_bad_flags(text: str, message: str) -> None:
    fails(text, message)


# COPY and ADD


def test_copy_and_add() -> None:
    copy = one("COPY --from=Build --parents --link a b* $C/ dir/")
    assert isinstance(copy, Copy)
    assert (copy.from_stage, copy.parents, copy.link) == ("Build", True, True)
    assert texts(copy.sources) == ["a", "b*", "$C/"]
    assert copy.dest.text == "dir/"
    add = one('ADD --checksum=sha256:a --unpack=false --keep-git-dir ["a b", "c"]')
    assert isinstance(add, Add)
    assert add.checksum is not None
    assert (add.unpack, add.keep_git_dir, add.checksum.text) == (False, True, "sha256:a")
    assert texts((*add.sources, add.dest)) == ["a b", "c"]
    words = one('COPY "a b" c')
    assert isinstance(words, Copy)
    assert texts(words.sources) == ['"a', 'b"']


def test_json_elements_are_expanded_after_decoding() -> None:
    item = one(r'COPY ["a\\\\b", "$D"]')
    assert isinstance(item, Copy)
    assert evaluate(item.sources[0], {}).value == r"a\b"
    assert evaluate(item.dest, {"D": "x"}).value == "x"


@pytest.mark.parametrize("keyword", ["COPY", "ADD"])
@pytest.mark.parametrize("text", ["", "a", '["a"]', "[]", "--link a"])
def test_copy_needs_a_destination(keyword: str, text: str) -> None:
    fails(f"{keyword} {text}", f"{keyword} requires at least two arguments")


# RUN


def test_run() -> None:
    item = one("RUN --network=none --security=insecure --mount=type=tmpfs,target=/t a && b")
    assert isinstance(item, Run)
    assert (item.network, item.security, len(item.mounts)) == ("none", "insecure", 1)
    assert item.command == ShellForm("a && b")
    assert one("RUN").raw == "RUN"  # 1.13 row 19: a warning
    fails("RUN []", "RUN requires at least one argument")
    fails("RUN --device=x a", "not supported")


# 1.10 heredocs


def heredocs(text: str) -> list[tuple[str, str, bool, bool, int]]:
    item = one(text)
    assert isinstance(item, Run | Copy | Add)
    return [(doc.name, doc.body.text, doc.expand, doc.chomp, doc.fd) for doc in item.heredocs]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN <<E\nE", [("E", "", True, False, 0)]),
        ("RUN 3<<E\na\nE", [("E", "a\n", True, False, 3)]),
        ("RUN <<'E'\na\nE", [("E", "a\n", False, False, 0)]),
        ('RUN <<"E"\na\nE', [("E", "a\n", False, False, 0)]),
        ("RUN <<e'f'g\na\nefg", [("efg", "a\n", False, False, 0)]),
        ("RUN <<e\\'f\na\ne'f", [("e'f", "a\n", True, False, 0)]),
        ("RUN <<'a b'\nx\na b", [("a b", "x\n", False, False, 0)]),
        ("RUN <<$E\nx\n$E", [("$E", "x\n", True, False, 0)]),
        ("RUN <<  E > f\nx\nE", [("E", "x\n", True, False, 0)]),
        ("RUN <<- E\nx\n\tE", [("E", "x\n", True, True, 0)]),
        ("RUN << -E\nx\n-E", [("-E", "x\n", True, False, 0)]),
        ("RUN <<-E\n\ta\n\t\tb\n\tE", [("E", "\ta\n\t\tb\n", True, True, 0)]),
        ("RUN <<E\n\tE\nE", [("E", "\tE\n", True, False, 0)]),
        ("RUN <<E\nE \n E\nE", [("E", "E \n E\n", True, False, 0)]),
        ("RUN <<E\n# kept\n\na \\\nE", [("E", "# kept\n\na \\\n", True, False, 0)]),
        ("RUN <<A <<B\nB\nA\nA\nB", [("A", "B\n", True, False, 0), ("B", "A\n", True, False, 0)]),
        ("RUN cat <<E \\\n | sort\na\nE", [("E", "a\n", True, False, 0)]),
        ("RUN <<E\r\na\r\nE\r\n", [("E", "a\r\n", True, False, 0)]),
        ("RUN --mount=type=tmpfs,target=/t <<E\na\nE", [("E", "a\n", True, False, 0)]),
        ("COPY <<-E /x\n\ta\nE", [("E", "a\n", True, True, 0)]),
        (
            "COPY <<a.txt <<'b c' /x/\n1\na.txt\n2\nb c",
            [("a.txt", "1\n", True, False, 0), ("b c", "2\n", False, False, 0)],
        ),
        ("ADD <<E /x\na\nE", [("E", "a\n", True, False, 0)]),
        # none
        ('RUN "<<E"', []),
        ("RUN '<<E'", []),
        ("RUN echo \\<<E", []),
        ("RUN a<<E", []),
        ("RUN cat <<<E", []),
        ("RUN cat <<< E", []),
        ("RUN echo $((1<<2))", []),
        ("RUN it's <<E", []),
        ("RUN a <<", []),
        ("RUN a << ''", []),
        ('RUN ["<<E"]', []),
        ('COPY ["<<E", "b"]', []),
    ],
)
def test_heredocs(text: str, expected: list[tuple[str, str, bool, bool, int]]) -> None:
    assert heredocs(text) == expected


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("RUN <<E\na $B\n'c\nE", ShellForm("a $B\n'c\n")),
        ("RUN <<-E\n\ta\n\tb\nE", ShellForm("a\nb\n")),
        ("RUN <<E\n#!/bin/awk\nx\nE", Script("E", "#!/bin/awk\nx\n")),
        ("RUN <<-E\n\t#!/bin/awk\nE", Script("E", "#!/bin/awk\n")),
        ("RUN <<E\n\t#!x\nE", ShellForm("\t#!x\n")),
        ("RUN cat <<E\n#!x\nE", ShellForm("cat <<E\n#!x\nE")),
        ("RUN cat <<A 3<<-'B' | x\n1\nA\n\t2\n\tB", ShellForm("cat <<A 3<<-'B' | x\n1\nA\n\t2\nB")),
        ("RUN <<E > f\nx\nE", ShellForm("<<E > f\nx\nE")),
    ],
)
def test_what_a_run_heredoc_means(text: str, command: ShellForm | Script) -> None:
    item = one(text)
    assert isinstance(item, Run)
    assert item.command == command


def test_copy_heredoc_sources_and_words() -> None:
    item = one("COPY --chmod=600 a <<E b <<'F' /d/\nx $V \\$V \"q\"\nE\n$V\nF\n")
    assert isinstance(item, Copy)
    assert texts(item.sources) == ["a", "b"]
    assert [evaluate(doc.body, {"V": "1"}).value for doc in item.heredocs] == ['x 1 $V "q"\n', "$V\n"]
    assert item.span == Span(2, 6, 1)


def test_bad_heredocs() -> None:
    fails("RUN <<E\na\n", "unterminated heredoc")
    fails("RUN <<E\nE \n", "unterminated heredoc")
    fails("COPY a <<E\nE\n", "COPY cannot accept a heredoc as a destination")
    fails("COPY <<E\nE\n", "COPY requires at least two arguments")
    fails("USER <<E\nE\n", "unknown instruction: E")


def test_instructions_after_a_heredoc_continue() -> None:
    stage = parse(b"FROM a\nRUN <<E\nFROM b\nE\nRUN c\n").stages[0]
    assert [item.span.start_line for item in stage.instructions] == [2, 5]


# ONBUILD


@pytest.mark.parametrize(
    ("text", "trigger"),
    [
        ("ONBUILD RUN a", "RUN a"),
        ("onbuild   copy a \\\n  b", "copy a   b"),
        ("ONBUILD RUN <<E\nx\nE", "RUN <<E\nx\nE"),
        ("ONBUILD COPY <<-'E' /x\n\tx\n\tE", "COPY <<-'E' /x\n\tx\nE"),
        ('ONBUILD RUN ["<<E"]', 'RUN ["<<E"]'),
        ("ONBUILD ENV a <<E", "ENV a <<E"),
    ],
)
def test_onbuild_keeps_its_trigger_as_text(text: str, trigger: str) -> None:
    item = one(text)
    assert isinstance(item, Onbuild)
    assert item.trigger == trigger
    assert parse_trigger(trigger).span.start_line == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ONBUILD ONBUILD RUN a", "Chaining ONBUILD"),
        ("ONBUILD from a", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD MAINTAINER a", "MAINTAINER isn't allowed as an ONBUILD trigger"),
        ("ONBUILD RUNN a", "unknown instruction: RUNN (did you mean RUN?)"),
        ("ONBUILD --x RUN a", "unknown flag: --x"),
    ],
)
def test_bad_onbuild(text: str, message: str) -> None:
    fails(text, message)


@pytest.mark.parametrize("text", ["", "# x", "FROM a", "ONBUILD RUN a", "MAINTAINER a", "RUN a\nRUN b", "NOPE"])
def test_bad_triggers(text: str) -> None:
    with pytest.raises(DockerfileError):
        parse_trigger(text)


def test_every_instruction_has_text_and_place() -> None:
    items: list[Instruction] = []
    for stage in parse(b"from a\n  run \\\n   b \nCMD c\n").stages:
        items += [stage.from_, *stage.instructions]
    assert [item.raw for item in items] == ["from a", "run    b", "CMD c"]
    assert [item.span for item in items] == [Span(1, 1, 1, 7), Span(2, 3, 3, 5), Span(4, 4, 1, 6)]
    assert [item.written.keyword for item in items] == ["from", "run", "CMD"]

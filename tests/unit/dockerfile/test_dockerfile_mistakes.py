"""What people get wrong (dockerfile.md 1.1 to 1.10): the exact message, the text below the carets, the hint.

Every message also has the file, the line and an excerpt. What shows only once values are known is asked of the plan.
"""

from __future__ import annotations

import pytest

from builder.dockerfile.parser import parse
from builder.dockerfile.source import DockerfileError
from tests.support.plans import plan

JSON = "when using JSON array syntax, arrays must be comprised of strings only"
STAGE = "name can't start with a number or contain symbols"
FROM_ARGS = "FROM requires either one or three arguments"
NO_VARIABLE = (
    "variable expansion is not supported for --from, "
    "define a new stage with FROM using ARG from global scope as a workaround"
)
ONE_ARGUMENT = "requires at least two arguments, but only one was provided; the destination could not be determined"

# id, the lines below FROM scratch, message, what is marked
MISTAKES = [
    # the file
    ("instruction", "FNTRYPOINT a", "unknown instruction: FNTRYPOINT (did you mean ENTRYPOINT?)", "FNTRYPOINT"),
    ("instruction, letters swapped", "RNU a", "unknown instruction: RNU (did you mean RUN?)", "RNU"),
    ("instruction, lower case", "  copi a b", "unknown instruction: copi (did you mean COPY?)", "copi"),
    ("instruction, plural", "ENVS a=b", "unknown instruction: ENVS (did you mean ENV?)", "ENVS"),
    ("instruction, nothing near", "INCLUDE x", "unknown instruction: INCLUDE", "INCLUDE"),
    ("instruction with a colon", "RUN: a", "unknown instruction: RUN: (did you mean RUN?)", "RUN:"),
    ("instruction of a shell", "apt-get update", "unknown instruction: apt-get", "apt-get"),
    ("lost continuation", "RUN a &&\n  b", "unknown instruction: b", "b"),
    ("trigger", "ONBUILD CPOY a b", "unknown instruction: CPOY (did you mean COPY?)", "CPOY"),
    # FROM
    ("FROM alone", "FROM", FROM_ARGS, "FROM"),
    ("FROM, two words", "FROM a b", FROM_ARGS, "a b"),
    ("FROM, AS without a name", "FROM a AS", FROM_ARGS, "a AS"),
    ("FROM, AS misspelt", "FROM a SA b", FROM_ARGS, "a SA b"),
    ("FROM, AS nearly", "FROM a A b", FROM_ARGS + " (did you mean AS?)", "a A b"),
    ("FROM, comment", "FROM a # b", FROM_ARGS, "a # b"),
    ("FROM, name with a digit first", "FROM a AS 1b", f'invalid name for build stage: "1b", {STAGE}', "1b"),
    ("FROM, name with a slash", "FROM a AS b/c", f'invalid name for build stage: "b/c", {STAGE}', "b/c"),
    ("FROM, flag", "FROM --platfrom=x a", "unknown flag: --platfrom (did you mean platform?)", "--platfrom=x"),
    ("FROM, flag without a value", "FROM --platform a", "missing a value on flag: --platform", "--platform"),
    # RUN
    ("RUN, flag", "RUN --mont=x a", "unknown flag: --mont (did you mean mount?)", "--mont=x"),
    ("RUN, empty list", "RUN []", "RUN requires at least one argument in its list", "[]"),
    ("RUN, numbers", 'RUN ["a", 1]', JSON, '["a", 1]'),
    ("RUN, network", "RUN --network=hots a",
     "invalid value for --network: hots, expected default, none or host (did you mean host?)", "--network=hots"),
    ("RUN, security", "RUN --security=x a", "invalid value for --security: x, expected sandbox or insecure",
     "--security=x"),
    ("RUN, network twice", "RUN --network=none --network=none a", "duplicate flag specified: --network",
     "--network=none"),
    ("RUN, device", "RUN --device=a b", "RUN --device is not supported", "--device=a"),
    ("RUN, heredoc without an end", "RUN a <<EOF\nb", "unterminated heredoc", "<<EOF"),
    ("RUN, heredoc with an indented end", "RUN <<EOF\n  b\n  EOF", "unterminated heredoc", "<<EOF"),
    # mounts
    ("mount, key", "RUN --mount=typ=cache,target=/a b", "unexpected key 'typ' in 'typ=cache' (did you mean type?)",
     "--mount=typ=cache,target=/a"),
    ("mount, another key", "RUN --mount=type=cache,tagret=/a b",
     "unexpected key 'tagret' in 'tagret=/a' (did you mean target?)", "--mount=type=cache,tagret=/a"),
    ("mount, type", "RUN --mount=type=secrets,id=a b", 'unsupported mount type "secrets" (did you mean secret?)',
     "--mount=type=secrets,id=a"),
    ("mount, sharing", "RUN --mount=type=cache,target=/a,sharing=lock b",
     'unsupported sharing value "lock" (did you mean locked?)', "--mount=type=cache,target=/a,sharing=lock"),
    ("mount, key of another type", "RUN --mount=type=bind,target=/a,required b",
     "unexpected key 'required' for mount type 'bind'", "--mount=type=bind,target=/a,required"),
    ("mount, root", "RUN --mount=type=tmpfs,target=/ a", 'invalid mount target "/"', "--mount=type=tmpfs,target=/"),
    ("mount, number", "RUN --mount=type=cache,target=/a,uid=me b", "invalid value for uid: me",
     "--mount=type=cache,target=/a,uid=me"),
    ("mount, size", "RUN --mount=type=tmpfs,target=/a,size=big b", "invalid value for size: big",
     "--mount=type=tmpfs,target=/a,size=big"),
    ("mount, no value", "RUN --mount=type=cache,target b", "invalid field 'target' must be a key=value pair",
     "--mount=type=cache,target"),
    ("mount, stage in a variable", "RUN --mount=from=$S,target=/a b",
     "'from' doesn't support variable expansion, define alias stage instead", "--mount=from=$S,target=/a"),
    # COPY and ADD
    ("COPY alone", "COPY", "COPY requires at least two arguments", "COPY"),
    ("COPY, one path", "COPY a", f"COPY {ONE_ARGUMENT}", "a"),
    ("ADD, list of one", 'ADD ["a"]', f"ADD {ONE_ARGUMENT}", '["a"]'),
    ("COPY, flag", "COPY --form=a b c", "unknown flag: --form (did you mean from?)", "--form=a"),
    ("COPY, flag of ADD", "COPY --checksum=a b c", "unknown flag: --checksum", "--checksum=a"),
    ("COPY, flag without a value", "COPY --chown a b", "missing a value on flag: --chown", "--chown"),
    ("COPY, boolean", "COPY --link=yes a b", "expecting boolean value for flag --link, not: yes", "--link=yes"),
    ("COPY, stage in a variable", "COPY --from=$S a b", NO_VARIABLE, "--from=$S"),
    ("COPY, heredoc last", "COPY a <<E\nb\nE", "COPY cannot accept a heredoc as a destination", "a <<E"),
    # pairs
    ("ENV alone", "ENV", "ENV requires at least one argument", "ENV"),
    ("ENV, one word", "ENV a", "ENV must have two arguments", "a"),
    ("ENV, blank before the value", "ENV a= b",
     "Syntax error - can't find = in \"b\". Must be of the form: name=value", "b"),
    ("ENV, no name", "ENV a=b =c", "ENV names can not be blank", "=c"),
    ("LABEL, a word without =", "LABEL a=b c",
     "Syntax error - can't find = in \"c\". Must be of the form: name=value", "c"),
    ("ARG alone", "ARG", "ARG requires at least one argument", "ARG"),
    ("ARG, no name", "ARG =a", "ARG names can not be blank", "=a"),
    # others
    ("CMD, flag", "CMD --x a", "unknown flag: --x", "--x"),
    ("SHELL, words", "SHELL bash -c", "SHELL requires the arguments to be in JSON form", "bash -c"),
    ("SHELL, empty list", "SHELL []", "SHELL requires at least one argument", "[]"),
    ("EXPOSE alone", "EXPOSE", "EXPOSE requires at least one argument", "EXPOSE"),
    ("VOLUME, empty text", 'VOLUME [""]', "VOLUME specified can not be an empty string", '[""]'),
    ("USER alone", "USER", "USER requires exactly one argument", "USER"),
    ("WORKDIR alone", "WORKDIR", "WORKDIR requires exactly one argument", "WORKDIR"),
    ("ONBUILD alone", "ONBUILD", "ONBUILD requires at least one argument", "ONBUILD"),
    ("ONBUILD, chained", "ONBUILD ONBUILD RUN a", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
     "ONBUILD RUN a"),
    ("HEALTHCHECK alone", "HEALTHCHECK", "HEALTHCHECK requires at least one argument", "HEALTHCHECK"),
    ("HEALTHCHECK, no CMD", "HEALTHCHECK curl x", 'Unknown type "CURL" in HEALTHCHECK (try CMD)', "curl"),
    ("HEALTHCHECK, no command", "HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD", "CMD"),
    ("HEALTHCHECK, no unit", "HEALTHCHECK --interval=30 CMD a", "invalid duration '30' for --interval",
     "--interval=30"),
    ("HEALTHCHECK, too short", "HEALTHCHECK --timeout=1us CMD a", 'Interval "timeout" cannot be less than 1ms',
     "--timeout=1us"),
    ("HEALTHCHECK, retries", "HEALTHCHECK --retries=x CMD a", "--retries must be a number, not 'x'", "--retries=x"),
    ("HEALTHCHECK, flag", "HEALTHCHECK --intervall=1s CMD a", "unknown flag: --intervall (did you mean interval?)",
     "--intervall=1s"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "message", "marked"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES]
)
def test_mistakes(lines: str, message: str, marked: str) -> None:
    text = f"FROM scratch\n{lines}\n"
    with pytest.raises(DockerfileError) as caught:
        parse(text.encode(), "sub/Dockerfile")
    failure = caught.value
    assert failure.message == message
    assert failure.span is not None
    assert _marked(failure.excerpt) == marked
    place = f"sub/Dockerfile:{failure.span.start_line}:{failure.span.start_col}: {message}"
    assert str(failure).startswith(f"{place}\n{failure.excerpt}")
    assert failure.exit_code == 65


def _marked(excerpt: str) -> str:
    """Return what the carets of an excerpt stand below."""
    line, carets = excerpt.split("\n")[:2]
    return line[carets.index("^") : len(carets)]


def test_sixty_mistakes() -> None:
    assert len(MISTAKES) >= 60
    assert len({row[0] for row in MISTAKES}) == len(MISTAKES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file with no instructions"),
        ("# only a comment", "file with no instructions"),
        ("ARG a=1", "dockerfile contains no stages to build"),
        ("RUN a\nFROM b", "no build stage in current context"),
        ("# escape=x\nFROM a", "invalid escape token 'x' does not match ` or \\"),
        ("# syntax=a\n# syntax=b\nFROM a", "only one syntax parser directive can be used"),
    ],
)
def test_mistakes_of_the_whole_file(text: str, message: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(text.encode())
    assert caught.value.message == message
    assert caught.value.span is not None


# found only when names and values are known
@pytest.mark.parametrize(
    ("text", "message", "marked"),
    [
        ("FROM scratch\nUSER ${A:?say who}", "A: say who", "${A:?say who}"),
        ("FROM scratch\nUSER 'a", 'failed to process "\'a": missing the closing single quote', "'a"),
        ('FROM scratch\nUSER "a', "failed to process '\"a': missing the closing double quote", '"a'),
        ("FROM scratch\nUSER ${a", "failed to process '${a': missing '}'", "${a"),
        ("FROM scratch\nUSER ${}", "failed to process '${}': bad substitution", "${}"),
        (
            "FROM scratch\nUSER ${a^}",
            "failed to process '${a^}': unsupported modifier (^) in substitution",
            "${a^}",
        ),
        ("FROM scratch\nARG a=\nUSER ${a:?}", "a: is not allowed to be empty", "${a:?}"),
        ("FROM scratch\nSTOPSIGNAL SIGTREM", "invalid signal: SIGTREM", "SIGTREM"),
        ("FROM scratch\nEXPOSE 80/tpc", "invalid proto: tpc", "80/tpc"),
        ("FROM scratch\nEXPOSE 99999", "invalid containerPort: 99999", "99999"),
        (
            "FROM scratch\nCOPY --chmod=rwx a b",
            "invalid chmod parameter: 'rwx'. it should be octal string and between 0 and 07777",
            "--chmod=rwx",
        ),
        (
            "FROM scratch AS a\nFROM scratch AS b\nCOPY --from=c x y\nFROM scratch AS c",
            'cannot copy from stage "c", it needs to be defined before current stage "b"',
            "COPY --from=c x y",
        ),
        # in a long instruction, where the word stands, if that is sure
        ("FROM scratch\nEXPOSE 80 \\\n  # 88888\n  1888880 88888", "invalid containerPort: 1888880", "1888880"),
        ("FROM scratch\nEXPOSE 888889/tcp 88888", "invalid containerPort: 888889/tcp", "888889/tcp"),
        ("FROM scratch\nEXPOSE 80 \\\n  # 99999\n  99999", "invalid containerPort: 99999", "99999"),
        ("FROM scratch\nARG P=99999\nEXPOSE 1 $P", "invalid containerPort: 99999", "$P"),
        (
            "FROM scratch\nENV A=1 \\\n  B=${A^^} \\\n  C=2",
            "failed to process '${A^^}': unsupported modifier (^) in substitution",
            "${A^^}",
        ),
        ("FROM scratch\nENV A=b${A?\\\nx}", "A: x", "E"),
        ("FROM scratch\nCOPY a \\\n  http://h/a \\\n  /b/", "source can't be a URL for COPY: http://h/a", "http://h/a"),
        ("FROM scratch\nADD --checksum=x http://h/a /b", "invalid checksum 'x'", "--checksum=x"),
        ("FROM scratch\nCOPY --from=7 a \\\n  b", "invalid stage index 7: there are 1 stages", "--from=7"),
        (
            "FROM scratch\nRUN --mount=type=cache,target=/a \\\n  --mount=type=tmpfs,target=/ x",
            'invalid mount target "/"',
            "--mount=type=tmpfs,target=/",
        ),
    ],
)
def test_mistakes_in_values(text: str, message: str, marked: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        plan(text, target="b" if " AS b" in text else None)
    assert caught.value.message == message
    assert _marked(caught.value.excerpt) == marked


@pytest.mark.parametrize(
    ("lines", "hint"),
    [
        ("FROM a # b", "a comment needs a line of its own"),
        ("FROM a b", "write FROM image, or FROM image AS name"),
        ("RUN <<E\nx\n E", "add a line that is exactly 'E' after the body"),
        ("RUN\u00a0a", r"U+00A0 in 'RUN\xa0a' is no blank here: type a plain space"),
        ("RUN --mount=from=$x,target=/a b", "add `FROM ... AS name` with a global ARG and use from=name"),
    ],
)
def test_hints_show_the_way_out(lines: str, hint: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(f"FROM scratch\n{lines}".encode())
    assert caught.value.hint == hint
    assert str(caught.value).endswith(f"\nhint: {hint}")


def test_messages_hold_no_control_characters() -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(b"FROM scratch\n\x1b[31mRUN \x00\xff\n")
    assert caught.value.message == "unknown instruction: \ufffd[31mRUN"
    assert str(caught.value).encode()


def test_a_long_line_is_shown_in_part() -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(b"FROM scratch\nENV " + b"a=b " * 1000 + b"c " + b"d=e " * 1000)
    line, carets = caught.value.excerpt.split("\n")
    assert len(line) < 200
    assert line[carets.index("^")] == "c"
    with pytest.raises(DockerfileError) as caught:
        parse(b"FROM scratch\n" + b"X" * 100_000)
    assert len(str(caught.value)) < 2000

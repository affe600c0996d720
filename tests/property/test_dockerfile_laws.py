"""Laws of the Dockerfile language: total on any bytes, stable through JSON, and agreeing with simple models.

With PYBUILD_TEST_FULL the laws of whole files try 2,000 examples each, or as many as PYBUILD_TEST_EXAMPLES says.
"""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from builder.dockerfile.directives import CheckOptions
from builder.dockerfile.expansion import evaluate, evaluate_words
from builder.dockerfile.heredoc import find_openers
from builder.dockerfile.instructions import Dockerfile, Instruction, Written
from builder.dockerfile.lint import lint
from builder.dockerfile.mounts import parse_mount
from builder.dockerfile.parser import parse, parse_partial, parse_trigger
from builder.dockerfile.pattern import replace as substituted
from builder.dockerfile.pattern import trim_prefix, trim_suffix
from builder.dockerfile.printer import format_dockerfile
from builder.dockerfile.serial import from_json, to_json
from builder.dockerfile.source import DockerfileError, Span
from builder.dockerfile.wordparser import parse_body, parse_word
from builder.dockerfile.wordtree import build
from tests.support.words import expand

_PIECES = st.sampled_from(
    [
        "FROM a", " AS b", "RUN ", "COPY ", "ADD ", "ENV ", "LABEL ", "ARG ", "CMD ", "ENTRYPOINT ", "SHELL ", "USER ",
        "EXPOSE ", "VOLUME ", "WORKDIR ", "ONBUILD ", "STOPSIGNAL ", "HEALTHCHECK ", "MAINTAINER ", "NONE", "\n", "\n",
        "\n", "\r\n", "\\\n", "`\n", " ", "\t", "#", "# escape=`\n", "# syntax=", "# check=", "--",
        "--mount=type=cache,", "--from=", "--chown=", "--link", "--interval=1s", "=", ",", "target=/a", "<<EOF", "<<-E",
        "EOF", "E", "3<<'E'",
        "[", "]", '["a", "b"]', '"', "'", "\\", "`", "$", "${", "}", "$A", "${A:-", "${A#", "${A/", ":", "/", "a", "é",
        "\x00", "\u2028", "\u00a0", "\udcff", "*", "?", "0", "1",
    ]
)  # fmt: skip
_DOCKERFILES = st.lists(_PIECES, max_size=40).map("".join)
_WORDS = st.lists(
    st.sampled_from([*"${}#%/'\"\\`aB *?\n1_\u00e9\u00b2", "${A", "${A}", ":-", "$A", "$B", "${_1}"]), max_size=16
).map("".join)
_ENV = st.dictionaries(st.sampled_from(["A", "B", "a"]), st.none() | st.text("a*? b\n/", max_size=6))
_GOLDEN = sorted(Path(__file__).parents[2].glob("testdata/dockerfiles/*/Dockerfile"))
_TEXTS = [path.read_bytes().decode("utf-8", "surrogateescape") for path in _GOLDEN]
_EXAMPLES = int(os.environ.get("PYBUILD_TEST_EXAMPLES") or (2000 if os.environ.get("PYBUILD_TEST_FULL") else 100))
_MANY = settings(max_examples=_EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def _mutants(draw: st.DrawFn) -> str:
    """A golden Dockerfile after some accidents: text cut out, put in, moved, or doubled."""
    text = draw(st.sampled_from(_TEXTS))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        other = draw(st.integers(0, len(text)))
        new = draw(
            st.one_of(_PIECES, st.characters(exclude_categories=["Cs"]), st.just(text[other : other + 20]), st.just(""))
        )
        text = text[:start] + new + text[draw(st.sampled_from([start, end])) :]
    return text


def _parse(data: bytes) -> Dockerfile | DockerfileError:
    try:
        return parse(data)
    except DockerfileError as failure:
        return failure


@_MANY
@given(st.binary(max_size=200))
def test_any_bytes_give_a_dockerfile_or_an_error(data: bytes) -> None:
    assert str(_parse(data))


@_MANY
@given(_DOCKERFILES.map("FROM a\n".__add__) | _mutants())
def test_any_mixture_of_the_language_gives_a_dockerfile_or_an_error(text: str) -> None:
    data = text.encode("utf-8", "surrogateescape")
    result = _parse(data)
    partial = parse_partial(data)
    assert (partial.error is None) == isinstance(result, Dockerfile)
    assert from_json(to_json(partial.dockerfile), partial.dockerfile.source) == partial.dockerfile
    if isinstance(result, DockerfileError):
        assert result.span is not None
        assert 1 <= result.span.start_line <= result.span.end_line <= max(1, len(partial.dockerfile.source.lines))
    for stage in partial.dockerfile.stages:
        lines = [item.span.start_line for item in (stage.from_, *stage.instructions)]
        assert lines == sorted(set(lines))


def _meaning(dockerfile: Dockerfile) -> object:
    """Return a Dockerfile without places and spelling."""
    plain = {"span": Span(1, 1), "written": Written()}

    def bare(item: Instruction) -> Instruction:
        return replace(item, **plain, raw="")

    return (
        [(item.name, item.value) for item in dockerfile.directives],
        [bare(item) for item in dockerfile.global_args],
        [(bare(stage.from_), [bare(item) for item in stage.instructions]) for stage in dockerfile.stages],
    )


@_MANY
@given(_DOCKERFILES.map("FROM a\n".__add__) | _mutants(), st.sampled_from(["", "# escape=`\n"]))
def test_printing_and_parsing_again_changes_nothing(text: str, directive: str) -> None:
    parsed = parse_partial((directive + text).encode("utf-8", "surrogateescape")).dockerfile
    assume(parsed.stages)
    printed = format_dockerfile(parsed)
    again = parse(printed.encode("utf-8", "surrogateescape"))
    assert _meaning(again) == _meaning(parsed)
    assert format_dockerfile(again) == printed


@_MANY
@given(_DOCKERFILES.map("ARG A=a\nFROM a\n".__add__) | _mutants())
def test_checks_never_crash(text: str) -> None:
    parsed = parse_partial(text.encode("utf-8", "surrogateescape")).dockerfile
    everything = CheckOptions(experimental=("all",))
    for finding in lint(parsed, options=everything, build_args={"A": ""}, base_env={0: {}}, ignored=lambda _: True):
        assert 1 <= finding.span.start_line <= len(parsed.source.lines)


@_MANY
@given(_DOCKERFILES)
def test_triggers_and_mounts_never_crash(text: str) -> None:
    for read in (parse_trigger, parse_mount):
        try:
            read(text)
        except DockerfileError:
            pass
    find_openers(text)


@_MANY
@given(_WORDS, _ENV, st.sampled_from(["\\", "`"]))
def test_any_word_expands_or_is_an_error(text: str, env: dict[str, str | None], escape: str) -> None:
    word = parse_word(text, escape=escape)
    try:
        value = evaluate(word, env)
        words = evaluate_words(word, env)
    except DockerfileError:
        return
    assert value.undefined == words.undefined
    assert not value.undefined & env.keys()
    assert "".join("".join(words.values).split()) == "".join(value.value.split())


@_MANY
@given(_WORDS, st.sampled_from("'\""), st.sampled_from(["\\", "`"]))
def test_words_that_need_no_grammar_are_what_it_says(text: str, quote: str, escape: str) -> None:
    for one in (text, quote + text + quote):
        assert parse_word(one, escape=escape) == build(one, "word", escape)
    assert parse_body(text) == build(text, "body", "\\")


@given(_WORDS, _ENV)
def test_any_body_expands_or_is_an_error(text: str, env: dict[str, str | None]) -> None:
    try:
        evaluate(parse_body(text), env)
    except DockerfileError:
        pass


@given(st.text(max_size=30), st.sampled_from(["\\", "`"]))
def test_an_escaped_text_expands_to_itself(text: str, escape: str) -> None:
    assert expand("".join(escape + ch for ch in text), {}, escape=escape) == text


@given(st.text(max_size=30).filter(lambda text: "'" not in text))
def test_a_quoted_text_expands_to_itself(text: str) -> None:
    assert expand(f"'{text}'", {}) == text
    assert list(evaluate_words(parse_word(f"'{text}'"), {}).values) == ([text] if text else [])


@given(st.text("ab*?\n", max_size=6), st.text("ab\n", max_size=8), st.booleans())
def test_replacing_agrees_with_a_model(pattern: str, value: str, every: bool) -> None:
    """Leftmost longest matches, of which an empty one does not touch that before it; wildcards stay in a line."""
    matcher = re.compile("".join({"*": "[^\n]*", "?": "[^\n]"}.get(ch, ch) for ch in pattern))
    expected, start, last = "", 0, -1
    while start <= len(value):
        ends = [end for end in range(len(value), start - 1, -1) if matcher.fullmatch(value, start, end)]
        if ends and (ends[0] > start or start != last):
            expected, last = expected + "<>", ends[0]
            if not every:
                expected += value[last:]
                break
        if not ends or ends[0] == start:
            expected, start = expected + value[start : start + 1], start + 1
        else:
            start = last
    assert substituted(value, pattern, "<>", every=every) == expected


@given(st.text("ab*?", max_size=6), st.text("ab", max_size=8), st.booleans())
def test_trimming_agrees_with_a_model(pattern: str, value: str, longest: bool) -> None:
    matcher = re.compile(fnmatch.translate(pattern))
    prefixes = [end for end in range(len(value) + 1) if matcher.match(value[:end])]
    suffixes = [start for start in range(len(value) + 1) if matcher.match(value[start:])]
    cut = (max(prefixes) if longest else min(prefixes)) if prefixes else 0
    assert trim_prefix(value, pattern, longest=longest) == value[cut:]
    keep = (min(suffixes) if longest else max(suffixes)) if suffixes else len(value)
    assert trim_suffix(value, pattern, longest=longest) == value[:keep]

"""Rules of dockerfile.md 1.4: quotes, escapes, variables, patterns."""

from __future__ import annotations

import subprocess
import sys

import pytest

from builder.dockerfile.expansion import evaluate, evaluate_words, variables
from builder.dockerfile.source import DockerfileError
from builder.dockerfile.word import Literal, Quoted, Variable, Word, plain
from builder.dockerfile.wordparser import parse_body, parse_word
from tests.support.words import expand, expand_words

ENV: dict[str, str | None] = {
    "HOME": "/root",
    "EMPTY": "",
    "DECLARED": None,
    "BLANKS": " a  b ",
    "PATHS": "/usr/lib/x.tar.gz",
    "STARS": "a*b*c",
    "LINES": "a\nb",
    "QUOTE": "it's $HOME \\x",
    "SLASH": "/",
    "1": "one",
    "@": "at",
    "한국": "korea",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # quotes and escapes
        ("plain", "plain"),
        ("", ""),
        ("a b", "a b"),
        (r"a\ b", "a b"),
        (r"a\\b", r"a\b"),
        ("a\\", "a"),
        (r"\$HOME", "$HOME"),
        (r"\'", "'"),
        ("'$HOME'", "$HOME"),
        (r"'a\b'", r"a\b"),
        ("'a''b'", "ab"),
        ('""', ""),
        ('"$HOME"', "/root"),
        (r'"\$HOME"', "$HOME"),
        (r'"\""', '"'),
        (r'"a\nb"', r"a\nb"),
        (r'"a\\b"', r"a\b"),
        ('"it\'s"', "it's"),
        ("'say \"x\"'", 'say "x"'),
        ('pre"in $HOME"post', "prein /rootpost"),
        # variables
        ("$HOME", "/root"),
        ("$HOME/x", "/root/x"),
        ("${HOME}x", "/rootx"),
        ("$HOMEx", ""),
        ("$NOPE", ""),
        ("$", "$"),
        ("a$ b", "a$ b"),
        ("$.", "$."),
        ("$$", ""),
        ("$1a", "onea"),
        ("$@x", "atx"),
        ("${@}", "at"),
        ("$한국", "korea"),
        ("$QUOTE", "it's $HOME \\x"),
        ("$LINES", "a\nb"),
        # conditional
        ("${NOPE:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${DECLARED-d}", "d"),
        ("${HOME:-d}", "/root"),
        ("${NOPE:+d}", ""),
        ("${EMPTY:+d}", ""),
        ("${EMPTY+d}", "d"),
        ("${HOME+d}", "d"),
        ("${HOME?m}", "/root"),
        ("${EMPTY?m}", ""),
        ("${NOPE:-$HOME}", "/root"),
        ("${NOPE:-${NOPE2:-${HOME}}}", "/root"),
        ("${NOPE:-a b}", "a b"),
        ("${NOPE:-'}'}", "}"),
        ('${NOPE:-"}"}', "}"),
        (r"${NOPE:-\}}", "}"),
        ('"${NOPE:-"a b"}"', "a b"),
        ("${NOPE-}", ""),
        ("${HOME:-${X:?never}}", "/root"),
        # patterns
        ("${PATHS#*/}", "usr/lib/x.tar.gz"),
        ("${PATHS##*/}", "x.tar.gz"),
        ("${PATHS%.*}", "/usr/lib/x.tar"),
        ("${PATHS%%.*}", "/usr/lib/x"),
        ("${PATHS%nope}", "/usr/lib/x.tar.gz"),
        ("${PATHS#?usr}", "/lib/x.tar.gz"),
        (r"${STARS#a\*}", "b*c"),
        (r"${STARS%%\**}", "a"),
        ("${STARS#'a*'}", "*b*c"),  # quotes do not protect a wildcard
        ("${PATHS#$SLASH}", "usr/lib/x.tar.gz"),
        ("${PATHS/lib/share}", "/usr/share/x.tar.gz"),
        ("${PATHS//./-}", "/usr/lib/x-tar-gz"),
        (r"${PATHS//\//:}", ":usr:lib:x.tar.gz"),
        ("${PATHS//$SLASH/:}", ":usr:lib:x.tar.gz"),
        ("${PATHS/l*b/}", "/usr//x.tar.gz"),
        ("${PATHS/}/x}", "/usr/lib/x.tar.gz"),
        ("${EMPTY//a/b}", ""),
        ("${HOME///}", "/root"),
        ("${HOME/$EMPTY/x}", "x/root"),
        ("${LINES#*b}", "a\nb"),
        ("${LINES#a?}", "a\nb"),
        ("${NOPE#x}", ""),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    assert expand(text, ENV) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("'a", "closing single quote"),
        ('"a', "closing double quote"),
        ('"a\\"', "closing double quote"),
        ("${HOME:-'a}", "closing single quote"),
        ("${", "missing '}'"),
        ("${HOME", "missing '}'"),
        ("${HOME:-a", "missing '}'"),
        ("${HOME/a", "missing '/'"),
        ("${HOME//a}", "missing '/'"),
        ("${}", "bad substitution"),
        ("${:-a}", "bad substitution"),
        ("${{x}", "bad substitution"),
        ("${.x}", "bad substitution"),
        ("${HOME:=a}", r"unsupported modifier \(:=\)"),
        ("${HOME^^}", r"unsupported modifier \(\^\)"),
        ("${HOME,,}", r"unsupported modifier \(,\)"),
        ("${HOME:0:1}", r"unsupported modifier \(:0\)"),
        ("${HOME:#a}", r"unsupported modifier \(:#\)"),
        ("${#HOME}", r"unsupported modifier \(H\)"),
        ("${1a}", r"unsupported modifier \(a\)"),
        (r"${HOME#\x}", r"invalid escape"),
        ("${NOPE?}", "NOPE: is not allowed to be unset"),
        ("${NOPE:?}", "NOPE: is not allowed to be unset"),
        ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
        ("${EMPTY:?say $HOME}", "EMPTY: say /root"),
        ("${A:-" * 100 + "}" * 100, "nested too deeply"),
    ],
)
def test_bad_words(text: str, message: str) -> None:
    with pytest.raises(DockerfileError, match=message) as caught:
        expand(text, ENV)
    assert caught.value.span is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b", ["a", "b"]),
        ("  a\tb  ", ["a", "b"]),
        ("'a b' c", ["a b", "c"]),
        (r"a\ b c", ["a b", "c"]),
        ("$BLANKS", ["a", "b"]),
        ("x${BLANKS}y", ["x", "a", "b", "y"]),
        ('"$BLANKS"', [" a  b "]),
        ("${NOPE:-a b}", ["a", "b"]),
        ("''", []),
        ("'' a \"\"", ["a"]),
        ("$EMPTY", []),
        ("a''b", ["ab"]),
        ("a\u00a0b", ["a", "b"]),
    ],
)
def test_words_are_split_after_expansion(text: str, words: list[str]) -> None:
    assert expand_words(text, ENV) == words


@pytest.mark.parametrize(
    ("text", "undefined"),
    [
        ("$HOME$NOPE", {"NOPE"}),
        ("$DECLARED", set()),
        ("${A:-$B}", {"A", "B"}),
        ("${HOME:-$B}", set()),
        ("'$A'", set()),
    ],
)
def test_undefined_variables_are_collected(text: str, undefined: set[str]) -> None:
    assert evaluate(parse_word(text), ENV).undefined == undefined
    assert evaluate_words(parse_word(text), ENV).undefined == undefined


def test_variables_lists_every_name() -> None:
    assert variables(parse_word('${A:-"$B"}${C/$D/$E}')) == {"A", "B", "C", "D", "E"}


def test_unset_references_can_be_kept() -> None:
    word = parse_word("$A ${B} ${C:-x} $HOME '$D'")
    assert evaluate(word, ENV, keep_unset=True).value == "$A ${B} ${C:-x} /root $D"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a`$HOME", "a$HOME"),
        ("C:\\x\\$HOME", "C:\\x\\/root"),
        ('"a`"b"', 'a"b'),
        ('"a\\b"', "a\\b"),
        ("${NOPE:-`}}", "}"),
        ("a``b", "a`b"),
    ],
)
def test_the_escape_character_can_be_a_backtick(text: str, expected: str) -> None:
    assert expand(text, ENV, escape="`") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'$HOME' \"x\" it's\n", "'/root' \"x\" it's\n"),
        ("\\$HOME \\\\ \\x", "$HOME \\ x"),
        ("${NOPE:-'a'}", "'a'"),
        ("a\\", "a"),
        ("${PATHS//'/x}$", "/usr/lib/x.tar.gz$"),
    ],
)
def test_in_a_heredoc_body_quotes_are_ordinary(text: str, expected: str) -> None:
    assert evaluate(parse_body(text), ENV).value == expected


def test_a_bad_word_fails_only_when_it_is_expanded() -> None:
    word = parse_word("'x")
    assert word.problem
    assert not word.is_plain
    with pytest.raises(DockerfileError):
        evaluate_words(word, {})


def test_trees() -> None:
    assert parse_word("ab") == plain("ab")
    assert parse_word('a"b$C"') == Word('a"b$C"', (Literal("a"), Quoted((Literal("b"), Variable("C", "$C")))))
    assert parse_word("${A%%x}").parts == (Variable("A", "${A%%x}", "%%", (Literal("x"),)),)


def test_a_pattern_takes_no_exponential_time() -> None:
    assert expand("${V#" + "*a" * 60 + "*b}", {"V": "a" * 3000}) == "a" * 3000


def test_plain_words_never_load_lark() -> None:
    code = (
        "import sys; from builder.dockerfile.parser import parse; "
        "parse(b'ARG A=b\\nFROM scratch\\nCOPY a b /c\\nRUN echo $A\\nENV A=b\\n'); "
        "sys.exit('lark' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Ignore files and pattern lists."""

from __future__ import annotations

import pytest

from builder.context.gomatch import PatternError
from builder.context.ignore import IgnoreRules, Patterns, read_lines
from builder.errors import ContextError


def _lines(text: str) -> list[str]:
    return list(read_lines(text.encode("utf-8", "surrogateescape")))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("\ufeffbom\n", ["bom"]),
        ("# comment\n #pattern\n#\n", ["#pattern"]),
        ("  padded\t \r\n\u00a0nbsp\u00a0\n", ["padded", "nbsp"]),
        ("/rooted\nfoo/\n./dot\na/../b\n//x\n", ["rooted", "foo", "dot", "b", "x"]),
        ("/\n.\n", ["/", "."]),
        ("!/kept\n! spaced \n!a/\n!!b\n", ["!kept", "!spaced", "!a", "!!b"]),
        ("no newline at end", ["no newline at end"]),
        ("sep\u2028arated\x0bby\n", ["sep\u2028arated\x0bby"]),
        ("\udcff*\n", ["\udcff*"]),
        ("\x1ckept\n", ["\x1ckept"]),
    ],
)
def test_the_file_is_read_as_documented(text: str, expected: list[str]) -> None:
    assert _lines(text) == expected


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("foo", "foo"),
        ("foo", "foo/bar/baz"),
        ("foo/bar", "foo/bar/x"),
        ("*", "x"),
        ("*", "x/y/z"),
        ("*.go", "a.go"),
        ("*/tmp", "a/tmp"),
        ("**", "x/y"),
        ("**/x", "x"),
        ("**/x", "a/b/x"),
        ("**/x", "a/x/y"),
        ("**x", "ax"),
        ("**x", "a/bx"),
        ("**/*.pyc", "a.pyc"),
        ("**/*.pyc", "a/b/.pyc"),
        ("**/*.pyc", "a.pyc/b"),
        ("**/a*", "x/y/ab"),
        ("a/**", "a/b"),
        ("a/**", "a/b/c"),
        ("a/**/z", "a/z"),
        ("a/**/z", "a/b/c/z"),
        ("a**", "abc"),
        ("a**z", "az"),
        ("a**z", "ab/z"),
        ("***/a", "x/a"),
        ("**/**/a", "a"),
        ("[a-c]*", "bx"),
        ("[^a]", "b"),
        ("a?c", "abc"),
        ("a\\*c", "a*c"),
        ("a\\bc", "abc"),
        ("a.c", "a.c"),
        ("a+(b)$|{c}", "a+(b)$|{c}"),
        ("é*", "éa"),
        ("a/**/*", "a/b"),
    ],
)
def test_a_pattern_takes(pattern: str, path: str) -> None:
    assert Patterns([pattern]).matches(path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("foo", "bar/foo"),
        ("foo", "foobar"),
        ("*.go", "a/b.go"),
        ("*/tmp", "tmp"),
        ("**/x", "ax"),
        ("**/.x", "a.x"),
        ("a/**", "a"),
        ("a/**", "ab"),
        ("a**z", "abz"),
        ("a?c", "a/c"),
        ("a.c", "abc"),
        (".", "a"),
        ("/", "a"),
        ("../a", "a"),
        ("[^a]", "a"),
        ("[b-a]", "a"),
        ("a\\*c", "abc"),
        ("A", "a"),
        ("", "a"),
    ],
)
def test_a_pattern_leaves(pattern: str, path: str) -> None:
    assert not Patterns([pattern]).matches(path)


@pytest.mark.parametrize(
    ("patterns", "path", "taken"),
    [
        (["*", "!keep"], "keep", False),
        (["*", "!keep"], "keep/below", False),
        (["*", "!keep"], "other", True),
        (["!keep", "*"], "keep", True),
        (["*", "!a", "a/b"], "a/b/c", True),
        (["*", "!a", "a/b"], "a/c", False),
        (["**", "!a/b"], "a/b/c", False),
        (["a/b", "!a"], "a/b", False),  # the exception names a directory above it, and comes last
        (["*.md", "!README*.md", "README-secret.md"], "README-secret.md", True),
        (["*.md", "!README*.md", "README-secret.md"], "README-1.md", False),
        (["ba*", "!bay"], "bay", False),
        (["ba*", "!bay"], "bar", True),
        ([], "a", False),
        (["!a"], "a", False),
    ],
)
def test_the_last_pattern_that_matches_wins(patterns: list[str], path: str, taken: bool) -> None:
    assert Patterns(patterns).matches(path) is taken


@pytest.mark.parametrize("line", ["!", "! ", "[", "[]a]", "[-x]", "a[", "a\\"])
def test_malformed_lines_name_file_and_pattern(line: str) -> None:
    with pytest.raises(ContextError, match=r"^sub/x\.dockerignore: .*pattern"):
        IgnoreRules.parse(f"ok\n{line}\n".encode(), "sub/x.dockerignore")


def test_a_bad_exclude_is_a_pattern_error() -> None:
    with pytest.raises(PatternError):
        Patterns(["a", "[b"])


@pytest.mark.parametrize(
    ("patterns", "directory", "expected"),
    [
        (["*"], "a", False),
        (["*", "!a/b"], "a", True),
        (["*", "!a/b"], "b", False),
        (["*", "!a/b/c"], "a/x", False),
        (["*", "!*/b"], "x", True),
        (["*", "!x*/b"], "y", False),
        (["*", "!**/keep"], "deep/er", True),
        (["*", "!src/**"], "doc", False),
        (["!node_modules/x", "node_modules"], "node_modules", False),
        (["node_modules", "!README"], "node_modules", False),
        (["a", "!a\\/b"], "a", True),
    ],
)
def test_only_exceptions_that_reach_into_a_directory_make_it_walked(
    patterns: list[str], directory: str, expected: bool
) -> None:
    assert Patterns(patterns).matches(directory)
    assert Patterns(patterns).scope(directory).may_change_below(directory) is expected


def test_scopes_agree_with_single_questions() -> None:
    patterns = Patterns(["*", "!a", "a/x", "!a/x/y/*.txt"])
    scope = patterns.scope().enter("a").enter("a/x").enter("a/x/y")
    for name in ("a/x/y/1.txt", "a/x/y/1.bin"):
        assert scope.matches(name) is patterns.matches(name)

"""Go's filepath.Match and filepath.Clean."""

from __future__ import annotations

import pytest

from builder.context.gomatch import PatternError, clean, compile_pattern, has_wildcard, root_relative
from builder.errors import ContextError


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("", ""),
        ("main.c", "main.c"),
        ("*", ""),
        ("*", ".hidden"),
        ("**", "both stars are one"),
        ("*.c", ".c"),
        ("*.c", "a.b.c"),
        ("src/*", "src/main.c"),
        ("*/*", "a/b"),
        ("m*n.*", "main.c"),
        ("m*i*n*c", "main.c"),
        ("?", "é"),
        ("?", "\udcff"),
        ("[a-c]x", "bx"),
        ("[^a-c]x", "dx"),
        ("[^a-c]x", "/x"),  # a negated class matches a slash in Go
        ("[\\]-a]", "^"),
        ("[!a]", "!"),
        ("[[]", "["),
        ("[a^]", "^"),
        ("\\*", "*"),
        ("\\\\", "\\"),
        ("]", "]"),
        ("{a,b}", "{a,b}"),
        ("a[\\-b]", "a-"),
        ("*[z]", "xyz"),
        ("a\nb", "a\nb"),
        ("a*", "a\nb"),
    ],
)
def test_matches(pattern: str, name: str) -> None:
    assert compile_pattern(pattern).match(name)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("", "a"),
        ("main.c", "main_c"),
        ("main.c", "main.c\n"),
        ("*", "a/b"),
        ("**", "a/b"),
        ("*.c", "a/b.c"),
        ("?", ""),
        ("?", "/"),
        ("?", "ab"),
        ("???", "é"),
        ("[a-c]", "d"),
        ("[c-a]", "b"),
        ("[^a]", "a"),
        ("\\*", "x"),
        ("*x*y", "x" * 100),
        ("[!a]", "b"),
    ],
)
def test_does_not_match(pattern: str, name: str) -> None:
    assert not compile_pattern(pattern).match(name)


@pytest.mark.parametrize(
    "pattern", ["[", "[]", "[]a]", "[^", "[a", "[a-", "[a-]", "[-a]", "[^]a]", "a\\", "[\\", "x*[", "[a-b-c]"]
)
def test_malformed_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(PatternError) as caught:
        compile_pattern(pattern)
    assert isinstance(caught.value, ContextError)
    assert caught.value.pattern == pattern


def test_many_stars_take_no_exponential_time() -> None:
    assert not compile_pattern("*a" * 200 + "b").match("a" * 4000)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", "."),
        (".", "."),
        ("/", "/"),
        ("//a", "/a"),
        ("a/", "a"),
        ("a//b/./c/..", "a/b"),
        ("../../a/..", "../.."),
        ("/../a", "/a"),
        ("a/../../b", "../b"),
        ("a/b/../..", "."),
    ],
)
def test_clean(path: str, expected: str) -> None:
    assert clean(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"), [("", ""), ("/", ""), ("../../etc", "etc"), ("/a/./b/", "a/b"), ("a/..", "")]
)
def test_root_relative_never_leaves_the_root(path: str, expected: str) -> None:
    assert root_relative(path) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"), [("a\\*b", False), ("a*b", True), ("a[b", True), ("\\\\?", True), ("a]", False)]
)
def test_has_wildcard(pattern: str, expected: bool) -> None:
    assert has_wildcard(pattern) is expected

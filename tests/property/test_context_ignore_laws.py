"""Ignore matching, and walking by it, against a slow implementation that is plain to see."""

from __future__ import annotations

import itertools
import posixpath
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from builder.context.directory import DirectoryTree
from builder.context.ignore import IgnoreRules, Patterns, _Steps
from builder.context.ignore import _pieces as pieces_of
from tests.support.contexts import paths_of

_NAMES = ("a", "b", "ab", "a.o", "*")
_PATHS = ["/".join(parts) for count in (1, 2, 3) for parts in itertools.product(_NAMES, repeat=count)]
_pieces = st.sampled_from(["a", "b", "ab", "*", "**", "?", "a*", "*b", "*.o", "[ab]", "[^a]", "\\*", "a**", "**b"])
_patterns = st.builds(
    lambda sign, parts: sign + "/".join(parts),
    st.sampled_from(["", "", "!"]),
    st.lists(_pieces, min_size=1, max_size=3),
)


def _slow_match(pattern: str, path: str) -> bool:
    if pattern.startswith("**") and not set(pattern[2:]) & set("*?[]\\"):
        return path.endswith(pattern[2:]) or "/" + path == pattern[2:]

    def fits(at: int, done: int) -> bool:
        if at == len(pattern):
            return done == len(path)
        char = pattern[at]
        if pattern.startswith("**", at):
            return any(fits_end(at + 2, start) for start in _below(path, done))
        if char == "*":
            return fits(at + 1, done) or (done < len(path) and path[done] != "/" and fits(at, done + 1))
        if done == len(path):
            return False
        same, behind = _one(pattern, at, path[done])
        return same and fits(behind, done + 1)

    def fits_end(at: int, done: int) -> bool:
        at += pattern[at : at + 1] == "/"
        return at == len(pattern) or fits(at, done)

    return fits(0, 0)


def _one(pattern: str, at: int, char: str) -> tuple[bool, int]:
    """Compare one character with what stands at ``at``; also return the place behind that."""
    match pattern[at]:
        case "?":
            return char != "/", at + 1
        case "[":
            end = pattern.index("]", at)
            negated = pattern[at + 1] == "^"
            return (char in pattern[at + 1 + negated : end]) != negated, end + 1
        case "\\":
            return char == pattern[at + 1], at + 2
        case plain:
            return char == plain, at + 1


def _below(path: str, done: int) -> list[int]:
    return [done, *(place + 1 for place in range(done, len(path)) if path[place] == "/")]


def _slow_ignored(patterns: list[str], path: str) -> bool:
    parts = path.split("/")
    lineage = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    ignored = False
    for pattern in patterns:
        bare = pattern.removeprefix("!")
        if any(_slow_match(bare, one) for one in lineage):
            ignored = not pattern.startswith("!")
    return ignored


@given(st.lists(_patterns, max_size=5))
@example(["a/b", "!a"])
@example(["**/a*/**/b"])
def test_matching_agrees_with_the_obvious_way(patterns: list[str]) -> None:
    fast = Patterns(patterns)
    for path in _PATHS:
        assert fast.matches(path) is _slow_ignored(patterns, path), path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds all the paths."""
    root = tmp_path_factory.mktemp("ignore")
    for path in _PATHS:
        place = root / path
        if path.count("/") < 2:
            place.mkdir()
        else:
            place.touch()
    return root


@given(st.lists(_patterns, max_size=5))
@example(["*", "!a/b/ab"])
@example(["**", "!**/a.o"])
def test_a_walk_gives_what_is_not_ignored_and_the_directories_above_it(root: Path, patterns: list[str]) -> None:
    kept = {path for path in _PATHS if not _slow_ignored(patterns, path)}
    expected = {""} | kept
    for path in kept:
        while path := posixpath.dirname(path):
            expected.add(path)
    rules = IgnoreRules.parse("\n".join(patterns).encode())
    with DirectoryTree(root, rules) as tree:
        assert paths_of(tree) == sorted(expected, key=lambda path: path.split("/") if path else [])
        for path in _PATHS[::7]:
            assert (tree.lstat(path) is not None) is (path in expected)


@given(st.text("ab/*?", min_size=1, max_size=12), st.text("ab/", max_size=12))
@example("**a*b*a**/b*", "aab/ba/b")
def test_many_wildcards_are_matched_as_few_are(pattern: str, path: str) -> None:
    pieces = pieces_of(pattern)
    expected = re.fullmatch(f"(?s:{''.join(pieces)})", path) is not None
    assert _Steps(pieces).match(path) is expected


def test_many_wildcards_take_no_longer_than_others() -> None:
    """A regular expression would go on until the machine is scrapped."""
    name = "a" * 250
    for pattern in ("*a" * 100 + "b", "**/a" * 50 + "/b", "?*" * 50 + "z", "[a-z]*" * 50 + "0"):
        rules = IgnoreRules.parse(f"{pattern}\n".encode())
        assert not rules.matches(name)
        assert not rules.matches("a/" * 50 + name)

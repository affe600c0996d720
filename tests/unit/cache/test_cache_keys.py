"""Fixed vectors of the key encoder: a change here changes every key there is."""

import enum

import pytest

from builder.cache.keys import Summary, encode, key
from builder.image.digest import Digest


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, b"n"),
        (True, b"t"),
        (False, b"f"),
        (-12, b"i3:-12"),
        ("é", b"s2:\xc3\xa9"),
        ("\udcc3\udca9", b"s6:\xed\xb3\x83\xed\xb2\xa9"),
        (b"\0", b"b1:\0"),
        (("a", ("b",), ()), b"l3:s1:al1:s1:bl0:"),
        ({"b": 1, "a": None}, b"m2:s1:ans1:bi1:1"),
        (Colour.RED, b"s3:red"),
        (("a", Summary(b"12", lambda: iter(()))), b"l2:s1:ah2:12"),
    ],
)
def test_encoding(value, expected):
    assert encode(value) == expected


def test_a_digest_counts_as_its_text():
    digest = Digest.of(b"")
    assert encode(digest) == encode(str(digest))


@pytest.mark.parametrize("value", [1.0, ["a"], {"a"}, object(), ("a", [1]), {"a": 1.5}, {1: "a"}, {b"a": 1}])
def test_what_has_no_canonical_form_is_refused(value):
    with pytest.raises(TypeError):
        encode(value)


def test_a_key_is_the_same_in_every_release():
    assert key("run", 1, {"args": ("make",)}) == "debb1ccae271d1d52a03c368d2acf34b23d72fc519d43761c3101596da4d2f81"

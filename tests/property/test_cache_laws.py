"""Laws of the key encoder and of sealed files."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.cache import sealed
from builder.cache.keys import encode, key
from builder.errors import CacheError

_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=8)  # lone surrogates too
_plain = st.none() | st.booleans() | st.integers() | _text | st.binary(max_size=8)
_values = st.recursive(
    _plain,
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=12,
)


def typed(value):
    """The value with its types made part of it, so that == tells True from 1."""
    match value:
        case tuple():
            return ("tuple", *map(typed, value))
        case Mapping():
            return ("mapping", frozenset((name, typed(item)) for name, item in value.items()))
        case _:
            return (type(value).__name__, value)


@given(_values, _values)
def test_equal_bytes_if_and_only_if_equal_values_of_equal_types(first, second):
    assert (encode(first) == encode(second)) == (typed(first) == typed(second))


@given(st.lists(_values, min_size=2, max_size=4), st.data())
def test_where_one_item_ends_and_the_next_begins_is_part_of_the_key(items, data):
    cut = data.draw(st.integers(1, len(items) - 1))
    flat = tuple(items)
    assert encode(flat) != encode((flat[:cut], flat[cut:]))


@given(st.dictionaries(_text, _values, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_a_mapping_does_not_matter(value, random):
    names = list(value)
    random.shuffle(names)
    assert encode({name: value[name] for name in names}) == encode(value)


@given(_values)
def test_a_key_is_a_safe_file_name_and_knows_kind_and_version(value):
    found = key("run", 1, value)
    assert len(found) == 64
    assert set(found) <= set("0123456789abcdef")
    assert len({found, key("copy", 1, value), key("run", 2, value)}) == 3


@given(_values, _values)
def test_an_encoding_is_never_the_beginning_of_another(first, second):
    a, b = encode(first), encode(second)
    assert a == b or not b.startswith(a)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=64), data=st.data())
def test_no_damage_to_a_sealed_file_goes_unnoticed(tmp_path: Path, body: bytes, data: st.DataObject):
    path = tmp_path / "file"
    whole = sealed.seal("kind", "name", body)
    path.write_bytes(whole)
    assert sealed.read(path, "kind", "name", limit=1000) == body

    at = data.draw(st.integers(0, len(whole) - 1))
    match data.draw(st.sampled_from(["flip", "truncate", "insert", "append", "zero"])):
        case "flip":
            broken = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
        case "truncate":
            broken = whole[:at]
        case "insert":
            broken = whole[:at] + b"x" + whole[at:]
        case "append":
            broken = whole + data.draw(st.binary(min_size=1, max_size=8))
        case _:
            broken = b"\0" * len(whole)  # what some file systems show after a power loss
    path.write_bytes(broken)
    with pytest.raises(CacheError):
        sealed.read(path, "kind", "name", limit=1000)


@given(other=st.sampled_from([("kind", "other"), ("other", "name"), ("kin", "dname")]), body=st.binary(max_size=16))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_under_another_name_or_of_another_kind_is_refused(tmp_path: Path, other: tuple[str, str], body: bytes):
    path = tmp_path / "file"
    path.write_bytes(sealed.seal("kind", "name", body))
    with pytest.raises(CacheError):
        sealed.read(path, *other, limit=1000)

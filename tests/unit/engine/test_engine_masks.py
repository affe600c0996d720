"""Values of secrets in what steps write: hidden wherever writes cut them, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from builder.engine.masks import Masking, Masks


def shown(secrets: list[bytes], *pieces: bytes) -> bytes:
    masks = Masks()
    for one in secrets:
        masks.add(one)
    masking = Masking(masks)
    return b"".join(masking.take(piece) for piece in pieces) + masking.end()


def test_a_value_is_hidden_wherever_it_is_cut() -> None:
    text = b"the token is hunter22hunter22, hunter2 is none"
    for cut in range(len(text)):
        assert shown([b"hunter22\n"], text[:cut], text[cut:]) == b"the token is ******, hunter2 is none"


def test_what_may_be_the_beginning_of_a_value_waits_for_the_rest() -> None:
    masks = Masks()
    masks.add(b"hunter22")
    masking = Masking(masks)
    assert [masking.take(b"pass: hunt"), masking.take(b"er"), masking.take(b"!")] == [b"pass: ", b"", b"hunter!"]


def test_of_two_values_the_longer_one_counts_and_none_hides_the_other() -> None:
    assert shown([b"secret", b"secret-key"], b"secret-key secret") == b"*** ***"
    assert shown([b"abcd", b"cdef"], b"abcdef") == b"***ef"
    assert shown([b"secret", b"token"], b"secre", b"ttoken") == b"******"


def test_each_line_of_a_long_value_is_hidden_and_short_ones_are_not() -> None:
    key = b"-----BEGIN KEY-----\nMIIEvQIBADANBg\r\n}\nabcdefgh\n-----END KEY-----\n"
    assert shown([key], b"  abcdefgh; } MIIEvQIBADANBg") == b"  ***; } ***"


def test_short_values_are_left_alone() -> None:
    assert shown([b"abc", b"", b"\n"], b"abc") == b"abc"


def test_the_password_of_a_proxy_is_hidden() -> None:
    masks = Masks()
    masks.add_url("http://me:p@ssw0rd@proxy.example:3128")
    masks.add_url("http://proxy.example:3128")
    assert masks.values == (b"p@ssw0rd",)
    masks.add_url("http://me:other%40one@proxy.example:3128")
    assert masks.values == (b"other%40one", b"other@one", b"p@ssw0rd")


def test_a_long_line_is_hidden_piece_by_piece() -> None:
    value = bytes(65 + n % 26 for n in range(5000))
    assert value[:40] not in shown([value], b"x" + value[:2500], value[2500:] + b"y")


def test_colours_do_not_show_a_value() -> None:
    """As grep marks what it has found: text is shown without colours, and would be the value again."""
    red, plain = b"\x1b[01;31m\x1b[K", b"\x1b[m\x1b[K"
    text = b"token: " + red + b"hunt" + plain + b"er2" + red + b"2" + plain + b" end"
    for cut in range(len(text)):
        assert b"hunt" not in shown([b"hunter22"], text[:cut], text[cut:]), cut
    assert shown([b"hunter22"], text) == b"token: " + red + b"***" + plain + b" end"
    assert shown([b"hunter22"], b"hun\x1b[1m", b"gry\x1b") == b"hun\x1b[1mgry\x1b"


@given(st.lists(st.text("ab", min_size=4, max_size=6), max_size=3), st.text("abc", max_size=30), st.data())
def test_cutting_changes_nothing(secrets: list[str], text: str, data: st.DataObject) -> None:
    values, whole = [one.encode() for one in secrets], text.encode().replace(b"c", b"\x1b[1m")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    found = shown(values, *pieces)
    assert found == shown(values, whole)
    assert not any(value in found.replace(b"\x1b[1m", b"") for value in values)

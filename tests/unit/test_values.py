"""``builder.values.dataclass`` is the standard library's, as far as this program uses it."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, field, fields, replace
from typing import Any

import pytest

from builder.values import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """Two numbers."""

    x: int
    y: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Many:
    """A default of every kind."""

    name: str
    items: tuple[int, ...] = ()
    extra: Mapping[str, int] = field(default_factory=dict, hash=False)
    note: str = field(default="", compare=False, repr=False)
    length: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "length", len(self.items))


@dataclass(frozen=True, slots=True)
class Empty:
    """Nothing."""


@dataclass(frozen=True, slots=True)
class Own:
    """Methods of its own."""

    value: int

    def __repr__(self) -> str:
        return "mine"

    def __eq__(self, other: object) -> bool:
        return True


def test_values_are_made_and_compared() -> None:
    assert Point(1) == Point(1, 2) == Point(x=1, y=2) != Point(2)
    assert {Point(1), Point(1, 2)} == {Point(1)}
    assert Point(1) != (1, 2)
    assert Empty() == Empty()
    assert hash(Empty()) == hash(Empty())
    assert repr(Point(1)) == "Point(x=1, y=2)"
    made = Many(name="a", items=(1, 2), note="x")
    assert (made.length, made.extra) == (2, {})
    assert made == Many(name="a", items=(1, 2), note="y")
    assert hash(made) == hash(Many(name="a", items=(1, 2), extra={}))
    assert repr(made) == "Many(name='a', items=(1, 2), extra={}, length=2)"
    assert Many(name="a").extra is not Many(name="a").extra


def test_values_do_not_change() -> None:
    point: Any = Point(1)
    for name in ("x", "new"):
        with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
            setattr(point, name, 3)
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'x'"):
        del point.x
    assert not hasattr(point, "__dict__")
    assert point == Point(1)


def test_arguments_are_checked() -> None:
    make: Any = Point
    for arguments in ((), (1, 2, 3)):
        with pytest.raises(TypeError):
            make(*arguments)
    make = Many
    with pytest.raises(TypeError):
        make("a")
    with pytest.raises(TypeError):
        make(name="a", length=1)


def test_the_tools_of_the_standard_library_work() -> None:
    assert replace(Point(1), y=5) == Point(1, 5)
    assert [one.name for one in fields(Many)] == ["name", "items", "extra", "note", "length"]
    assert dataclasses.asdict(Point(1)) == {"x": 1, "y": 2}
    assert pickle.loads(pickle.dumps(Many(name="a", items=(1,)))) == Many(name="a", items=(1,))
    assert list(inspect.signature(Point).parameters) == ["x", "y"]
    match Point(3):
        case Point(x, y=2):
            assert x == 3
        case _:
            pytest.fail("no match")


def test_methods_of_the_class_stay() -> None:
    assert repr(Own(1)) == "mine"
    assert Own(1) == Own(2)
    assert isinstance(hash(Own(1)), int)


def test_a_class_without_words_gets_its_name() -> None:
    @dataclass(frozen=True, slots=True)
    class Silent:
        value: int

    assert Silent.__doc__ == "Silent"
    assert [Silent(one).value for one in (1, 2)] == [1, 2]


def test_other_classes_are_the_standard_librarys() -> None:
    @dataclass(slots=True)
    class Changing:
        value: int = 0
        others: list[int] = field(default_factory=list)

    one = Changing()
    one.value = 3
    assert one == Changing(3)

    @dataclass
    class Plain:
        value: int = 0

    assert Plain(1).__dict__ == {"value": 1}


@pytest.mark.parametrize("kw_only", [False, True])
def test_the_same_class_made_by_both(kw_only: bool) -> None:
    def body() -> type[Any]:
        class Made:
            a: int
            b: str = "x"
            c: tuple[int, ...] = field(default_factory=tuple)

        return Made

    ours: Any = dataclass(frozen=True, slots=True, kw_only=kw_only)(body())
    theirs: Any = dataclasses.dataclass(frozen=True, slots=True, kw_only=kw_only)(body())
    assert repr(ours(a=1)) == repr(theirs(a=1))
    assert hash(ours(a=1, c=(2,))) == hash(theirs(a=1, c=(2,)))
    assert ours.__slots__ == theirs.__slots__
    assert ours.__match_args__ == theirs.__match_args__
    assert str(inspect.signature(ours)).count("*") == str(inspect.signature(theirs)).count("*")

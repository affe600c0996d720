"""``builder.values.dataclass`` is the standard library's, as far as this program uses it."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, fields
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.values import dataclass, field, replace


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
    assert Point(1).__eq__((1, 2)) is NotImplemented
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
    assert replace(Point(1), y=5) == dataclasses.replace(Point(1), y=5) == Point(1, 5)
    assert [one.name for one in fields(Many)] == ["name", "items", "extra", "note", "length"]
    assert dataclasses.asdict(Point(1)) == {"x": 1, "y": 2}
    assert pickle.loads(pickle.dumps(Many(name="a", items=(1,)))) == Many(name="a", items=(1,))
    assert [Point(n) for n in range(20)][7] == Point(7)
    assert list(inspect.signature(Point).parameters) == ["x", "y"]
    assert [(one.type, one.default) for one in fields(Point)] == [("int", dataclasses.MISSING), ("int", 2)]
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


@dataclass(slots=True)
class Changing:
    """What is filled step by step."""

    value: int = 0
    others: list[int] = field(default_factory=list)
    seen: set[int] = field(default_factory=set, init=False)
    kind: ClassVar[str] = "changing"


def test_values_that_change() -> None:
    one = Changing()
    one.value = 3
    one.others.append(1)
    assert one == Changing(3, [1]) != Changing(3)
    assert (one.seen, one.kind, Changing().others) == (set(), "changing", [])
    assert copy.copy(one) == one
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)
    with pytest.raises(ValueError, match="seen is not set by __init__"):
        replace(one, seen={1})


def test_identity_is_equality_without_eq() -> None:
    @dataclass(slots=True, eq=False)
    class Own:
        value: int = 0

    assert Own() != Own()
    assert len({Own(), Own()}) == 2


def test_classes_without_slots_are_refused() -> None:
    with pytest.raises(TypeError, match="without slots"):
        dataclass(slots=False)


_KINDS = st.sampled_from(["plain", "default", "factory", "unseen", "apart"])


@given(st.lists(_KINDS, max_size=7), st.booleans(), st.booleans(), st.data())
def test_the_same_class_made_by_both(kinds: list[str], frozen: bool, kw_only: bool, data: st.DataObject) -> None:
    """Classes of every shape behave as the standard library's, whatever they are called with."""
    if not kw_only:
        kinds.sort(key=lambda kind: kind != "plain")

    def body(field: Any) -> type[Any]:
        defaults: dict[str, Callable[[], dict[str, Any]]] = {
            "default": lambda: {"default": 1},
            "factory": lambda: {"default_factory": list, "hash": False},
            "unseen": lambda: {"default": "x", "repr": False, "compare": False},
            "apart": lambda: {"default": 5, "init": False},
        }
        own: dict[str, Any] = {f"f{n}": field(**defaults[kind]()) for n, kind in enumerate(kinds) if kind in defaults}
        own["__annotations__"] = {f"f{n}": "int" for n in range(len(kinds))}
        return type("Made", (), own)

    ours: Any = dataclass(frozen=frozen, slots=True, kw_only=kw_only)(body(field))
    theirs: Any = dataclasses.dataclass(frozen=frozen, slots=True, kw_only=kw_only)(body(dataclasses.field))
    names = st.sampled_from([f"f{n}" for n in range(len(kinds) + 1)])
    positional = data.draw(st.lists(st.integers(0, 2), max_size=len(kinds) + 1))
    keywords = data.draw(st.dictionaries(names, st.integers(0, 2)))

    def attempt(make: Any) -> tuple[Any, object]:
        try:
            made = make(*positional, **keywords)
        except TypeError as error:
            return None, str(error)
        try:
            number: object = hash(made)
        except TypeError as error:
            number = str(error)
        return made, (repr(made), number, made == make(*positional, **keywords), make.__match_args__, make.__slots__)

    (mine, seen), (other, expected) = attempt(ours), attempt(theirs)
    assert seen == expected
    if mine is not None:
        assert [ours(*positional, **keywords) for _ in range(20)][-1] == mine  # by an __init__ of its own
        assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)
        assert dataclasses.asdict(mine) == dataclasses.asdict(other)

"""``dataclass`` for the frozen, slotted values of this program, much cheaper to define.

Python 3.11's own compiles seven functions for each frozen class, 0.4 ms apiece; with two hundred classes that would be
most of the time in which a build with everything cached is over. Here one function is compiled, for classes that are
used; the rest is shared.
Type checkers see the standard library's decorator, and ``fields``, ``replace`` and ``match`` work as with it. What is
not a frozen class with slots is handed on to it. Not supported: InitVar, and inheriting from such a class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, slots=False, **options):
        """Make a data class, as ``dataclasses.dataclass`` does."""
        if not (frozen and slots):
            return dataclasses.dataclass(cls, frozen=frozen, slots=slots, **options)
        return (lambda given: _value(given, **options)) if cls is None else _value(cls, **options)


def _value(given: type[Any], *, kw_only: bool = False) -> type[Any]:
    own = vars(given)
    explicit = {name for name in ("__eq__", "__repr__", "__hash__") if own.get(name) is not None}
    if not given.__doc__:
        given.__doc__ = given.__name__  # or the standard library would write a signature there, in 3 ms
    # Without methods to write, the standard library compiles nothing.
    made: type[Any] = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)(given)
    members = fields(made)
    methods: dict[str, object] = {
        "__init__": _initializer(made, members),
        "__eq__": _equality(_key([one.name for one in members if one.compare])),
        "__hash__": _hashing(_key([one.name for one in members if (one.compare if one.hash is None else one.hash)])),
        "__repr__": _representation,
        "__setattr__": _refuse_setting,
        "__delattr__": _refuse_deleting,
        "__getstate__": _state,
        "__setstate__": _restore,
    }
    for name, method in methods.items():
        if name not in explicit:
            setattr(made, name, method)
    return made


def _initializer(made: type[Any], members: tuple[Field[Any], ...]) -> Callable[..., None]:
    """Return an ``__init__`` that the first value of the class replaces by a compiled one."""

    def first(self: object, *arguments: object, **keywords: object) -> None:
        made.__init__ = _compile(made, members)
        made.__init__(self, *arguments, **keywords)

    return first


def _compile(made: type[Any], members: tuple[Field[Any], ...]) -> Callable[..., None]:
    """Write ``__init__``, which fills the slots directly: assignment is refused."""
    scope: dict[str, Any] = {"MISSING": MISSING}
    positional: list[str] = []
    keywords: list[str] = []
    lines: list[str] = []
    for one in members:
        scope[f"set_{one.name}"] = getattr(made, one.name).__set__
        scope[f"new_{one.name}"] = one.default_factory
        scope[f"default_{one.name}"] = one.default
        value = one.name if one.init else f"default_{one.name}"
        parameter = one.name
        if one.default_factory is not MISSING:
            value = f"new_{one.name}() if {one.name} is MISSING else {one.name}" if one.init else f"new_{one.name}()"
            parameter = f"{one.name}=MISSING"
        elif one.default is not MISSING:
            parameter = f"{one.name}=default_{one.name}"
        elif not one.init:
            continue
        lines.append(f" set_{one.name}(self, {value})")
        if one.init:
            (keywords if one.kw_only else positional).append(parameter)
    if hasattr(made, "__post_init__"):
        lines.append(" self.__post_init__()")
    parameters = ", ".join(["self", *positional, *(["*", *keywords] if keywords else [])])
    exec(f"def __init__({parameters}):\n" + "\n".join(lines or [" pass"]), scope)
    function: Callable[..., None] = scope["__init__"]
    function.__qualname__ = f"{made.__qualname__}.__init__"
    return function


def _key(names: list[str]) -> Callable[[object], object]:
    """Return what reads the values that count, as a tuple."""
    if len(names) > 1:
        return attrgetter(*names)
    if names:
        read = attrgetter(names[0])
        return lambda value: (read(value),)
    return lambda _: ()


def _equality(key: Callable[[object], object]) -> Callable[[object, object], bool]:
    def equal(self: object, other: object) -> bool:
        return key(self) == key(other) if other.__class__ is self.__class__ else NotImplemented

    return equal


def _hashing(key: Callable[[object], object]) -> Callable[[object], int]:
    def hashed(self: object) -> int:
        return hash(key(self))

    return hashed


def _representation(self: Any) -> str:
    shown = (f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _refuse_setting(_: object, name: str, __: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deleting(_: object, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[object]:
    return [getattr(self, one.name) for one in fields(self)]


def _restore(self: Any, state: list[object]) -> None:
    for one, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, one.name, value)

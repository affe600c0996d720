"""``dataclass`` and its companions for the slotted values of this program, much cheaper to define.

The standard library's import ten modules and compile up to seven functions for each class; with two hundred classes
that would be most of the time in which a build with everything cached is over. Here methods are shared, and a class
with many values makes itself an ``__init__``, from one function per number and kind of its fields.

Type checkers see the standard library's names, and its ``fields``, ``replace`` and ``asdict`` work on these values too.
Every class needs slots; ``inspect`` sees the parameters of one with many values. Not supported: InitVar, KW_ONLY,
order, and inheriting from such a class.
"""

from __future__ import annotations

from operator import attrgetter
from types import FunctionType
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass", "field", "replace", "representation"]

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from dataclasses import dataclass, field, replace
    from types import CodeType
else:

    def dataclass(*, slots, frozen=False, eq=True, kw_only=False):
        """Make a data class with slots, as ``dataclasses.dataclass`` does."""
        if not slots:
            raise TypeError("a data class without slots is the standard library's business")
        return lambda given: _make(given, frozen, eq, kw_only)

    def field(**options):
        """Say more about a field, as ``dataclasses.field`` does."""
        return _Member(**options)

    def replace(value, /, **changes):
        """Return a copy of ``value`` with other fields, as ``dataclasses.replace`` does."""
        for one in value.__members__:
            if one.init:
                changes.setdefault(one.name, getattr(value, one.name))
            elif one.name in changes:
                raise ValueError(f"field {one.name} is not set by __init__")
        return value.__class__(**changes)


class _Missing:
    """Stands for what was not given."""


_MISSING = _Missing()


class _Member:
    """What ``field`` said of a field, in the words of ``dataclasses.Field``."""

    __slots__ = ("compare", "default", "default_factory", "hash", "init", "kind", "kw_only", "name", "repr")

    def __init__(
        self,
        *,
        default: object = _MISSING,
        default_factory: Callable[[], object] | None = None,
        init: bool = True,
        repr: bool = True,  # noqa: A002  the names of the standard library
        hash: bool | None = None,  # noqa: A002
        compare: bool = True,
    ) -> None:
        self.name = ""
        self.kind = ""
        self.default = default
        self.default_factory = default_factory
        self.init = init
        self.repr = repr
        self.hash = compare if hash is None else hash
        self.compare = compare
        self.kw_only = False

    @property
    def optional(self) -> bool:
        return self.default is not _MISSING or self.default_factory is not None


def _make(given: type[Any], frozen: bool, eq: bool, kw_only: bool) -> type[Any]:
    own = dict(vars(given))
    members = _members(own, kw_only)
    for unwanted in ("__dict__", "__weakref__", *(one.name for one in members)):
        own.pop(unwanted, None)
    own["__slots__"] = tuple(one.name for one in members)
    own["__match_args__"] = tuple(one.name for one in members if one.init and not one.kw_only)
    own["__members__"] = members
    own["__dataclass_fields__"] = _FIELDS
    own.setdefault("__repr__", representation)
    if eq:
        # The body of a class with __eq__ and no __hash__ leaves a None there.
        if "__eq__" not in own:
            own["__eq__"] = _equality(_key([one.name for one in members if one.compare]))
        if own.get("__hash__") is None:
            own["__hash__"] = _hashing(_key([one.name for one in members if one.hash])) if frozen else None
    if frozen:
        own |= _FROZEN
    own["__qualname__"] = given.__qualname__
    metaclass: Callable[..., type[Any]] = type(given)
    made = metaclass(given.__name__, given.__bases__, own)
    made.__init__ = _initializer(made, members)
    if not made.__doc__:
        made.__doc__ = made.__name__
    return made


def _members(own: dict[str, Any], kw_only: bool) -> tuple[_Member, ...]:
    members = []
    for name, kind in own.get("__annotations__", {}).items():
        if kind.startswith("ClassVar["):
            continue
        default = own.get(name, _MISSING)
        member = default if isinstance(default, _Member) else _Member(default=default)
        member.name, member.kind, member.kw_only = name, kind, kw_only
        members.append(member)
    return tuple(members)


def _initializer(made: type[Any], members: tuple[_Member, ...]) -> Callable[..., None]:
    """Return an ``__init__`` for a few values, which is then replaced by one that is fast and takes long to make."""
    left = _FEW

    def few(self: Any, *arguments: object, **keywords: object) -> None:
        nonlocal left
        left -= 1
        if left < 0 or not _fill(self, members, arguments, keywords):
            made.__init__ = _write(made, members)
            made.__init__(self, *arguments, **keywords)
        elif hasattr(made, "__post_init__"):
            self.__post_init__()

    return few


_FEW = 16
"""From about so many values of a class on, making its own ``__init__`` takes less time than to do without."""


def _fill(self: object, members: tuple[_Member, ...], arguments: Sequence[object], keywords: dict[str, object]) -> bool:
    """Set all fields and return True; False if these are not the parameters, which ``__init__`` then says better."""
    placed = named = 0
    for one in members:
        if one.init and placed < len(arguments) and not one.kw_only:
            value = arguments[placed]
            placed += 1
        elif one.init and one.name in keywords:
            value = keywords[one.name]
            named += 1
        elif one.default_factory is not None:
            value = one.default_factory()
        elif one.default is not _MISSING:
            value = one.default
        elif one.init:
            return False
        else:
            continue
        object.__setattr__(self, one.name, value)
    return placed == len(arguments) and named == len(keywords)


_CODES: dict[tuple[Any, ...], CodeType] = {}
"""One ``__init__`` for each shape of a class; only names and defaults differ between classes of the same shape."""


def _write(made: type[Any], members: tuple[_Member, ...]) -> Callable[..., None]:
    """Make ``__init__``, which fills the slots directly: assignment may be refused."""
    given = [one for one in members if one.init]
    absent = [one for one in members if not one.init and one.optional]
    keywords = bool(given) and given[0].kw_only
    after = hasattr(made, "__post_init__")
    factories = tuple(one.default_factory is not None for one in (*given, *absent))
    shape = (len(given), keywords, factories, after)
    code = _CODES.get(shape)
    if code is None:
        code = _CODES[shape] = _compile(*shape)
    scope: dict[str, Any] = {"MISSING": _MISSING}
    for number, one in enumerate((*given, *absent)):
        scope[f"s{number}"] = vars(made)[one.name].__set__
        scope[f"d{number}"] = one.default if one.default_factory is None else one.default_factory
    names = tuple(one.name for one in given)
    function = FunctionType(code.replace(co_varnames=("self", *names)), scope, "__init__")
    # A factory's parameter has a default that nobody can give.
    defaults = {one.name: one.default for one in given if one.optional}
    if keywords:
        function.__kwdefaults__ = defaults
    else:
        function.__defaults__ = tuple(defaults.values())
    function.__qualname__ = f"{made.__qualname__}.__init__"
    return function


def _compile(given: int, keywords: bool, factories: Sequence[bool], after: bool) -> CodeType:
    lines = []
    for number, made in enumerate(factories):
        value = f"d{number}()" if made else f"d{number}"
        if number < given:
            value = f"{value} if a{number} is MISSING else a{number}" if made else f"a{number}"
        lines.append(f" s{number}(self, {value})")
    if after:
        lines.append(" self.__post_init__()")
    parameters = ", ".join(["self", *(["*"] if keywords else []), *(f"a{number}" for number in range(given))])
    scope: dict[str, Any] = {}
    exec(f"def __init__({parameters}):\n" + "\n".join(lines or [" pass"]), scope)
    code: CodeType = scope["__init__"].__code__
    return code


class _Fields:
    """``__dataclass_fields__`` of every class, made when the standard library asks for it."""

    def __get__(self, _: object, owner: type[Any]) -> dict[str, Any]:
        import dataclasses

        made: dict[str, Any] = {}
        for one in owner.__members__:
            default: Any = dataclasses.MISSING if one.default is _MISSING else one.default
            factory = one.default_factory or dataclasses.MISSING
            told = dataclasses.field(
                **({"default": default} if one.default_factory is None else {"default_factory": factory}),
                init=one.init,
                repr=one.repr,
                hash=one.hash,
                compare=one.compare,
                kw_only=one.kw_only,
            )
            told.name, told.type = one.name, one.kind
            told._field_type = dataclasses._FIELD  # type: ignore[attr-defined]  # what marks a field
            made[one.name] = told
        return made


_FIELDS = _Fields()


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


def representation(self: Any) -> str:
    """Return what ``repr`` says of a value, but of fields that are not for it."""
    shown = (f"{one.name}={getattr(self, one.name)!r}" for one in self.__members__ if one.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _refuse_setting(_: object, name: str, __: object) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deleting(_: object, name: str) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[object]:
    return [getattr(self, one.name) for one in self.__members__]


def _restore(self: Any, state: list[object]) -> None:
    for one, value in zip(self.__members__, state, strict=True):
        object.__setattr__(self, one.name, value)


_FROZEN = {
    "__setattr__": _refuse_setting,
    "__delattr__": _refuse_deleting,
    "__getstate__": _state,
    "__setstate__": _restore,
}

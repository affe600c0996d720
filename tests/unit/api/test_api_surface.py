"""What programs may rely on: every exported name, its parameters and fields, as testdata/goldens/api.txt has them."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import builder
from builder import events
from builder.errors import BuilderError

CHECKOUT = Path(__file__).resolve().parents[3]
GOLDEN = CHECKOUT / "testdata/goldens/api.txt"
EVENTS = sorted(
    name for name, value in vars(events).items() if inspect.isclass(value) and value.__module__ == events.__name__
)


def _fields(value: type) -> Iterator[str]:
    for one in dataclasses.fields(value):
        optional = one.default is not dataclasses.MISSING or one.default_factory is not dataclasses.MISSING
        yield f"  {one.name}: {one.type}{' = ...' if optional else ''}{' (keyword)' if one.kw_only else ''}"


def _members(value: type) -> Iterator[str]:
    own = {} if issubclass(value, Exception) and value.__module__ == "builtins" else vars(value)
    names = {one.name for one in dataclasses.fields(value)} if dataclasses.is_dataclass(value) else set()
    for name, member in sorted(own.items()):
        if name.startswith("_") or name in names:
            continue
        if isinstance(member, property):
            yield f"  {name}: {inspect.signature(member.fget).return_annotation}" if member.fget else f"  {name}"
        elif isinstance(member, classmethod):
            yield f"  classmethod {name}{inspect.signature(member.__func__)}"
        elif inspect.isfunction(member):
            yield f"  {name}{inspect.signature(member)}"


def _described(name: str, value: object) -> Iterator[str]:
    if inspect.isclass(value) and issubclass(value, BuilderError):
        yield f"{name}({value.__bases__[0].__name__}): exit_code {value.exit_code}, retryable {value.retryable}"
    elif inspect.isclass(value):
        yield name
        if dataclasses.is_dataclass(value):
            yield from _fields(value)
        yield from _members(value)
    elif inspect.isfunction(value):
        yield f"{name}{inspect.signature(value)}"
    else:
        yield name


def surface() -> str:
    lines = [line for name in sorted(builder.__all__) for line in _described(name, getattr(builder, name))]
    lines += ["", "builder.events"]
    lines += [line for name in EVENTS for line in _described(name, getattr(events, name))]
    return "\n".join(lines) + "\n"


def test_the_surface_is_what_was_promised(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        GOLDEN.write_text(surface())
    assert surface() == GOLDEN.read_text(), "changes are for docs/releases.md to allow; then: --update-golden"


def test_what_types_say_is_exported_is_exported() -> None:
    text = (CHECKOUT / "builder/__init__.py").read_text()
    typed = {line.rpartition(" as ")[2] for line in text.splitlines() if line.startswith("    from ")}
    assert typed | {"__version__"} == set(builder.__all__)


def test_every_exported_thing_says_what_it_is() -> None:
    assert [
        name
        for name in builder.__all__
        if inspect.isroutine(value := getattr(builder, name)) or inspect.isclass(value)
        if not value.__doc__
    ] == []


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Builder'"):
        getattr(builder, "Builder")  # noqa: B009  a checker would refuse it


def test_importing_the_package_loads_nothing() -> None:
    text = "import sys; before = {*sys.modules}; import builder; dir(builder); print(sorted({*sys.modules} - before))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert done.stdout.strip() == "['builder']"


def test_the_version_needs_no_engine() -> None:
    text = (
        "import sys\nfrom builder.cli.main import main\n"
        "try:\n main(['--version'])\nexcept SystemExit:\n print([one for one in sys.modules if 'engine' in one])\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert done.stdout.splitlines()[-1] == "[]"

"""One file's tables about builds, as texts with the place of each: what is wrong with a field is said with its path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from builder.cli.config import confine
from builder.cli.config.keys import BY_NAME, KEYS, NOT_KEYS, Key, called_here
from builder.cli.config.paths import beside, joined, map_paths
from builder.errors import UsageError
from builder.patterns import pattern
from builder.settings import OF_BUILDS, Project, Table, read_table
from builder.values import dataclass, field

Level = Literal["system", "user", "project", "--config", "environment", "command line"]

TARGET = pattern(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
"""Names of targets and groups."""

_OF_TARGETS = ("inherits", "description")
_COMPAT = "say it in the project's file, with --compat or $PYBUILD_COMPAT"


@dataclass(frozen=True, slots=True)
class Entry:
    """A value as the option has it, one of a list's, and where it stands. Flags are ``true`` and ``false``."""

    text: str
    place: str
    level: Level


Section = Mapping[str, tuple[Entry, ...]]
"""Values by the names of keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """``[target.NAME]``; what is in ``inherits`` counts first and is overridden."""

    place: str
    values: Section
    inherits: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What one file says of builds."""

    file: Path
    level: Level
    build: Section = field(default_factory=dict)
    targets: Mapping[str, Target] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def trusted(self) -> bool:
        """Whether it is no project's."""
        return self.level != "project"


def read_source(file: Path, level: Level, project: Project | None = None) -> Source:
    """Read a file; with ``project`` it is that one's, and may say less. Raises UsageError."""
    if project is not None:
        confine.refuse_file(project)
    root = read_table(file)
    if project is not None:
        confine.refuse_tables(root, project)
        root.allow(*OF_BUILDS)
    reading = _Reading(level, project, file)
    targets, groups = root.table("target"), root.table("group")
    for table in (targets, groups):
        for name in table.names():
            if not TARGET.match(name):
                raise table.wrong(name, "a name has letters, digits and _ . -, and does not begin with . or -")
    for name in groups.names():
        if targets.value(name) is not None:
            raise groups.wrong(name, "there is a target of this name")
    return Source(
        file=file,
        level=level,
        build=reading.section(root.table("build")),
        targets={name: reading.target(targets.table(name)) for name in targets.names()},
        groups={name: groups.texts(name) for name in groups.names()},
    )


class _Reading:
    """How the values of one file are read."""

    def __init__(self, level: Level, project: Project | None, file: Path) -> None:
        self._level = level
        self._project = project
        self._beside = beside(str(file.parent))

    def target(self, table: Table) -> Target:
        return Target(
            place=table.place(""),
            values=self.section(table, *_OF_TARGETS),
            inherits=table.texts("inherits"),
            description=table.text("description"),
        )

    def section(self, table: Table, *more: str) -> dict[str, tuple[Entry, ...]]:
        found = {}
        for name in table.names():
            if name in more:
                continue
            key = BY_NAME.get(name)
            if key is None:
                raise _unknown(table, name, more)
            if name == "compat" and self._level in ("user", "system"):
                raise table.wrong(name, "the level is not for a user's or a machine's file", _COMPAT)
            texts = _texts(table, key)
            if self._project is not None:
                confine.refuse(key, texts, table.place(name), self._project)
            found[name] = tuple(Entry(map_paths(name, text, self._beside), place, self._level) for text, place in texts)
        return found


def _unknown(table: Table, name: str, more: tuple[str, ...]) -> UsageError:
    meant = called_here(name)
    if meant:
        return table.wrong(name, "there is no such setting", f"it is called {meant} here")
    why = NOT_KEYS.get(name.replace("-", "_"))
    if why is not None and "password" in why:
        return table.wrong(name, why, "use pybuild login, or $PYBUILD_CREDS")
    from builder.dockerfile.suggest import nearest

    known = (*more, *(one.name for one in KEYS))
    close = nearest(name, known)
    return table.wrong(
        name, "there is no such setting", f"did you mean {close}?" if close else "pybuild config schema lists them"
    )


def _texts(table: Table, key: Key) -> list[tuple[str, str]]:
    """Return what a field says, in the option's words, each with its place."""
    value, place = table.value(key.name), table.place(key.name)
    if key.kind == "flag":
        return [("true" if table.flag(key.name) else "false", place)]
    if key.kind == "pairs" and isinstance(value, dict):
        return _pairs(table.table(key.name), key)
    if key.kind == "attributes":
        return _attributes(table, key)
    if key.listed:
        what = "a table of texts, or a list of NAME=VALUE" if key.kind == "pairs" else "a text or a list of them"
        if not isinstance(value, str | list):
            raise table.wrong(key.name, f"expected {what}")
        texts = table.texts(key.name)
        return [(text, table.place(f"{key.name}[{number}]")) for number, text in enumerate(texts)]
    if key.kind == "number" and isinstance(value, int | float) and not isinstance(value, bool):
        return [(str(value), place)]
    text = table.text(key.name)
    if key.choices and text not in key.choices:
        from builder.dockerfile.suggest import did_you_mean

        close = did_you_mean(text, key.choices)
        raise table.wrong(key.name, f"expected one of {', '.join(key.choices)}, not {text!r}{close}")
    return [(text, place)]


def _pairs(table: Table, key: Key) -> list[tuple[str, str]]:
    found = []
    for name in table.names():
        value = table.value(name)
        if isinstance(value, bool | int | float):
            raise table.wrong(name, "expected a text", f'put the value in quotes: {name} = "{_shown(value)}"')
        if not isinstance(value, str) or not name or "=" in name:
            raise table.wrong(name, "expected a name without = and a text")
        if not value and key.name == "contexts":
            raise table.wrong(name, "say where it is")
        found.append((f"{name}={value}", table.place(name)))
    return found


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _attributes(table: Table, key: Key) -> list[tuple[str, str]]:
    value = table.value(key.name)
    if isinstance(value, dict) and value:
        alone = table.table(key.name)
        return [(_joined(alone, key, "", value), alone.place(""))]
    found = []
    for number, one in enumerate(value if isinstance(value, list) else [value]):
        name = f"{key.name}[{number}]" if isinstance(value, list) else key.name
        if isinstance(one, str) and one:
            found.append((one, table.place(name)))
        elif isinstance(one, dict) and one:
            found.append((_joined(table, key, f"{name}.", one), table.place(name)))
        else:
            raise table.wrong(name, "expected a table, a text, or a list of these")
    return found


def _joined(table: Table, key: Key, prefix: str, fields: Mapping[str, object]) -> str:
    words = []
    for name, value in fields.items():
        if not isinstance(value, str | bool | int) or not name or any(bad in name for bad in '=," \n'):
            raise table.wrong(f"{prefix}{name}", "expected a text, a number, true or false")
        text = value if isinstance(value, str) else _shown(value)
        if key.name != "outputs" and "," in text:
            raise table.wrong(f"{prefix}{name}", "commas separate attributes, so a value has none")
        words.append(f"{name}={text}")
    return joined(words) if key.name == "outputs" else ",".join(words)

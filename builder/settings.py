"""The settings files: ``pybuild.toml`` of the user and of the machine, read into values with every field checked.

Registries and the store are never read from a file of a project: whoever may change a project must not be able to say
where its images come from. What such a file may say of builds, and where it is, is here and in ``builder.cli.config``.
What the words of a field mean is the business of who uses it; ``Registry.place`` names a field for that one's errors.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from builder.errors import UsageError
from builder.patterns import pattern
from builder.values import dataclass, field

FILE_LIMIT = 1 << 20
"""Bytes of a settings file."""

NAME = "pybuild.toml"
SHARED = "pyproject.toml"
"""A file of many programs, in which ours is the table ``tool.pybuild``."""

OF_BUILDS = ("build", "target", "group")
"""The tables about builds, which ``builder.cli.config`` reads."""

_MARKS = (b"[tool.pybuild]", b"[tool.pybuild.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """A table ``[registry."HOST"]``. ``client`` is a certificate and its key; ``place`` is where the table stands."""

    mirrors: tuple[str, ...] = ()
    insecure: bool = False
    authorities: tuple[Path, ...] = ()
    client: tuple[Path, Path] | None = None
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSettings:
    """An entry of ``map`` in ``[registries]``: what is read from ``targets`` instead."""

    targets: tuple[str, ...]
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Registries by host, maps by what they replace, and how large the store may become, with the field's place."""

    registries: Mapping[str, RegistrySettings] = field(default_factory=dict, hash=False)
    maps: Mapping[str, MapSettings] = field(default_factory=dict, hash=False)
    store_size: tuple[str, str] | None = None
    store_root: Path | None = None
    store_ro: Path | None = None


@dataclass(frozen=True, slots=True)
class Project:
    """The file of a project, and the directory that is the project: its repository, or what the file lies in.

    ``stranger`` is the uid of the file's owner if that is neither this user, root nor whose the build context is.
    """

    file: Path
    root: Path
    stranger: int | None = None


def find_project(start: str) -> Project | None:
    """Return the nearest project's file at ``start`` or above it, up to the repository's root.

    Without a repository it is not looked for above the current directory, nor above ``start`` where that is elsewhere.
    """
    try:
        first = directory = os.path.realpath(start)
        here = os.path.realpath(".")
    except OSError:  # the current directory is gone
        return None
    found = ""
    while True:
        found = found or _project_file(directory)
        if os.path.lexists(f"{directory}/.git"):
            return _project(found, directory, first) if found else None
        above = os.path.dirname(directory)
        if above == directory:
            break
        directory = above
    folder = os.path.dirname(found)
    if found and (folder == first or (is_within(first, here) and is_within(folder, here))):
        return _project(found, folder, first)
    return None


def _project(file: str, root: str, start: str) -> Project:
    known = {os.geteuid(), 0}
    owners = set()
    with contextlib.suppress(OSError):  # who cannot be asked now is named when the file is read
        known.add(os.stat(start).st_uid)
        owners |= {os.lstat(file).st_uid, os.stat(file).st_uid}
    return Project(Path(file), Path(root), next(iter(owners - known), None))


def is_within(path: str, folder: str) -> bool:
    """Say whether a real path is a folder's or below it."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def _project_file(directory: str) -> str:
    path = f"{directory}/{NAME}"
    if os.path.lexists(path):
        return path
    path = f"{directory}/{SHARED}"
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return ""
        with open(path, "rb") as stream:
            raw = stream.read(FILE_LIMIT + 1)
    except OSError:
        return ""
    return path if any(one in raw for one in _MARKS) else ""


def settings_files(named: str | None, environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the files to read, the one that counts most first: one that was named alone, or those that exist."""
    named = named or environment.get("PYBUILD_CONFIG")
    if named:
        return (Path(named),)
    config = environment.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(config):
        config = f"{environment.get('HOME', '')}/.config"
    files = [f"{config}/pybuild/pybuild.toml"] if os.path.isabs(config) else []
    return tuple(Path(one) for one in (*files, "/etc/pybuild/pybuild.toml") if os.path.lexists(one))


def read_settings(files: Iterable[Path]) -> Settings:
    """Read files, earlier ones first: of a host or map that several have, the first one's is taken whole.

    Raises UsageError with the file and the path of the field that is wrong.
    """
    registries: dict[str, RegistrySettings] = {}
    maps: dict[str, MapSettings] = {}
    size: tuple[str, str] | None = None
    root: Path | None = None
    second: Path | None = None
    for one in files:
        found = parse_settings(_contents(one), one)
        registries = {**found.registries, **registries}
        maps = {**found.maps, **maps}
        size = size or found.store_size
        root = root or found.store_root
        second = second or found.store_ro
    return Settings(registries=registries, maps=maps, store_size=size, store_root=root, store_ro=second)


def chosen_store(
    given: str | os.PathLike[str] | None, environment: Mapping[str, str], settings: Settings
) -> str | os.PathLike[str] | None:
    """Return the store that was given, or that files name where no variable does; None for the usual one."""
    return given or (None if environment.get("PYBUILD_ROOT") else settings.store_root)


def parse_settings(raw: bytes, path: Path) -> Settings:
    """Read one file; relative names of files in it are beside it. Raises UsageError."""
    root = parse_table(raw, path)
    root.allow("registry", "registries", "store", *OF_BUILDS)
    hosts = root.table("registry")
    registries = {host: _registry(hosts.table(host)) for host in hosts.names()}
    general = root.table("registries")
    general.allow("map")
    maps = general.table("map")
    store = root.table("store")
    store.allow("root", "read-only", "max-size")
    size, place, second = (store.text(name) for name in ("max-size", "root", "read-only"))
    return Settings(
        registries=registries,
        maps={name: MapSettings(targets=maps.texts(name), place=maps.place(name)) for name in maps.names()},
        store_size=(size, store.place("max-size")) if size else None,
        store_root=store.file(place) if place else None,
        store_ro=store.file(second) if second else None,
    )


def read_table(path: Path) -> Table:
    """Return what a file says, as it is: nothing is checked. Raises UsageError for what is no TOML."""
    return parse_table(_contents(path), path)


def parse_table(raw: bytes, path: Path) -> Table:
    """Return what a file of these bytes says, of a ``pyproject.toml`` our part. Raises UsageError."""
    import tomli

    try:
        text = raw.decode()
        document = tomli.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from error
    root = Table(path, "", document, _lines(text))
    if path.name == SHARED:
        root = root.table("tool").table("pybuild")
    for name in root.names():
        if _has_nul(root.value(name)):
            raise root.wrong(name, "expected texts without NUL characters")
    return root


def _lines(text: str) -> dict[str, int]:
    """Return the lines in which tables and fields begin, by their paths, for errors.

    Only what stands first in its line is found, and what looks like it in a text of several lines.
    """
    found: dict[str, int] = {}
    table: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if match := _FIRST.match(line):
            parts = [_quoted(part.strip("\"'")) for part in _PART.findall(match[2])]
            if match[1]:
                table = parts = parts[:_DEEPEST]
            else:
                parts = [*table, *parts][:_DEEPEST]
            for end in range(1, len(parts) + 1):
                found.setdefault(".".join(parts[:end]), number)
    return found


_DEEPEST = 8
"""Parts of a path that is looked for; those of ours have fewer."""


_NAME_OR_TEXT = r"(?:[A-Za-z0-9_-]++|\"[^\"\n]*+\"|'[^'\n]*+')"
_PART = pattern(_NAME_OR_TEXT)
_FIRST = pattern(rf"[ \t]*+(\[{{0,2}})[ \t]*+({_NAME_OR_TEXT}(?:[ \t]*+\.[ \t]*+{_NAME_OR_TEXT})*+)[ \t]*+[]=]")


def _quoted(name: str) -> str:
    """Return a name as it stands in paths."""
    return name if not name or name.replace("-", "").replace("_", "").isalnum() else f'"{name}"'


def _has_nul(value: object) -> bool:
    """Say whether any text in a value, however deep, has what no argument and no path can have."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text if "\0" in text:
                return True
            case list() as values:
                waiting += values
            case dict() as fields:
                waiting += [*fields, *fields.values()]
    return False


def _registry(table: Table) -> RegistrySettings:
    table.allow("mirrors", "insecure", "ca", "client-cert", "client-key")
    certificate, key = table.text("client-cert"), table.text("client-key")
    if key and not certificate:
        raise table.wrong("client-key", "it needs a client-cert")
    return RegistrySettings(
        mirrors=table.texts("mirrors"),
        insecure=table.flag("insecure"),
        authorities=tuple(table.file(one) for one in table.texts("ca")),
        client=(table.file(certificate), table.file(key or certificate)) if certificate else None,
        place=table.place(""),
    )


class Table:
    """A table of the file; ``path`` is how it is written there. What is of the wrong kind raises UsageError."""

    def __init__(
        self, file: Path, path: str, fields: Mapping[str, object], lines: Mapping[str, int] | None = None
    ) -> None:
        self._file = file
        self._path = path
        self._fields = fields
        self._lines = lines or {}

    def place(self, name: str) -> str:
        """Return the file with the line, and the path of a field or of the table itself."""
        path = whole = self._join(name)
        while path and path not in self._lines:
            path = path.rpartition("." if not path.endswith("]") else "[")[0]
        line = f":{self._lines[path]}" if path else ""
        return f"{self._file}{line}: {whole}"

    def wrong(self, name: str, problem: str, hint: str | None = None) -> UsageError:
        """Return the error that says what is wrong with a field."""
        return UsageError(f"{self.place(name)}: {problem}", hint=hint)

    def names(self) -> Iterator[str]:
        """Yield the names of the fields."""
        return iter(self._fields)

    def value(self, name: str) -> object:
        """Return a field as TOML has it, None if it is not there."""
        return self._fields.get(name)

    def allow(self, *names: str) -> None:
        """Refuse fields that have other names."""
        for name in self._fields:
            if name not in names:
                from difflib import get_close_matches

                close = get_close_matches(name, names, 1)
                hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(names)}"
                raise self.wrong(name, "there is no such setting", hint)

    def table(self, name: str) -> Table:
        """Return a table in this one, an empty one if it is not there."""
        value = self._fields.get(name, {})
        if not isinstance(value, dict):
            raise self.wrong(name, "expected a table")
        return Table(self._file, self._join(name), value, self._lines)

    def text(self, name: str) -> str:
        """Return a text, an empty one only if it is not there."""
        value = self._fields.get(name, "")
        if not isinstance(value, str) or (name in self._fields and not value):
            raise self.wrong(name, "expected a text")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts, or one that stands alone."""
        value = self._fields.get(name, [])
        if isinstance(value, str):
            return (self.text(name),)
        if not isinstance(value, list):
            raise self.wrong(name, "expected a text or a list of them")
        for index, one in enumerate(value):
            if not isinstance(one, str) or not one:
                raise self.wrong(f"{name}[{index}]", "expected a text")
        return tuple(value)

    def flag(self, name: str) -> bool:
        """Return true or false, which it is if it is not there."""
        value = self._fields.get(name, False)
        if not isinstance(value, bool):
            raise self.wrong(name, "expected true or false")
        return value

    def file(self, name: str) -> Path:
        """Return the path of a file or directory that is named relative to this file."""
        return self._file.parent / name

    def _join(self, name: str) -> str:
        bare, bracket, index = name.partition("[")
        return ".".join(part for part in (self._path, f"{_quoted(bare)}{bracket}{index}") if part)


def _contents(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UsageError(f"{path}: it is no file")
        with open(path, "rb") as stream:
            raw = stream.read(FILE_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"cannot read the settings in {path}: {error.strerror}") from error
    if len(raw) > FILE_LIMIT:
        raise UsageError(f"{path}: larger than {FILE_LIMIT} bytes")
    return raw

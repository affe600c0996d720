"""The settings files: ``pybuild.toml`` of the user and of the machine, read into values with every field checked.

Never a file of a project: whoever may change a project must not be able to say where its images come from. What the
words of a field mean is the business of who uses it; ``Registry.place`` names a field for that one's errors.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from builder.errors import UsageError
from builder.values import dataclass, field

FILE_LIMIT = 1 << 20
"""Bytes of a settings file."""


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
    for one in files:
        found = parse_settings(_contents(one), one)
        registries = {**found.registries, **registries}
        maps = {**found.maps, **maps}
        size = size or found.store_size
    return Settings(registries=registries, maps=maps, store_size=size)


def parse_settings(raw: bytes, path: Path) -> Settings:
    """Read one file; relative names of files in it are beside it. Raises UsageError."""
    import tomli

    try:
        document = tomli.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from error
    root = _Table(path, "", document)
    root.allow("registry", "registries", "store")
    hosts = root.table("registry")
    registries = {host: _registry(hosts.table(host)) for host in hosts.names()}
    general = root.table("registries")
    general.allow("map")
    maps = general.table("map")
    store = root.table("store")
    store.allow("max-size")
    size = store.text("max-size")
    return Settings(
        registries=registries,
        maps={name: MapSettings(targets=maps.texts(name), place=maps.place(name)) for name in maps.names()},
        store_size=(size, store.place("max-size")) if size else None,
    )


def _registry(table: _Table) -> RegistrySettings:
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


class _Table:
    """A table of the file; ``path`` is how it is written there."""

    def __init__(self, file: Path, path: str, fields: Mapping[str, object]) -> None:
        self._file = file
        self._path = path
        self._fields = fields

    def place(self, name: str) -> str:
        """Return the file and the path of a field, or of the table itself."""
        return f"{self._file}: {self._join(name)}"

    def wrong(self, name: str, problem: str, hint: str | None = None) -> UsageError:
        return UsageError(f"{self.place(name)}: {problem}", hint=hint)

    def names(self) -> Iterator[str]:
        return iter(self._fields)

    def allow(self, *names: str) -> None:
        for name in self._fields:
            if name not in names:
                from difflib import get_close_matches

                close = get_close_matches(name, names, 1)
                hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(names)}"
                raise self.wrong(name, "there is no such setting", hint)

    def table(self, name: str) -> _Table:
        value = self._fields.get(name, {})
        if not isinstance(value, dict):
            raise self.wrong(name, "expected a table")
        return _Table(self._file, self._join(name), value)

    def text(self, name: str) -> str:
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
        value = self._fields.get(name, False)
        if not isinstance(value, bool):
            raise self.wrong(name, "expected true or false")
        return value

    def file(self, name: str) -> Path:
        return self._file.parent / name

    def _join(self, name: str) -> str:
        bare, bracket, index = name.partition("[")
        if not bare.replace("-", "").replace("_", "").isalnum() and bare:
            name = f'"{bare}"{bracket}{index}'
        return ".".join(part for part in (self._path, name) if part)


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

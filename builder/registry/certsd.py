"""``certs.d`` directories: what Docker, containers and containerd keep of a registry's TLS and mirrors, by host.

``HOST[:PORT]/`` holds either a ``hosts.toml`` or ``*.crt`` files of authorities and ``*.cert`` files of clients with
their ``*.key``. The first directory that knows a host answers for it; files are read when a registry is first needed.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from builder.registry.errors import RegistryError
from builder.registry.hoststoml import Host, HostsFile, parse_hosts
from builder.registry.trust import Trust
from builder.values import replace

FILE_LIMIT = 1 << 20
"""Bytes of a hosts.toml."""

_HUB = ("docker.io", "registry-1.docker.io", "index.docker.io")


def standard_directories(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Return where to look, nearest first: the user's, then the machine's, ours before those of other programs."""
    found: list[Path] = []
    home, config = environment.get("HOME", ""), environment.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(config):
        config = f"{home}/.config"
    if os.path.isabs(config):
        found += [Path(config, name, "certs.d") for name in ("pybuild", "containers", "docker")]
    if os.path.isabs(home):
        found.append(Path(home, ".docker", "certs.d"))
    return (*found, *(Path("/etc", name, "certs.d") for name in ("pybuild", "containers", "docker", "containerd")))


class CertificateDirectories:
    """Looks hosts up in ``directories``; thread-safe, each host is read once."""

    def __init__(self, directories: Sequence[Path] = ()) -> None:
        self._directories = tuple(directories)
        self._lock = threading.Lock()
        self._known: dict[str, HostsFile | None] = {}

    def find(self, host: str) -> HostsFile | None:
        """Return what is kept of ``host[:port]``, or under ``_default``. Raises RegistryError naming a bad file."""
        with self._lock:
            if host not in self._known:
                self._known[host] = self._search(host)
            return self._known[host]

    def _search(self, host: str) -> HostsFile | None:
        for names in (tuple(_names(host)), ("_default",)):
            for directory in self._directories:
                for name in names:
                    found = _read(directory / name)
                    if found is not None:
                        return replace(found, everybodys=name == "_default")
        return None


def _names(host: str) -> Iterator[str]:
    for name in _HUB if host in _HUB else (host,):
        if "/" in name or name in ("", ".", "..", "_default"):
            continue
        yield name
        bare, colon, port = name.rpartition(":")
        if colon and bare:
            # containerd's spelling for file systems without colons.
            yield f"{bare}_{port}_"


def _read(directory: Path) -> HostsFile | None:
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        # Not there, or not for us to look into.
        return None
    if "hosts.toml" in names:
        path = directory / "hosts.toml"
        return parse_hosts(_contents(path), path)
    trust = _trust(directory, names)
    return HostsFile(Host(address=None, trust=trust)) if trust is not None else None


def _trust(directory: Path, names: Sequence[str]) -> Trust | None:
    clients = []
    for name in names:
        stem, dot, kind = name.rpartition(".")
        if dot and kind == "cert":
            if f"{stem}.key" not in names:
                raise RegistryError(f"{directory / name} has no key beside it", hint=f"its key is named {stem}.key")
            clients.append((directory / name, directory / f"{stem}.key"))
        elif dot and kind == "key" and f"{stem}.cert" not in names:
            raise RegistryError(
                f"{directory / name} has no certificate beside it",
                hint=f"the client's certificate is named {stem}.cert; *.crt files are authorities",
            )
    authorities = tuple(directory / name for name in names if name.endswith(".crt"))
    return Trust(authorities=authorities, clients=tuple(clients)) if authorities or clients else None


def _contents(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise RegistryError(f"{path} is no file")
        with open(path, "rb") as stream:
            raw = stream.read(FILE_LIMIT + 1)
    except OSError as error:
        raise RegistryError(f"cannot read {path}: {error.strerror}") from error
    if len(raw) > FILE_LIMIT:
        raise RegistryError(f"{path} is larger than {FILE_LIMIT} bytes")
    return raw

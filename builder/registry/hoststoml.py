"""containerd's ``hosts.toml``: which servers may answer for a registry, in which order, and how to reach each.

The format is containerd's ("Registry Configuration", docs/hosts.md); fields it has and we do not use are left alone.
Finding the file is ``certsd``'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from builder.registry.errors import RegistryError
from builder.registry.hosts import Address, parse_address
from builder.registry.trust import SYSTEM, Trust
from builder.values import dataclass, field

_CAPABILITIES: Final = frozenset({"pull", "resolve", "push"})
_HOST_LIMIT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A server of the file; ``root`` is where its API begins, ``address`` None in the part about the registry itself.

    ``headers`` go with every request to it; they may be secret.
    """

    address: Address | None
    root: str = "/v2"
    capabilities: frozenset[str] = _CAPABILITIES
    pushes: bool = False
    trust: Trust = SYSTEM
    headers: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)


@dataclass(frozen=True, slots=True)
class HostsFile:
    """``hosts`` are tried in their order, ``server`` at last. ``everybodys`` is one that speaks of no host itself."""

    server: Host
    hosts: tuple[Host, ...] = ()
    everybodys: bool = False


def parse_hosts(raw: bytes, path: Path) -> HostsFile:
    """Read a file; relative names in it are beside it. Raises RegistryError with the file and the bad field."""
    import tomli

    try:
        document = tomli.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise RegistryError(f"{path} is not TOML: {error}") from error
    reader = _Reader(path)
    server = document.get("server", "")
    if not isinstance(server, str):
        raise reader.wrong("server", "a URL")
    hosts = document.get("host", {})
    if not isinstance(hosts, dict) or len(hosts) > _HOST_LIMIT:
        raise reader.wrong("host", f"tables, at most {_HOST_LIMIT}")
    return HostsFile(
        reader.host("", server, document),
        tuple(reader.host(f'host."{url}".', url, fields) for url, fields in hosts.items()),
    )


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path

    def wrong(self, where: str, expected: str) -> RegistryError:
        return RegistryError(f"{self._path}: {where.rstrip('.')}: expected {expected}")

    def host(self, where: str, url: str, fields: object) -> Host:
        if not isinstance(fields, dict):
            raise self.wrong(where, "a table")
        address = None
        if url or where:
            try:
                address = parse_address(url if "://" in url else f"https://{url}")
            except ValueError as error:
                raise self.wrong(where or "server", f"a URL: {error}") from error
        override = self._flag(where, fields, "override_path")
        root = address.path if address is not None else ""
        if not override and not root.endswith("/v2"):
            root += "/v2"
        named = fields.get("capabilities")
        capabilities = self._strings(where, fields, "capabilities")
        if not set(capabilities) <= _CAPABILITIES:
            raise self.wrong(f"{where}capabilities", "some of pull, resolve, push")
        return Host(
            address=address,
            root=root,
            capabilities=_CAPABILITIES if named is None else frozenset(capabilities),
            # A mirror that says nothing of its capabilities is believed to serve, not to be what a push is meant for.
            pushes="push" in capabilities,
            trust=self._trust(where, fields),
            headers=self._headers(where, fields),
        )

    def _trust(self, where: str, fields: Mapping[str, object]) -> Trust:
        clients = fields.get("client", [])
        pairs: list[tuple[Path, Path]] = []
        for one in clients if isinstance(clients, list) else [clients]:
            match one:
                case str():
                    pairs.append((self._file(one), self._file(one)))
                case [str(certificate)] | [str(certificate), ""]:
                    pairs.append((self._file(certificate), self._file(certificate)))
                case [str(certificate), str(key)]:
                    pairs.append((self._file(certificate), self._file(key)))
                case _:
                    raise self.wrong(f"{where}client", "a file, or pairs of a certificate and its key")
        return Trust(
            authorities=tuple(self._file(one) for one in self._strings(where, fields, "ca")),
            clients=tuple(pairs),
            verify=not self._flag(where, fields, "skip_verify"),
        )

    def _headers(self, where: str, fields: Mapping[str, object]) -> dict[str, str]:
        table = fields.get("header", {})
        if not isinstance(table, dict):
            raise self.wrong(f"{where}header", "a table")
        headers = {name: ", ".join(self._strings(f"{where}header.", table, name)) for name in table}
        for name, value in headers.items():
            if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum() or not value.isprintable():
                raise self.wrong(f"{where}header.{name}"[:200], "a header that can be sent")
        return headers

    def _strings(self, where: str, fields: Mapping[str, object], name: str) -> list[str]:
        value = fields.get(name, [])
        found = [value] if isinstance(value, str) else value
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise self.wrong(f"{where}{name}", "a string or several")
        return found

    def _flag(self, where: str, fields: Mapping[str, object], name: str) -> bool:
        value = fields.get(name, False)
        if not isinstance(value, bool):
            raise self.wrong(f"{where}{name}", "true or false")
        return value

    def _file(self, name: str) -> Path:
        return self._path.parent / name

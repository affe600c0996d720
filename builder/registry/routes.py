"""Which servers may answer for a repository, in which order: maps, mirrors, ``hosts.toml``, the registry itself.

Pure: settings go in, endpoints come out; ``session`` asks them one after the other. Also whose certificates count for
little (insecure registries), and what each host's certificate is checked against.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal
from urllib.parse import quote

from builder.registry.hosts import Address, api_host, canonical_host, split_host
from builder.registry.hoststoml import Host, HostsFile
from builder.registry.trust import SYSTEM, Trust
from builder.values import dataclass, field, replace

Capability = Literal["pull", "resolve", "push"]
"""Reading what has a digest, finding out what a tag means, writing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server, and what a repository is called there.

    ``registry`` is the name by which it has credentials and stands in messages. Without a ``scheme`` it is found out.
    ``namespace`` is the registry that a mirror stands in for. ``headers`` go to the server itself only.
    """

    registry: str
    host: str
    repository: str
    scheme: str = ""
    root: str = "/v2"
    trust: Trust = SYSTEM
    headers: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    namespace: str = ""

    def path(self, repository: str, target: str) -> str:
        """Return where ``target``, a path of the API about ``repository``, is on this server."""
        rest = target.removeprefix("/v2")
        if repository and rest.startswith(f"/{repository}/"):
            rest = f"/{self.repository}{rest[len(repository) + 1 :]}"
        if self.namespace:
            rest += f"{'&' if '?' in rest else '?'}ns={quote(self.namespace, safe=':')}"
        return self.root + rest

    def scopes(self, repository: str, scopes: frozenset[str]) -> frozenset[str]:
        """Return token scopes for ``repository`` as this server names it."""
        if self.repository == repository:
            return scopes
        old, new = f"repository:{repository}:", f"repository:{self.repository}:"
        return frozenset(new + one[len(old) :] if one.startswith(old) else one for one in scopes)


class InsecureHosts:
    """The registries that may have any certificate or none: ``host[:port]``, or networks in CIDR form."""

    def __init__(self, entries: Iterable[str] = (), resolve: Callable[[str], Iterable[str]] | None = None) -> None:
        """``resolve`` gives the addresses of a name; it is asked only if there are networks. Raises ValueError."""
        self._hosts: set[str] = set()
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for entry in entries:
            if "/" in entry:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            else:
                self._hosts.add(entry.lower())
        self._resolve = resolve or _addresses
        self._known: dict[str, bool] = {}

    def __contains__(self, host: str) -> bool:
        """Say whether ``host[:port]`` is one, or has an address in one of the networks."""
        host = host.lower()
        if host in self._hosts:
            return True
        if not self._networks:
            return False
        if host not in self._known:
            self._known[host] = self._in_networks(split_host(host)[0])
        return self._known[host]

    def _in_networks(self, name: str) -> bool:
        try:
            addresses: Iterable[str] = [str(ipaddress.ip_address(name))]
        except ValueError:
            addresses = self._resolve(name)
        return any(ipaddress.ip_address(one) in network for one in addresses for network in self._networks)


def _addresses(name: str) -> list[str]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(address[0]).partition("%")[0] for *_, address in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """How registries are reached.

    ``mirrors`` by registry are asked first when something is read; the path of one precedes the repository's name.
    ``maps`` say what ``host[/path]`` becomes when it is read, in the order of trying. ``trusts`` are by host;
    ``directory`` knows what ``certs.d`` directories say about the others.
    """

    mirrors: Mapping[str, tuple[Address, ...]] = field(default_factory=dict, hash=False)
    maps: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    insecure: InsecureHosts = field(default_factory=InsecureHosts)
    trusts: Mapping[str, Trust] = field(default_factory=dict, hash=False)
    directory: Callable[[str], HostsFile | None] = lambda _host: None

    def candidates(self, registry: str, repository: str, capability: Capability) -> tuple[Endpoint, ...]:
        """Return who may answer, best first and at least one; only the last one's answer is final.

        Raises RegistryError for an unusable file of a ``certs.d`` directory.
        """
        if capability == "push":
            return tuple(self._at(registry, repository, capability))[:1]
        found: dict[tuple[str, str, str], Endpoint] = {}
        for name, path in self._mapped(registry, repository):
            for one in self._at(name, path, capability):
                found.setdefault((one.host, one.root, one.repository), one)
        return tuple(found.values())

    def is_insecure(self, host: str) -> bool:
        """Say whether the user called ``host[:port]`` insecure."""
        return host in self.insecure or canonical_host(host) in self.insecure

    def trust(self, host: str, *, stranger: bool = False) -> Trust:
        """Return what to believe of ``host[:port]``'s certificate, and what to show it.

        A ``stranger`` is one that a registry or image named: it is shown a certificate only if that is for this host.
        """
        name = canonical_host(host)
        trust = self.trusts.get(name)
        if trust is None:
            found = self.directory(name)
            trust = found.server.trust if found is not None else SYSTEM
            if stranger and found is not None and found.everybodys:
                trust = replace(trust, clients=())
        return replace(trust, verify=False) if self.is_insecure(host) else trust

    def _mapped(self, registry: str, repository: str) -> Iterator[tuple[str, str]]:
        name = f"{canonical_host(registry)}/{repository}"
        prefix = name
        while prefix:
            if prefix in self.maps:
                rest = name[len(prefix) :]
                for target in self.maps[prefix]:
                    host, _, path = (target + rest).partition("/")
                    yield host, path
                return
            prefix = prefix.rpartition("/")[0]
        yield registry, repository

    def _at(self, registry: str, repository: str, capability: Capability) -> Iterator[Endpoint]:
        """Yield the servers for what a registry has, itself last."""
        name = canonical_host(registry)
        if capability != "push":
            for one in self.mirrors.get(name, ()):
                path = f"{one.path.removeprefix('/v2')}/{repository}".lstrip("/")
                yield self._mirror(one, path, name)
        known = self.directory(name)
        if known is None:
            yield self._upstream(registry, repository)
            return
        for host in known.hosts:
            if host.address is not None and (host.pushes if capability == "push" else capability in host.capabilities):
                yield self._described(host, host.address, repository, name)
        server = known.server.address
        if server is not None and canonical_host(server.host) != name:
            yield self._described(known.server, server, repository, name)
            return
        upstream = self._upstream(registry, repository)
        scheme = server.scheme if server is not None and not self.is_insecure(registry) else ""
        yield replace(upstream, scheme=scheme, root=known.server.root, headers=known.server.headers)

    def _upstream(self, registry: str, repository: str) -> Endpoint:
        trust = self.trust(registry)
        return Endpoint(registry=registry, host=api_host(registry), repository=repository, trust=trust)

    def _mirror(self, address: Address, repository: str, namespace: str) -> Endpoint:
        return Endpoint(
            registry=address.host,
            host=address.host,
            repository=repository,
            scheme=address.scheme,
            trust=self.trust(address.host),
            namespace=namespace if namespace != address.host else "",
        )

    def _described(self, host: Host, address: Address, repository: str, namespace: str) -> Endpoint:
        made = self._mirror(address, repository, namespace)
        trust = made.trust if host.trust == SYSTEM else host.trust
        return replace(made, root=host.root, trust=trust, headers=host.headers)

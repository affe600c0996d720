"""How registries are reached, from what was given and what settings files say: mirrors, maps, trust.

Words are checked here, with the place they stand at; what they lead to is ``routes``' business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NoReturn

from builder.errors import UsageError
from builder.registry.certsd import CertificateDirectories, standard_directories
from builder.registry.hosts import Address, canonical_host, parse_address
from builder.registry.proxies import Proxies
from builder.registry.routes import InsecureHosts, Routes
from builder.registry.session import SessionSettings
from builder.registry.trust import Trust
from builder.settings import RegistrySettings, Settings
from builder.values import replace

_HUB = "docker.io"


def session_settings(
    settings: Settings,
    environment: Mapping[str, str],
    *,
    mirrors: Iterable[str] = (),
    maps: Iterable[str] = (),
    insecure: Iterable[str] = (),
    authorities: Iterable[str] = (),
    clients: Iterable[str] = (),
) -> SessionSettings:
    """Return the settings of a registry client; what is given besides the two are the command line's words.

    They come before those of ``settings``. ``environment`` says where proxies and certificates are. Raises UsageError.
    """
    routes = Routes(
        mirrors=_mirrors(mirrors, settings),
        maps=_maps(maps, settings),
        insecure=_insecure(insecure, settings),
        trusts=_given_trusts(authorities, clients, _trusts(settings)),
        directory=CertificateDirectories(standard_directories(environment)).find,
    )
    return SessionSettings(proxies=Proxies.from_environment(environment), routes=routes)


def _mirrors(given: Iterable[str], settings: Settings) -> dict[str, tuple[Address, ...]]:
    found: dict[str, list[Address]] = {}
    for text in given:
        host, url = _split_mirror(text)
        found.setdefault(_host(f"--registry-mirror {_hidden(text)}", host), []).append(
            _address(f"--registry-mirror {_hidden(text)}", url)
        )
    for host, one in settings.registries.items():
        name = _host(one.place, host)
        found.setdefault(name, []).extend(
            _address(f"{one.place}.mirrors[{index}]", text) for index, text in enumerate(one.mirrors)
        )
    return {host: tuple(dict.fromkeys(addresses)) for host, addresses in found.items()}


def _split_mirror(text: str) -> tuple[str, str]:
    """Return the registry and the URL; an ``=`` in the URL's path is none that divides."""
    host, equals, url = text.partition("=")
    return (host, url) if equals and "/" not in host else (_HUB, text)


def _maps(given: Iterable[str], settings: Settings) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    # kaniko separates several with semicolons.
    for text in (part for one in given for part in one.split(";") if part):
        place = f"--registry-map {_hidden(text)}"
        source, equals, target = text.partition("=")
        if not equals:
            raise UsageError(f"{place}: expected FROM=TO", hint="e.g. docker.io/library=registry.example/hub")
        found.setdefault(_name(place, source), []).append(_name(place, target))
    for source, one in settings.maps.items():
        name = _name(one.place, source)
        if name not in found and not one.targets:
            raise UsageError(f"{one.place}: expected a name or several")
        found.setdefault(name, [_name(one.place, target) for target in one.targets])
    return {source: tuple(dict.fromkeys(targets)) for source, targets in found.items()}


def _insecure(given: Iterable[str], settings: Settings) -> InsecureHosts:
    entries = []
    for text in given:
        place = f"--insecure-registry {text}"
        if "/" in text.removeprefix("http://").removeprefix("https://"):
            try:
                InsecureHosts([text])
            except ValueError:
                _refuse(place, "it is neither a host nor a network", "write HOST, HOST:PORT or e.g. 10.0.0.0/8")
            entries.append(text)
        else:
            entries.append(_host(place, text))
    entries += [_host(one.place, host) for host, one in settings.registries.items() if one.insecure]
    return InsecureHosts(entries)


def _trusts(settings: Settings) -> dict[str, Trust]:
    found = {_host(one.place, host): _trust(one) for host, one in settings.registries.items()}
    return {host: trust for host, trust in found.items() if trust is not None}


def _trust(one: RegistrySettings) -> Trust | None:
    if not one.authorities and one.client is None:
        return None
    return Trust(authorities=one.authorities, clients=(one.client,) if one.client is not None else ())


def _given_trusts(authorities: Iterable[str], clients: Iterable[str], known: dict[str, Trust]) -> dict[str, Trust]:
    """Add what options say to the settings' trusts: their authorities too, their certificate instead."""
    found = dict(known)
    for text in authorities:
        host, (path,) = _files(f"--registry-certificate {text}", text, 1)
        before = found.get(host, Trust())
        found[host] = replace(before, authorities=(path, *before.authorities))
    for text in clients:
        host, files = _files(f"--registry-client-cert {text}", text, 2)
        found[host] = replace(found.get(host, Trust()), clients=((files[0], files[-1]),))
    return found


def _files(option: str, text: str, most: int) -> tuple[str, tuple[Path, ...]]:
    host, equals, names = text.partition("=")
    files = tuple(Path(name) for name in (names.split(",") if most > 1 else [names]) if name)
    if not equals or not 0 < len(files) <= most:
        _refuse(option, f"expected HOST={'CERT[,KEY]' if most > 1 else 'FILE'}", "e.g. registry.example=/etc/ca.pem")
    for one in files:
        if not one.is_file():
            _refuse(option, f"there is no file {one}", None)
    return _host(option, host), files


def _host(place: str, text: str) -> str:
    """Return the one name of a registry."""
    address = _address(place, text)
    if address.scheme or address.path:
        _refuse(place, "expected HOST or HOST:PORT", "without a scheme and a path")
    return canonical_host(address.host)


def _name(place: str, text: str) -> str:
    """Return ``host[/path]`` with the one name of its registry."""
    address = _address(place, text)
    bare = address.host.split(":")[0]
    if address.scheme or ("." not in bare and ":" not in address.host and bare != "localhost"):
        _refuse(place, f"{_hidden(text)} does not begin with a registry's host", "e.g. docker.io/library")
    if address.path != address.path.lower():
        _refuse(place, f"{text} is no name of a repository", "names are in lower case")
    return canonical_host(address.host) + address.path


def _address(place: str, text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as error:
        _refuse(place, str(error), "log in with pybuild login" if "account" in str(error) else None)


def _hidden(text: str) -> str:
    """Return a mirror for a message, without the account that it should not have."""
    head, at, rest = text.rpartition("@")
    return f"...@{rest}" if at and head else text


def _refuse(place: str, problem: str, hint: str | None) -> NoReturn:
    raise UsageError(f"{place}: {problem}", hint=hint)

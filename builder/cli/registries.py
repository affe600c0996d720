"""Options of every command that talks to a registry, and the settings that they and the user's files come to."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NoReturn

from builder.cli.accounts import add_account_options
from builder.errors import UsageError

if TYPE_CHECKING:
    from builder.registry.hosts import Address
    from builder.registry.routes import InsecureHosts
    from builder.registry.session import SessionSettings
    from builder.registry.trust import Trust
    from builder.settings import RegistrySettings, Settings

_HUB = "docker.io"


def add_registry_options(parser: argparse.ArgumentParser, *, settings_file: bool = True) -> None:
    """Add them as a group of their own; without ``settings_file`` a command has another use for --config."""
    group = parser.add_argument_group("registries")
    group.add_argument(
        "--insecure-registry",
        metavar="HOST[:PORT]",
        action="append",
        default=[],
        help="a registry that may have any certificate or plain http; a network (10.0.0.0/8) names all in it",
    )
    group.add_argument(
        "--registry-mirror",
        metavar="[HOST=]URL",
        action="append",
        default=[],
        help="pull what HOST (default: docker.io) has from there first; what fails there comes from HOST",
    )
    group.add_argument(
        "--registry-map",
        metavar="FROM=TO",
        action="append",
        default=[],
        help="pull what HOST[/PATH] has from another; several TOs of a FROM are tried in turn, FROM itself is not",
    )
    if settings_file:
        group.add_argument(
            "--config", metavar="FILE", help="the settings (default: $PYBUILD_CONFIG, the user's, then the machine's)"
        )
    add_account_options(group)


def add_push_options(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add what commands have that may push."""
    parser.add_argument("--push-foreign", action="store_true", help="push layers that are not for redistribution too")
    parser.add_argument(
        "--upload-chunk-size",
        metavar="SIZE",
        default="",
        help="upload larger blobs in pieces of SIZE, e.g. 64m (default: whole, unless the registry wants pieces)",
    )


def upload_piece(options: argparse.Namespace) -> int:
    """Return the bytes of a piece, 0 for whole blobs. Raises UsageError."""
    text = getattr(options, "upload_chunk_size", "")
    if not text:
        return 0
    from builder.cli.granting import size

    return size("--upload-chunk-size", text)


def session_settings(options: argparse.Namespace, environment: Mapping[str, str]) -> Callable[[], SessionSettings]:
    """Return what makes the settings of the registry client when one is needed.

    What was given is checked now. Raises UsageError; options that a command does not have count as not given.
    """
    from builder.settings import Settings, read_settings, settings_files

    files = settings_files(getattr(options, "config", None), environment)
    settings = read_settings(files) if files else Settings()
    if settings.store_size is not None:
        from builder.cli.amounts import store_size

        store_size(settings.store_size[1], settings.store_size[0])
    mirrors = getattr(options, "registry_mirror", [])
    maps = getattr(options, "registry_map", [])
    insecure = getattr(options, "insecure_registry", [])

    def make() -> SessionSettings:
        from builder.registry.certsd import CertificateDirectories, standard_directories
        from builder.registry.proxies import Proxies
        from builder.registry.routes import Routes
        from builder.registry.session import SessionSettings

        routes = Routes(
            mirrors=_mirrors(mirrors, settings),
            maps=_maps(maps, settings),
            insecure=_insecure(insecure, settings),
            trusts=_trusts(settings),
            directory=CertificateDirectories(standard_directories(environment)).find,
        )
        return SessionSettings(proxies=Proxies.from_environment(environment), routes=routes)

    if files or mirrors or maps or insecure:
        # Mistakes come first, before any work; most builds have nothing to check, and import nothing for it.
        made = make()
        return lambda: made
    return make


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
    from builder.registry.routes import InsecureHosts

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
    from builder.registry.trust import Trust

    if not one.authorities and one.client is None:
        return None
    return Trust(authorities=one.authorities, clients=(one.client,) if one.client is not None else ())


def _host(place: str, text: str) -> str:
    """Return the one name of a registry."""
    from builder.registry.hosts import canonical_host

    address = _address(place, text)
    if address.scheme or address.path:
        _refuse(place, "expected HOST or HOST:PORT", "without a scheme and a path")
    return canonical_host(address.host)


def _name(place: str, text: str) -> str:
    """Return ``host[/path]`` with the one name of its registry."""
    from builder.registry.hosts import canonical_host

    address = _address(place, text)
    bare = address.host.split(":")[0]
    if address.scheme or ("." not in bare and ":" not in address.host and bare != "localhost"):
        _refuse(place, f"{_hidden(text)} does not begin with a registry's host", "e.g. docker.io/library")
    if address.path != address.path.lower():
        _refuse(place, f"{text} is no name of a repository", "names are in lower case")
    return canonical_host(address.host) + address.path


def _address(place: str, text: str) -> Address:
    from builder.registry.hosts import parse_address

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

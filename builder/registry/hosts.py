"""Where a registry's name leads: Docker Hub's two names, plain http for loopback, origins. Pure."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from builder.patterns import pattern
from builder.values import dataclass

_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HUB_API = "registry-1.docker.io"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = pattern(r"[a-z0-9_.-]+|\[[0-9a-f:.]+\]", re.ASCII)
_PATH = pattern(r"(/[A-Za-z0-9._~%+-]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """A server: ``scheme`` is empty where nobody said it, ``host`` has a port if one was given.

    ``path`` is empty or begins with a slash and ends without one.
    """

    scheme: str
    host: str
    path: str = ""


def parse_address(text: str) -> Address:
    """Read ``[http[s]://]host[:port][/path]``. Raises ValueError, whose text says what is wrong and quotes nothing."""
    scheme, slashes, rest = text.rpartition("://")
    if slashes and scheme.lower() not in _DEFAULT_PORTS:
        raise ValueError("it is neither http nor https")
    netloc, slash, path = rest.partition("/")
    if "@" in netloc:
        raise ValueError("an account does not belong into it")
    path = f"{slash}{path}".rstrip("/")
    parts = urlsplit(f"//{netloc.lower()}")
    port = parts.port  # raises ValueError
    name = netloc.lower().removesuffix(f":{port}")
    if not _HOST.fullmatch(name) or not parts.hostname:
        raise ValueError("there is no host in it")
    if not _PATH.fullmatch(path) or "/../" in f"{path}/" or "/./" in f"{path}/":
        raise ValueError("its path is not a plain one")
    return Address(scheme.lower(), netloc.lower(), path)


def api_host(registry: str) -> str:
    """Return the host that serves the API of the registry a reference names."""
    return _HUB_API if registry in _HUB else registry


def canonical_host(host: str) -> str:
    """Return the one name for a registry under which its credentials are compared."""
    return "docker.io" if host in _HUB else host.lower()


def split_host(host: str) -> tuple[str, int | None]:
    """Return name and port of ``name[:port]`` or ``[v6][:port]``; a port that is none counts as absent."""
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname or "", parts.port
    except ValueError:
        return host, None


def is_loopback(host: str) -> bool:
    """Say whether ``name[:port]`` can only mean this machine."""
    name, _ = split_host(host)
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port, the things that credentials are bound to. Raises ValueError for no http(s) URL."""
    return _origin(urlsplit(url))


def origin_or_none(url: str) -> tuple[str, str, int] | None:
    """Return the origin of a URL, None where it has none."""
    try:
        return origin(url)
    except ValueError:
        return None


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError("not an http(s) URL")
    return parts.scheme, parts.hostname.lower(), parts.port or _DEFAULT_PORTS[parts.scheme]

"""Which proxy a URL goes through: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, read as Go's httpproxy reads them. Pure.

ALL_PROXY means nothing to Go programs, and nothing here. What a proxy then does is ``transport``'s business.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from builder.registry.hosts import is_loopback, origin
from builder.values import dataclass, field

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Proxies:
    """Proxy URLs per scheme, empty for none, and the hosts that need none."""

    http: str = field(default="", repr=False)
    https: str = field(default="", repr=False)
    exceptions: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Proxies:
        """Read the variables; upper case wins. In a CGI program HTTP_PROXY comes from the client, so it is ignored."""

        def value(name: str) -> str:
            return environment.get(name) or environment.get(name.lower()) or ""

        http = "" if "REQUEST_METHOD" in environment else value("HTTP_PROXY")
        return cls(_with_scheme(http), _with_scheme(value("HTTPS_PROXY")), value("NO_PROXY"))

    def choose(self, url: str) -> str | None:
        """Return the proxy for ``url``, None for a direct connection. Loopback never goes through one."""
        proxy = self.https if urlsplit(url).scheme == "https" else self.http
        if not proxy:
            return None
        _, host, port = origin(url)
        if is_loopback(f"[{host}]" if ":" in host else host):
            return None
        rules = [rule.strip().lower() for rule in self.exceptions.split(",")]
        return None if any(rule and _excepted(rule, host, port) for rule in rules) else proxy


def without_account(proxy: str) -> str:
    """Return a proxy's URL for people: a user name or password in it is left out."""
    head, slashes, rest = proxy.rpartition("://")
    return f"{head}{slashes}{rest.rpartition('@')[2]}"


def _with_scheme(proxy: str) -> str:
    proxy = proxy.strip()
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _excepted(rule: str, host: str, port: int) -> bool:
    if rule == "*":
        return True
    address = _address(host)
    if "/" in rule:
        network = _network(rule)
        if network is not None:
            return address is not None and address in network
    name, rule_port = _split(rule)
    if not name or rule_port not in ("", str(port)):
        return False
    named = _address(name)
    if address is not None or named is not None:
        # What looks like the end of an address is no domain.
        return named == address
    # ".x.y" and "*.x.y" are the subdomains only, "x.y" is itself too.
    name = _ascii(name.removeprefix("*") if name.startswith("*.") else name)
    host = _ascii(host)
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith("." + name)


def _split(rule: str) -> tuple[str, str]:
    """Return host and port of ``host``, ``host:port``, ``v6`` and ``[v6]:port``; "host:" is any port."""
    if _address(rule.strip("[]")) is not None:
        return rule.strip("[]"), ""
    name, colon, port = rule.rpartition(":")
    return (name.strip("[]"), port) if colon else (rule, "")


def _network(rule: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    if not rule.rpartition("/")[2].isdecimal():
        return None  # Go knows prefix lengths, no masks
    try:
        return ipaddress.ip_network(rule, strict=False)
    except ValueError:
        return None


def _address(text: str) -> _Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        return None if found.scope_id else (found.ipv4_mapped or found)
    return found


def _ascii(name: str) -> str:
    try:
        return name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        return name

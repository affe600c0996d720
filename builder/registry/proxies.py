"""Which proxy a URL goes through: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, read as Go programs read them. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from builder.registry.hosts import is_loopback, origin


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
        rules = (rule.strip().lower() for rule in self.exceptions.split(","))
        return None if any(rule and _excepted(rule, host, port) for rule in rules) else proxy


def _with_scheme(proxy: str) -> str:
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _excepted(rule: str, host: str, port: int) -> bool:
    if rule == "*":
        return True
    address = _address(host)
    if "/" in rule:
        try:
            return address is not None and address in ipaddress.ip_network(rule, strict=False)
        except ValueError:
            return False
    name, rule_port = _split(rule)
    if rule_port is not None and rule_port != port:
        return False
    if address is not None:
        return _address(name) == address
    # ".x.y" and "*.x.y" are the subdomains only, "x.y" is itself too.
    if name.startswith("*."):
        name = name[1:]
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith("." + name)


def _split(rule: str) -> tuple[str, int | None]:
    if _address(rule.strip("[]")) is not None:
        return rule.strip("[]"), None
    name, colon, port = rule.rpartition(":")
    return (name.strip("[]"), int(port)) if colon and port.isascii() and port.isdigit() else (rule, None)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None

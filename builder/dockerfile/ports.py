"""The ports of EXPOSE (dockerfile.md 1.6)."""

from __future__ import annotations

import re
from typing import Final

from builder.patterns import pattern
from builder.values import dataclass

_PROTOCOLS: Final = ("tcp", "udp", "sctp")
_RANGE: Final = pattern(r"([0-9]{1,5})(?:-([0-9]{1,5}))?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class PortSpec:
    """What one EXPOSE argument names: a range of container ports, one protocol."""

    first: int
    last: int
    protocol: str

    def ports(self) -> tuple[str, ...]:
        """Return ``port/protocol`` for each port of the range."""
        return tuple(f"{port}/{self.protocol}" for port in range(self.first, self.last + 1))


def parse_port(text: str) -> PortSpec:
    """Read ``[[ip:]host:]port[-port][/protocol]``; ValueError says what is wrong."""
    address, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash and protocol else "tcp"
    if protocol not in _PROTOCOLS:
        raise ValueError(f"invalid proto: {protocol}")
    host, colon, container = address.rpartition(":")
    first, last = _port_range(text, container)
    if colon:
        # Also "ip:host:port" and "[v6]:host:port"; only the host port is looked at.
        published = host.rpartition(":")[2]
        if published and not host.endswith("]"):
            low, high = _port_range(text, published)
            if high - low != last - first and low != high and first != last:
                raise ValueError(f"invalid ranges specified for container and host ports: {text}")
    return PortSpec(first, last, protocol)


def expand_ports(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return every ``port/protocol`` of several arguments, each once, in the order of the configuration."""
    return tuple(sorted({port for text in texts for port in parse_port(text).ports()}))


def _port_range(text: str, ports: str) -> tuple[int, int]:
    match = _RANGE.match(ports)
    if match is None:
        raise ValueError(f"invalid containerPort: {text}")
    first = int(match[1])
    last = int(match[2]) if match[2] else first
    if last < first or last > 65535:
        raise ValueError(f"invalid containerPort: {text}")
    return first, last

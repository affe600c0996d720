"""Whether a server speaks TLS: always, but for loopback and for what the user called insecure it is found out.

Loopback registries are usually plain http, and tell a client that is wrong, or hang up on it; insecure ones are asked
for TLS first. Nothing is asked in plain http because a certificate is not trusted, or a handshake failed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from builder.registry.errors import STALLED, TLS, UNREACHABLE, RegistryError, TransientRegistryError
from builder.registry.hosts import is_loopback, origin, split_host
from builder.registry.routes import Endpoint

if TYPE_CHECKING:
    from builder.registry.transport import Transport


class Schemes:
    """What was found out about each host; thread-safe."""

    def __init__(self, connect: Callable[[], Transport], is_insecure: Callable[[str], bool]) -> None:
        self._connect = connect
        self._is_insecure = is_insecure
        self._lock = threading.Lock()
        self._probing = threading.Lock()
        self._bases: dict[str, str] = {}
        self._plain: set[str] = set()
        self._doubted: set[str] = set()

    def base(self, endpoint: Endpoint) -> str:
        """Return ``scheme://host`` of a server. Raises RegistryError."""
        host = endpoint.host
        if endpoint.scheme:
            return f"{endpoint.scheme}://{host}"
        with self._lock:
            known = self._bases.get(host)
        if known is not None:
            return known
        try:
            origin(f"https://{host}")
        except ValueError as error:
            registry = endpoint.registry
            raise RegistryError(f"{registry} is no host and port of a registry", host=registry) from error
        if self._is_insecure(endpoint.registry):
            tls = self._speaks_tls(endpoint)
            base = f"{'https' if tls else 'http'}://{host}"
            if tls is None:
                return base
        elif is_loopback(host) and split_host(host)[1] != 443:
            base = f"http://{host}"
        else:
            base = f"https://{host}"
        with self._lock:
            return self._bases.setdefault(host, base)

    def turned_out_tls(self, endpoint: Endpoint, base: str, status: int) -> bool:
        """Say whether a server that was asked at ``base``, in plain http, speaks TLS: such ones answer with 400.

        Then ``base`` has another answer now. A certificate that is not trusted is an error.
        """
        host = endpoint.host
        if not base.startswith("http:") or endpoint.scheme or host in self._plain:
            return False
        with self._probing:
            if status == 400 and host not in self._plain and self.base(endpoint) == base:
                tls = self._speaks_tls(endpoint)
                if tls is None:
                    return self._doubt(endpoint)
                if tls:
                    with self._lock:
                        self._bases[host] = f"https://{host}"
            if self.base(endpoint) != base:
                return status == 400
            self._plain.add(host)
        return False

    def broke(self, endpoint: Endpoint, base: str, error: TransientRegistryError) -> None:
        """Find out whether a server that has not answered yet, and now broke a connection at ``base``, speaks TLS.

        If so, the next request goes there. Raises RegistryError for a certificate that is not trusted.
        """
        host = endpoint.host
        if not base.startswith("http:") or endpoint.scheme or {STALLED, UNREACHABLE}.intersection(error.codes):
            return
        with self._probing:
            if host not in self._plain and self.base(endpoint) == base and self._speaks_tls(endpoint):
                with self._lock:
                    self._bases[host] = f"https://{host}"

    def _doubt(self, endpoint: Endpoint) -> bool:
        """Let the request be tried again; if that leaves it open as well, the 400 was meant as it was said."""
        if endpoint.host in self._doubted:
            return False
        self._doubted.add(endpoint.host)
        raise TransientRegistryError(f"the connection to {endpoint.host} broke", host=endpoint.host, retry_after=0.0)

    def _speaks_tls(self, endpoint: Endpoint) -> bool | None:
        """Say whether TLS is answered; None if a broken connection left it open, which is not to be remembered."""
        try:
            with self._connect().exchange("GET", f"https://{endpoint.host}/v2/", {}, None, endpoint.trust):
                return True
        except RegistryError as error:
            if TLS in error.codes:
                # No reason to do without.
                raise
            return None if error.retryable else False

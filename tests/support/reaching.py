"""How a client of a test reaches registries."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from builder.registry.hoststoml import Host, HostsFile
from builder.registry.routes import InsecureHosts, Routes
from builder.registry.session import SessionSettings
from builder.registry.trust import SYSTEM, Trust


def reaching(*, ca_file: Path | None = None, insecure: Iterable[str] = ()) -> SessionSettings:
    """Return settings that trust an authority of a test's own for every host, and call some hosts insecure."""
    trust = Trust(authorities=(ca_file,)) if ca_file is not None else SYSTEM
    known = HostsFile(Host(address=None, trust=trust))
    return SessionSettings(routes=Routes(insecure=InsecureHosts(insecure), directory=lambda _: known))

"""One account for the registries that a test names."""

from __future__ import annotations

from builder.registry.credentials import Credential
from builder.registry.hosts import canonical_host


class StaticCredentials:
    """Gives the account to the named registries only."""

    def __init__(self, credential: Credential, registries: list[str]) -> None:
        self._credential = credential
        self._registries = frozenset(map(canonical_host, registries))

    def find(self, registry: str, repository: str = "") -> Credential | None:
        del repository
        return self._credential if canonical_host(registry) in self._registries else None

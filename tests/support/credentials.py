"""One account for the registries that a test names."""

from __future__ import annotations

from builder.registry.credentials import Credential
from builder.registry.hosts import canonical_host


class StaticCredentials:
    """Gives the account to the named registries only; after each refusal the next of ``later``, if there is one."""

    def __init__(self, credential: Credential, registries: list[str], later: list[Credential] | None = None) -> None:
        self._credential = credential
        self._registries = frozenset(map(canonical_host, registries))
        self._later = later or []
        self.refused: list[Credential] = []

    def find(self, registry: str, repository: str = "") -> Credential | None:
        del repository
        return self._credential if canonical_host(registry) in self._registries else None

    def renew(self, refused: Credential, registry: str, repository: str = "") -> Credential | None:
        del registry, repository
        self.refused.append(refused)
        if not self._later:
            return None
        self._credential = self._later.pop(0)
        return self._credential

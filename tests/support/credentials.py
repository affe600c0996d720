"""Accounts for tests: one for the registries that a test names, and credential helpers that keep some."""

from __future__ import annotations

from pathlib import Path

from builder.registry.credentials import Credential
from builder.registry.hosts import canonical_host

_KEEPING = """\
path() { echo "$kept/$(echo "$1" | tr / _)"; }
case "$1" in
store)
    text=$(cat)
    echo "$text" > "$(path "$(echo "$text" | sed 's/.*"ServerURL": "\\([^"]*\\)".*/\\1/')")";;
get)
    read -r server
    cat "$(path "$server")" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; };;
erase)
    read -r server
    rm -f "$(path "$server")";;
list)
    echo "{"
    comma=
    for one in "$kept"/*; do
        [ -e "$one" ] || continue
        echo "$comma$(sed 's/.*"ServerURL": \\("[^"]*"\\), "Username": \\("[^"]*"\\).*/\\1: \\2/' "$one")"
        comma=,
    done
    echo "}";;
esac
"""


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


def write_helper(directory: Path, name: str, script: str = _KEEPING) -> Path:
    """Write ``docker-credential-NAME``, which keeps what it is given in a directory; return that."""
    kept = directory / f"kept-{name}"
    kept.mkdir(parents=True)
    program = directory / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\nkept='{kept}'\n{script}\n")
    program.chmod(0o755)
    return kept
